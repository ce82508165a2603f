import base64
import pathlib
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from security.vault import MasterKeyError, SealError, Vault, open_vault

KEY = b"k" * 32


def test_sealed_value_opens_only_for_its_owner() -> None:
    vault = Vault(KEY)
    sealed = vault.seal("pässword", "w1", "r1")
    assert vault.open(sealed, "w1", "r1") == "pässword"
    for workspace_id, owner_id in (("w2", "r1"), ("w1", "r2")):
        with pytest.raises(SealError, match="belongs to another object"):
            vault.open(sealed, workspace_id, owner_id)


def test_equal_values_are_sealed_differently() -> None:
    vault = Vault(KEY)
    assert vault.seal("s", "w", "r") != vault.seal("s", "w", "r")


def test_another_key_is_named_with_the_remedy() -> None:
    sealed = Vault(KEY).seal("s", "w", "r")
    with pytest.raises(SealError, match=r"restore `master\.key` or WAYSTATION_MASTER_KEY, or set the credential again"):
        Vault(b"x" * 32).open(sealed, "w", "r")


@pytest.mark.parametrize("place", [0, 6, 20, -1])
def test_damage_is_found(place: int) -> None:
    vault = Vault(KEY)
    sealed = bytearray(vault.seal("secret", "w", "r"))
    sealed[place] ^= 1
    with pytest.raises(SealError):
        vault.open(bytes(sealed), "w", "r")
    with pytest.raises(SealError):
        vault.open(bytes(sealed[:10]), "w", "r")


def test_master_key_file_is_made_once_and_private(tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "state"
    with ThreadPoolExecutor(8) as pool:
        vaults = list(pool.map(lambda _: open_vault(None, folder), range(8)))
    assert len({vault.key_id for vault in vaults}) == 1
    assert [path.name for path in folder.iterdir()] == ["master.key"]
    assert stat.S_IMODE((folder / "master.key").stat().st_mode) == 0o600


def test_given_master_key_goes_before_the_file(tmp_path: pathlib.Path) -> None:
    vault = open_vault(base64.b64encode(KEY).decode(), tmp_path)
    assert vault.key_id == Vault(KEY).key_id
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["not base64!", base64.b64encode(b"short").decode()])
def test_malformed_master_key(tmp_path: pathlib.Path, text: str) -> None:
    with pytest.raises(MasterKeyError, match="32 random bytes as base64"):
        open_vault(text, tmp_path)

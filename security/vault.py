"""Sealing of secrets at rest: AES-256-GCM under a master key that never enters the database.

A sealed value is one format byte, four bytes that identify the master key, a random nonce of 12 bytes, and the
ciphertext; it opens only for the workspace and object it was sealed for.
"""

import base64
import binascii
import hashlib
import os
import secrets
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_FORMAT: Final = b"\x01"
_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_KEY_ID_BYTES: Final = 4
_HEADER: Final = len(_FORMAT) + _KEY_ID_BYTES


class SealError(Exception):
    """A sealed value cannot be opened; the message names the remedy."""


class MasterKeyError(Exception):
    """The master key is malformed or its file cannot be read; the message names the remedy."""


class Vault:
    """Seals and opens secrets with one master key."""

    def __init__(self, master_key: bytes) -> None:
        if len(master_key) != _KEY_BYTES:
            raise MasterKeyError(f"the master key must be {_KEY_BYTES} bytes, not {len(master_key)}")
        self._cipher = AESGCM(master_key)
        self.key_id = hashlib.sha256(b"waystation master key" + master_key).digest()[:_KEY_ID_BYTES]

    def seal(self, secret: str, workspace_id: str, owner_id: str) -> bytes:
        """Seal a secret for one object of one workspace."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, secret.encode(), _associated(workspace_id, owner_id))
        return _FORMAT + self.key_id + nonce + sealed

    def open(self, sealed: bytes, workspace_id: str, owner_id: str) -> str:
        """Return the secret.

        Raises:
            SealError: sealed with another master key, for another object, or damaged.
        """
        key_id = sealed[len(_FORMAT) : _HEADER]
        if sealed[: len(_FORMAT)] != _FORMAT or len(sealed) < _HEADER + _NONCE_BYTES:
            raise SealError("the stored credential is damaged: set it again")
        if key_id != self.key_id:
            raise SealError(
                f"the stored credential was sealed with master key {key_id.hex()}, but this process has "
                f"{self.key_id.hex()}: restore `master.key` or WAYSTATION_MASTER_KEY, or set the credential again"
            )
        nonce, ciphertext = sealed[_HEADER : _HEADER + _NONCE_BYTES], sealed[_HEADER + _NONCE_BYTES :]
        try:
            return self._cipher.decrypt(nonce, ciphertext, _associated(workspace_id, owner_id)).decode()
        except InvalidTag as error:
            raise SealError("the stored credential is damaged or belongs to another object: set it again") from error


def _associated(workspace_id: str, owner_id: str) -> bytes:
    return f"{workspace_id}\x1f{owner_id}".encode()


def open_vault(master_key: str | None, state_dir: Path) -> Vault:
    """Return the vault of a master key given as base64, or of `master.key` in the state folder, made if missing.

    Raises:
        MasterKeyError: the key or its file is not 32 bytes as base64.
    """
    if master_key is not None:
        return Vault(_decode(master_key, "WAYSTATION_MASTER_KEY"))
    path = state_dir / "master.key"
    if not path.exists():
        _create(path)
    return Vault(_decode(path.read_text(), str(path)))


def _decode(text: str, origin: str) -> bytes:
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError) as error:
        raise MasterKeyError(f"{origin} is not base64: give 32 random bytes as base64") from error
    if len(key) != _KEY_BYTES:
        raise MasterKeyError(f"{origin} holds {len(key)} bytes: give 32 random bytes as base64")
    return key


def _create(path: Path) -> None:
    """Make the file whole or not at all; of two processes that try, the first wins."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(base64.b64encode(secrets.token_bytes(_KEY_BYTES)) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)
    except FileExistsError:
        return
    finally:
        draft.unlink()

"""Secrets of a vault's credentials, each sealed by itself, so that one can be replaced without opening the others."""

import base64
from collections.abc import Mapping

from security.vault import Vault


def seal_secrets(vault: Vault, workspace_id: str, credential_id: str, secrets: Mapping[str, str]) -> dict[str, str]:
    """Return secrets by their names, each sealed for its credential and name, as base64."""
    return {
        name: base64.b64encode(vault.seal(secret, workspace_id, _owner(credential_id, name))).decode()
        for name, secret in secrets.items()
    }


def open_secrets(vault: Vault, workspace_id: str, credential_id: str, sealed: Mapping[str, str]) -> dict[str, str]:
    """Return what `seal_secrets` sealed.

    Raises:
        SealError: sealed with another master key, for another credential, or damaged.
    """
    return {
        name: vault.open(base64.b64decode(secret), workspace_id, _owner(credential_id, name))
        for name, secret in sealed.items()
    }


def _owner(credential_id: str, name: str) -> str:
    return f"{credential_id}\x1f{name}"

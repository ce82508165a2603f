"""Replacing an access token that has expired: one exchange for each, however many processes want it at once."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from uuid import uuid4

import httpx2
from sqlalchemy import Connection, RowMapping

from api.deps import AppState
from security.addresses import AddressRefusedError
from security.credentials import open_secrets, seal_secrets
from security.oauth import RefreshFailedError, Tokens, refresh_tokens
from store import leases
from store.clock import read_now
from store.repositories import credentials

Json = dict[str, Any]

_LEASE_S: Final = 15.0
_STEP_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Held:
    """A credential as it was read, with its secrets in the clear; `expired` is about its access token."""

    row: RowMapping
    secrets: Mapping[str, str]
    expired: bool


@dataclass(frozen=True, slots=True)
class CredentialRef:
    """Which credential, as its address names it."""

    workspace_id: str
    vault_id: str
    id: str


async def hold(state: AppState, credential: CredentialRef) -> Held:
    """Read a credential that is not archived, and open its secrets.

    Raises:
        NotFoundError: there is no such credential in the workspace.
        InvalidRequestError: it is archived.
        SealError: a secret cannot be opened with this process's master key.
    """

    def read(db: Connection) -> tuple[RowMapping, int]:
        row = credentials.get_credential(db, credential.workspace_id, credential.vault_id, credential.id)
        credentials.refuse_archived(row)
        return row, read_now(db)

    row, now = await state.store.read(read)
    secrets = open_secrets(state.adapters.vault, credential.workspace_id, credential.id, row["secrets"])
    return Held(row, secrets, row["expires_at"] is not None and row["expires_at"] <= now)


async def refresh(
    state: AppState, client: httpx2.AsyncClient, credential: CredentialRef, held: Held, deadline: float
) -> Json | None:
    """Replace the tokens of a credential and return the API's outcome; None if another did it meanwhile.

    `deadline` is on the loop's clock.

    Raises:
        AddressRefusedError: the token endpoint's address is not one to connect to.
        InvalidRequestError: the credential was archived meanwhile.
        NotFoundError: it was deleted meanwhile.
    """
    if "refresh_token" not in held.secrets:
        return _outcome("no_refresh_token")
    holder = uuid4().hex
    claimed = await _claim(state, credential, held, holder, deadline)
    if claimed is not True:
        return None if claimed is False else _outcome("connect_error")
    try:
        tokens = await _exchange(client, held, deadline)
        if not isinstance(tokens, Tokens):
            return tokens
        await state.store.write(partial(_keep, state=state, credential=credential, held=held, tokens=tokens))
        return _outcome("succeeded")
    finally:
        await state.store.write(partial(leases.release, name=_lease(credential), holder=holder))


async def _exchange(client: httpx2.AsyncClient, held: Held, deadline: float) -> Tokens | Json:
    """Return new tokens, or the API's outcome if there are none."""
    try:
        async with asyncio.timeout_at(deadline):
            return await refresh_tokens(client, held.row["auth"]["refresh"], held.secrets)
    except AddressRefusedError:
        raise
    except RefreshFailedError as error:
        return _outcome("failed", error.response.json())
    except (httpx2.HTTPError, httpx2.InvalidURL, TimeoutError):
        return _outcome("connect_error")


def _outcome(status: str, response: Json | None = None) -> Json:
    return {"status": status, "http_response": response}


def _lease(credential: CredentialRef) -> str:
    return f"refresh {credential.id}"


async def _claim(state: AppState, credential: CredentialRef, held: Held, holder: str, deadline: float) -> bool | None:
    """Return whether this process is to make the exchange; False if it was made meanwhile, None if time is up."""

    def claim(db: Connection) -> bool | None:
        current = credentials.get_writable_credential(db, credential.workspace_id, credential.vault_id, credential.id)
        if current["revision"] != held.row["revision"]:
            return False
        return leases.take(db, _lease(credential), holder, _LEASE_S) or None

    while True:
        claimed = await state.store.write(claim)
        if claimed is not None or asyncio.get_running_loop().time() >= deadline:
            return claimed
        await asyncio.sleep(_STEP_S)


def _keep(db: Connection, state: AppState, credential: CredentialRef, held: Held, tokens: Tokens) -> None:
    """Store new tokens, unless a person replaced the old ones meanwhile."""
    current = credentials.get_writable_credential(db, credential.workspace_id, credential.vault_id, credential.id)
    if current["revision"] != held.row["revision"]:
        return
    secrets = {"access_token": tokens.access_token}
    if tokens.refresh_token is not None:
        secrets["refresh_token"] = tokens.refresh_token
    sealed = seal_secrets(state.adapters.vault, credential.workspace_id, credential.id, secrets)
    expires_at = None if tokens.expires_in_us is None else read_now(db) + tokens.expires_in_us
    changed = {"secrets": current["secrets"] | sealed, "expires_at": expires_at}
    credentials.update_credential(db, credential.vault_id, credential.id, changed)

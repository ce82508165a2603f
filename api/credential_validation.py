"""Whether an `mcp_oauth` credential works: tried on its MCP server, and refreshed if its access token has expired."""

import asyncio
from typing import Any, Final

from api.credential_refresh import CredentialRef, Held, hold, refresh
from api.deps import AppState
from api.mcp_probe import FailedStep, probe
from protocol.errors import InvalidRequestError
from protocol.timestamps import to_rfc3339
from security.addresses import AddressRefusedError, checked_client
from security.vault import SealError
from store.clock import read_now

Json = dict[str, Any]

LIMIT_S: Final = 10.0
"""Seconds that a validation may take in all."""


async def validate(state: AppState, credential: CredentialRef) -> Json:
    """Return the API's validation of a credential. No transaction is open while other servers are asked.

    Raises:
        NotFoundError: there is no such credential in the workspace.
        InvalidRequestError: it is archived or of another type, its secrets cannot be opened, or an address that it
            names is refused.
    """
    try:
        held = await _hold(state, credential)
        step, refreshed = await _try(state, credential, held)
    except SealError as error:
        raise InvalidRequestError(f"{error}") from error
    except AddressRefusedError as error:
        raise InvalidRequestError(f"`auth`: {error}", error_code="address_refused") from error
    return {
        "type": "vault_credential_validation",
        "credential_id": credential.id,
        "vault_id": credential.vault_id,
        "status": _verdict(step, refreshed),
        "has_refresh_token": "refresh_token" in held.secrets,
        "mcp_probe": None if step is None else step.json(),
        "refresh": refreshed,
        "validated_at": to_rfc3339(await state.store.read(read_now)),
    }


async def _hold(state: AppState, credential: CredentialRef) -> Held:
    held = await hold(state, credential)
    if held.row["auth"]["type"] != "mcp_oauth":
        raise InvalidRequestError(
            f"credential {credential.id!r} is of type {held.row['auth']['type']!r}: only `mcp_oauth` can be validated"
        )
    return held


async def _try(state: AppState, credential: CredentialRef, held: Held) -> tuple[FailedStep | None, Json | None]:
    """Return the step that failed, if one did, and what came of a refresh, if one was due."""
    deadline = asyncio.get_running_loop().time() + LIMIT_S
    allow_private = state.settings.allow_private_addresses
    async with checked_client(allow_private=allow_private, timeout_s=LIMIT_S) as client:

        async def tried(current: Held) -> FailedStep | None:
            url, token = current.row["auth"]["mcp_server_url"], current.secrets["access_token"]
            return await probe(client, url, token, list(current.secrets.values()), deadline)

        step = None
        if not (held.expired and "refresh_token" in held.secrets):
            step = await tried(held)
            if step is None or step.response is None or step.response.status_code != 401:
                return step, None
        refreshed = await refresh(state, client, credential, held, deadline)
        if refreshed is None or refreshed["status"] == "succeeded":
            step = await tried(await hold(state, credential))
        return step, refreshed


def _verdict(step: FailedStep | None, refreshed: Json | None) -> str:
    if refreshed is not None and refreshed["status"] == "connect_error":
        return "unknown"
    if refreshed is not None and refreshed["status"] == "failed":
        return "invalid" if refreshed["http_response"]["status_code"] in (400, 401, 403) else "unknown"
    if step is None:
        return "valid"
    return "invalid" if step.refused else "unknown"

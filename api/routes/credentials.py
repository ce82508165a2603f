"""Credentials of vaults: secrets that are taken, sealed, and never shown."""

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from sqlalchemy import Connection, RowMapping

from api.auth import CallerDep
from api.body import JsonRoute
from api.credential_refresh import CredentialRef
from api.credential_validation import validate
from api.deps import AppState, StateDep, answer
from api.pages import PageDep, keyset, next_cursor
from api.resends import AttemptDep, Done, answer_once, answer_repeatable
from protocol.credential_auth import StoredAuth, changed_auth, new_auth
from protocol.credentials import (
    Credential,
    CredentialCreateParams,
    CredentialDeleted,
    CredentialPage,
    CredentialUpdateParams,
    CredentialValidation,
)
from protocol.definition import merged_metadata
from protocol.ids import new_id
from protocol.timestamps import to_rfc3339
from security.credentials import seal_secrets
from store.clock import read_now
from store.repositories import credentials
from store.repositories.vaults import get_vault

Json = dict[str, Any]

router = APIRouter(prefix="/v1/vaults/{vault_id}/credentials", tags=["Credentials"], route_class=JsonRoute)


def _credential_json(row: RowMapping) -> Json:
    return {
        "id": row["id"],
        "type": "vault_credential",
        "vault_id": row["vault_id"],
        "display_name": row["display_name"],
        "metadata": row["metadata"],
        "auth": _auth_json(row),
        "created_at": to_rfc3339(row["created_at"]),
        "updated_at": to_rfc3339(row["updated_at"]),
        "archived_at": _time(row["archived_at"]),
    }


def _auth_json(row: RowMapping) -> Json:
    auth: Json = row["auth"]
    return {**auth, "expires_at": _time(row["expires_at"])} if auth["type"] == "mcp_oauth" else auth


def _time(micros: int | None) -> str | None:
    return None if micros is None else to_rfc3339(micros)


def _columns(state: AppState, workspace_id: str, credential_id: str, auth: StoredAuth) -> Json:
    """Return the columns of an `auth`, with its secrets sealed."""
    secrets = seal_secrets(state.adapters.vault, workspace_id, credential_id, auth.secrets)
    return {"auth": auth.shown, "expires_at": auth.expires_at, "secrets": secrets}


@router.post("", response_model=Credential)
async def create_credential(
    vault_id: str, params: CredentialCreateParams, attempt: AttemptDep, caller: CallerDep, state: StateDep
) -> Response:
    """Create a credential; it is stored as it was sent, and not tried out."""

    def create(db: Connection) -> Done[None]:
        credential_id = new_id("vcrd")
        auth = new_auth(params.auth, read_now(db))
        values = {
            "id": credential_id,
            "target": auth.target,
            "display_name": params.display_name,
            "metadata": params.metadata or {},
            **_columns(state, caller.workspace_id, credential_id, auth),
        }
        return Done(_credential_json(credentials.create_credential(db, caller.workspace_id, vault_id, values)))

    return answer((await answer_once(state, attempt, create))[0])


@router.get("", response_model=CredentialPage)
async def list_credentials(
    vault_id: str,
    caller: CallerDep,
    state: StateDep,
    page: PageDep,
    include_archived: Annotated[bool, Query(description="Whether archived credentials are listed too.")] = False,
) -> Response:
    """List the credentials of a vault, newest first."""
    filters = ("credentials", vault_id, include_archived)
    after = keyset(page, filters)

    def read(db: Connection) -> Json:
        get_vault(db, caller.workspace_id, vault_id)
        rows = credentials.list_credentials(
            db, vault_id, include_archived=include_archived, limit=page.limit, after=after
        )
        data = [_credential_json(row) for row in rows[: page.limit]]
        return {"data": data, "next_page": next_cursor(rows, page, filters)}

    return answer(await state.store.read(read))


@router.get("/{credential_id}", response_model=Credential)
async def retrieve_credential(vault_id: str, credential_id: str, caller: CallerDep, state: StateDep) -> Response:
    """Retrieve a credential, without its secrets."""

    def read(db: Connection) -> Json:
        return _credential_json(credentials.get_credential(db, caller.workspace_id, vault_id, credential_id))

    return answer(await state.store.read(read))


@router.post("/{credential_id}", response_model=Credential)
async def update_credential(
    vault_id: str,
    credential_id: str,
    params: CredentialUpdateParams,
    attempt: AttemptDep,
    caller: CallerDep,
    state: StateDep,
) -> Response:
    """Update a credential: replace its secrets, or change what is known about it."""

    def update(db: Connection) -> Done[None]:
        current = credentials.get_writable_credential(db, caller.workspace_id, vault_id, credential_id)
        asked: Json = params.model_dump(include={"display_name"}, exclude_none=True)
        if params.metadata is not None:
            asked["metadata"] = merged_metadata(current["metadata"], params.metadata)
        if params.auth is not None:
            auth = changed_auth(current["auth"], current["expires_at"], params.auth, read_now(db))
            asked |= _columns(state, caller.workspace_id, credential_id, auth)
            asked["secrets"] = current["secrets"] | asked["secrets"]
        changed = {column: value for column, value in asked.items() if value != current[column]}
        if changed:
            current = credentials.update_credential(db, vault_id, credential_id, changed)
        return Done(_credential_json(current))

    return answer((await answer_once(state, attempt, update))[0])


@router.post("/{credential_id}/archive", response_model=Credential)
async def archive_credential(
    vault_id: str, credential_id: str, attempt: AttemptDep, caller: CallerDep, state: StateDep
) -> Response:
    """Archive a credential, for good: its secrets are erased, and another one can take its place."""

    def archive(db: Connection) -> Done[None]:
        return Done(_credential_json(credentials.archive_credential(db, caller.workspace_id, vault_id, credential_id)))

    return answer((await answer_once(state, attempt, archive))[0])


@router.delete("/{credential_id}", response_model=CredentialDeleted)
async def delete_credential(
    vault_id: str, credential_id: str, attempt: AttemptDep, caller: CallerDep, state: StateDep
) -> Response:
    """Delete a credential."""

    def delete(db: Connection) -> Done[None]:
        credentials.delete_credential(db, caller.workspace_id, vault_id, credential_id)
        return Done({"id": credential_id, "type": "vault_credential_deleted"})

    return answer((await answer_once(state, attempt, delete))[0])


@router.post("/{credential_id}/mcp_oauth_validate", response_model=CredentialValidation)
async def validate_credential(
    vault_id: str, credential_id: str, attempt: AttemptDep, caller: CallerDep, state: StateDep
) -> Response:
    """Try an `mcp_oauth` credential on its MCP server, and refresh its access token if that has expired."""
    credential = CredentialRef(caller.workspace_id, vault_id, credential_id)
    return answer(await answer_repeatable(state, attempt, partial(validate, state, credential)))

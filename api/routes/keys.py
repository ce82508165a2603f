"""API keys, of any workspace. Managing them needs a key of scope `admin`."""

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from sqlalchemy import Connection, RowMapping

from api.auth import AdminDep
from api.body import JsonRoute
from api.deps import StateDep, answer
from api.pages import PageDep, keyset, next_cursor
from api.resends import AttemptDep, Done, answer_once
from protocol.access import ApiKey, ApiKeyCreateParams, ApiKeyPage, NewApiKey, WorkspaceId
from protocol.timestamps import to_rfc3339
from security.keys import new_key
from store.repositories import access

router = APIRouter(prefix="/v1/api_keys", tags=["API keys"], route_class=JsonRoute)


def _api_key_json(row: RowMapping) -> dict[str, Any]:
    revoked_at = row["revoked_at"]
    return {
        "id": row["id"],
        "type": "api_key",
        "workspace_id": row["workspace_id"],
        "name": row["name"],
        "scope": row["scope"],
        "environment_id": row["environment_id"],
        "hint": row["hint"],
        "created_at": to_rfc3339(row["created_at"]),
        "revoked_at": None if revoked_at is None else to_rfc3339(revoked_at),
    }


@router.post("", response_model=NewApiKey)
async def create_api_key(
    params: ApiKeyCreateParams, attempt: AttemptDep, caller: AdminDep, state: StateDep
) -> Response:
    """Create an API key; the key itself is answered this once."""
    key = new_key()

    def create(db: Connection) -> Done[None]:
        row = access.create_api_key(
            db,
            workspace_id=params.workspace_id or caller.workspace_id,
            name=params.name,
            scope=params.scope,
            environment_id=params.environment_id,
            key=key,
        )
        return Done({**_api_key_json(row), "key": key}, secret=True)

    return answer((await answer_once(state, attempt, create))[0])


@router.get("", response_model=ApiKeyPage)
async def list_api_keys(
    _caller: AdminDep,
    state: StateDep,
    page: PageDep,
    workspace_id: Annotated[WorkspaceId | None, Query(description="By default keys of every workspace.")] = None,
) -> Response:
    """List API keys, newest first, revoked ones included."""
    filters = ("api_keys", workspace_id)
    read = partial(access.list_api_keys, workspace_id=workspace_id, limit=page.limit, after=keyset(page, filters))
    rows = await state.store.read(read)
    data = [_api_key_json(row) for row in rows[: page.limit]]
    return answer({"data": data, "next_page": next_cursor(rows, page, filters)})


@router.post("/{api_key_id}/revoke", response_model=ApiKey)
async def revoke_api_key(api_key_id: str, attempt: AttemptDep, _caller: AdminDep, state: StateDep) -> Response:
    """Revoke an API key, at once and for good."""

    def revoke(db: Connection) -> Done[None]:
        return Done(_api_key_json(access.revoke_api_key(db, api_key_id)))

    return answer((await answer_once(state, attempt, revoke))[0])

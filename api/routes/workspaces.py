"""Workspaces: the tenants. Managing them needs a key of scope `admin`."""

from functools import partial
from typing import Any

from fastapi import APIRouter, Response
from sqlalchemy import Connection, RowMapping

from api.auth import AdminDep
from api.body import JsonRoute
from api.deps import StateDep, answer
from api.pages import PageDep, keyset, next_cursor
from api.resends import AttemptDep, Done, answer_once
from protocol.access import Workspace, WorkspaceCreateParams, WorkspacePage
from protocol.timestamps import to_rfc3339
from store.repositories import access

router = APIRouter(prefix="/v1/workspaces", tags=["Workspaces"], route_class=JsonRoute)

_FILTERS = ("workspaces",)


def _workspace_json(row: RowMapping) -> dict[str, Any]:
    created_at = to_rfc3339(row["created_at"])
    return {"id": row["id"], "type": "workspace", "name": row["name"], "created_at": created_at}


@router.post("", response_model=Workspace)
async def create_workspace(
    params: WorkspaceCreateParams, attempt: AttemptDep, _caller: AdminDep, state: StateDep
) -> Response:
    """Create a workspace, with its default environment."""

    def create(db: Connection) -> Done[None]:
        return Done(_workspace_json(access.create_workspace(db, params.name)))

    return answer((await answer_once(state, attempt, create))[0])


@router.get("", response_model=WorkspacePage)
async def list_workspaces(_caller: AdminDep, state: StateDep, page: PageDep) -> Response:
    """List workspaces, newest first."""
    read = partial(access.list_workspaces, limit=page.limit, after=keyset(page, _FILTERS))
    rows = await state.store.read(read)
    data = [_workspace_json(row) for row in rows[: page.limit]]
    return answer({"data": data, "next_page": next_cursor(rows, page, _FILTERS)})


@router.get("/{workspace_id}", response_model=Workspace)
async def retrieve_workspace(workspace_id: str, _caller: AdminDep, state: StateDep) -> Response:
    """Retrieve a workspace."""
    row = await state.store.read(partial(access.get_workspace, workspace_id=workspace_id))
    return answer(_workspace_json(row))

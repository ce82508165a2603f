"""Resources of a session: files that are mounted, and repositories that were at its creation."""

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from sqlalchemy import Connection

from api.auth import CallerDep
from api.body import JsonRoute
from api.deps import AppState, StateDep, answer
from api.pages import PageParams, decode_cursor, encode_cursor
from api.resends import AttemptDep, Done, answer_once
from api.session_resources import check_resources, new_resources, resource_json
from protocol.errors import InvalidRequestError
from protocol.session_resources import (
    MAX_LISTED,
    DeletedResource,
    FileResource,
    FileResourceParams,
    RepositoryResource,
    ResourcePage,
    ResourceUpdateParams,
)
from store.event_log import LockedSession
from store.events import lock_visible
from store.repositories import session_resources, sessions

Json = dict[str, Any]

router = APIRouter(prefix="/v1/sessions/{session_id}/resources", tags=["Session resources"], route_class=JsonRoute)


def _lock_living(db: Connection, session_id: str, workspace_id: str) -> LockedSession:
    locked = lock_visible(db, session_id, workspace_id)
    if locked["stopping_at"] is not None or locked["ended_at"] is not None or locked["archived_at"] is not None:
        raise InvalidRequestError("the session has ended, and its resources are not changed any more")
    return locked


@router.post("", response_model=FileResource)
async def add_session_resource(
    session_id: str, params: FileResourceParams, attempt: AttemptDep, state: StateDep, caller: CallerDep
) -> Response:
    """Mount a file into a session: it is there from the next turn on. Repositories come with the session's creation."""
    find = partial(sessions.find_session_runtime, workspace_id=caller.workspace_id, session_id=session_id)
    runtime = await state.store.read(find)
    if runtime is not None:
        check_resources(state, await state.adapters.capabilities(runtime), runtime["alias"], [params], field="")

    def add(db: Connection) -> Done[None]:
        locked = _lock_living(db, session_id, caller.workspace_id)
        (added,) = new_resources(state, caller.workspace_id, [params])
        session_resources.add_resources(db, caller.workspace_id, session_id, [added])
        locked.set(updated_at=locked.now)
        locked.save(db)
        return Done(resource_json(session_resources.get_resource(db, session_id, added.id)), session_id)

    body, _ = await answer_once(state, attempt, add)
    return answer(body)


@router.get("", response_model=ResourcePage)
async def list_session_resources(
    session_id: str,
    state: StateDep,
    caller: CallerDep,
    limit: Annotated[int | None, Query(ge=1, le=MAX_LISTED, description="All of them if left out.")] = None,
    page: Annotated[str | None, Query(description="`next_page` of the page before.")] = None,
) -> Response:
    """List the resources of a session, oldest first."""
    asked = PageParams(limit or MAX_LISTED, page or None)
    filters = ("session_resources", session_id)

    def read(db: Connection) -> Json:
        sessions.check_session(db, caller.workspace_id, session_id)
        after = decode_cursor(asked.page, filters, (int, str)) if asked.page else None
        position = (after[0], after[1]) if after else None
        rows = session_resources.list_resources(db, session_id, limit=asked.limit, after=position)
        shown = rows[: asked.limit]
        more = len(rows) > asked.limit
        cursor = encode_cursor(filters, (shown[-1]["created_at"], shown[-1]["id"])) if more else None
        return {"data": [resource_json(row) for row in shown], "next_page": cursor}

    return answer(await state.store.read(read))


async def _answer_read(state: AppState, workspace_id: str, session_id: str, resource_id: str) -> Response:
    def read(db: Connection) -> Json:
        sessions.check_session(db, workspace_id, session_id)
        return resource_json(session_resources.get_resource(db, session_id, resource_id))

    return answer(await state.store.read(read))


@router.get("/{resource_id}", response_model=FileResource | RepositoryResource)
async def retrieve_session_resource(session_id: str, resource_id: str, state: StateDep, caller: CallerDep) -> Response:
    """Retrieve a resource of a session."""
    return await _answer_read(state, caller.workspace_id, session_id, resource_id)


@router.post("/{resource_id}", response_model=RepositoryResource)
async def update_session_resource(
    session_id: str,
    resource_id: str,
    params: ResourceUpdateParams,
    attempt: AttemptDep,
    state: StateDep,
    caller: CallerDep,
) -> Response:
    """Replace a repository's token, which the next clone uses; a session held by the old one goes on."""
    sealed = state.adapters.vault.seal(params.authorization_token, caller.workspace_id, resource_id)

    def update(db: Connection) -> Done[bool]:
        locked = _lock_living(db, session_id, caller.workspace_id)
        row = session_resources.set_token(db, session_id, resource_id, sealed)
        released = row["pending"] and locked["held"] is not None
        if released:
            locked.set(held=None, not_before=None, moved_at=locked.now)
        locked.set(updated_at=locked.now)
        locked.save(db)
        return Done(resource_json(row), session_id, released)

    body, released = await answer_once(state, attempt, update)
    if released:
        state.waker.wake(session_id)
    return answer(body)


@router.delete("/{resource_id}", response_model=DeletedResource)
async def delete_session_resource(
    session_id: str, resource_id: str, attempt: AttemptDep, state: StateDep, caller: CallerDep
) -> Response:
    """Take a resource out of a session: it is gone from the next turn on."""

    def remove(db: Connection) -> Done[None]:
        locked = _lock_living(db, session_id, caller.workspace_id)
        session_resources.remove_resource(db, session_id, resource_id)
        locked.set(updated_at=locked.now)
        locked.save(db)
        return Done({"id": resource_id, "type": "session_resource_deleted"}, session_id)

    return answer((await answer_once(state, attempt, remove))[0])

"""Threads of a session: the primary one, whose events are the session's own."""

from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Response
from sqlalchemy import Connection, RowMapping

from api.auth import CallerDep
from api.body import JsonRoute
from api.deps import StateDep, answer
from api.errors import ErrorEnvelope
from api.pages import decode_cursor
from api.routes.events import EventPage
from api.routes.stream import DeltasDep, TailsDep
from api.sse import EventStream
from protocol.errors import InvalidRequestError, NotFoundError
from protocol.session_answer import session_answer
from protocol.threads import Thread, ThreadPage, primary_thread_id, thread_answer
from store.event_pages import MAX_LIMIT, Page, list_events
from store.repositories.sessions import check_session, get_session

Json = dict[str, Any]
Status = Literal["running", "idle", "rescheduling", "terminated"]

router = APIRouter(prefix="/v1/sessions/{session_id}/threads", tags=["Threads"], route_class=JsonRoute)


async def _statuses(
    statuses: Annotated[list[Status], Query(alias="statuses[]", max_length=16)] = [],  # noqa: B006
    plain: Annotated[list[Status], Query(alias="statuses", max_length=16, include_in_schema=False)] = [],  # noqa: B006
) -> tuple[str, ...]:
    return tuple(sorted({*statuses, *plain}))


async def _primary(session_id: str, thread_id: str, _caller: CallerDep) -> str:
    """Return the session whose primary thread is meant.

    Raises:
        NotFoundError: the session has no such thread.
    """
    if thread_id != primary_thread_id(session_id):
        raise NotFoundError(f"no thread {thread_id!r} in session {session_id!r}")
    return session_id


PrimaryDep = Annotated[str, Depends(_primary)]


def _shown(row: RowMapping) -> Json:
    return thread_answer(session_answer({**row, "resources": []}, ""), row)


@router.get("", response_model=ThreadPage)
async def list_threads(
    session_id: str,
    state: StateDep,
    caller: CallerDep,
    statuses: Annotated[tuple[str, ...], Depends(_statuses)],
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = MAX_LIMIT,
    page: str | None = None,
) -> Response:
    """List the threads of a session: its primary one, unless `statuses` leaves it out."""
    if page:
        decode_cursor(page, ("threads", session_id, statuses), ())
    row = await state.store.read(partial(get_session, workspace_id=caller.workspace_id, session_id=session_id))
    shown = not page and (not statuses or row["status"] in statuses)
    return answer({"data": [_shown(row)] if shown else [], "next_page": None})


@router.get("/{thread_id}", response_model=Thread)
async def retrieve_thread(session_id: PrimaryDep, state: StateDep, caller: CallerDep) -> Response:
    """Retrieve a thread."""
    row = await state.store.read(partial(get_session, workspace_id=caller.workspace_id, session_id=session_id))
    return answer(_shown(row))


@router.post("/{thread_id}/archive", status_code=400, response_model=ErrorEnvelope)
async def archive_thread(session_id: PrimaryDep, state: StateDep, caller: CallerDep) -> Response:
    """Refused: a primary thread ends with its session."""
    await state.store.read(partial(check_session, workspace_id=caller.workspace_id, session_id=session_id))
    raise InvalidRequestError("the primary thread cannot be archived by itself: archive the session")


@router.get("/{thread_id}/events", response_model=EventPage)
async def list_thread_events(
    session_id: PrimaryDep,
    state: StateDep,
    caller: CallerDep,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = MAX_LIMIT,
    page: str | None = None,
) -> Response:
    """List the events of a thread, in the order they were processed; what is still queued comes last."""

    def read(db: Connection) -> Page:
        check_session(db, caller.workspace_id, session_id)
        return list_events(db, session_id, limit=limit, cursor=page or None)

    found = await state.store.read(read)
    return answer({"data": [frame.event() for frame in found.frames], "next_page": found.next_page})


@router.get(
    "/{thread_id}/stream",
    response_class=EventStream,
    status_code=200,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def stream_thread(session_id: PrimaryDep, caller: CallerDep, tails: TailsDep, deltas: DeltasDep) -> Response:
    """Stream a thread's events from now on."""
    return EventStream(partial(tails.open, session_id, caller.workspace_id, after=None, deltas=deltas))

"""Sessions: creating, reading, updating and ending them."""

import asyncio
import time
from collections.abc import Mapping
from functools import cache, partial
from typing import Any, Final

from anthropic.types.beta import BetaManagedAgentsDeletedSession
from fastapi import APIRouter, Response
from sqlalchemy import Connection, RowMapping
from temporalio.envconfig import ClientConfig

from api.auth import CallerDep
from api.body import JsonRoute
from api.capability_check import check_capabilities
from api.deps import AppState, StateDep, answer
from api.pages import PageDep, decode_cursor, encode_cursor
from api.resends import AttemptDep, Done, answer_once, answer_repeatable
from api.session_creation import make_session
from api.session_filters import Order, SessionListDep, read_page
from api.session_resources import with_resources
from api.wakes import announce, follow
from protocol.session_answer import session_answer, turn_answer
from protocol.sessions import Session, SessionCreateParams, SessionPage, SessionUpdateParams, StoppedSession, TurnPage
from settings import Settings
from store import endings
from store.endings import Ending
from store.events import Accepted
from store.repositories import sessions
from store.repositories.turns import list_turns, told_of

Json = dict[str, Any]

router = APIRouter(prefix="/v1/sessions", tags=["Sessions"], route_class=JsonRoute)

_STOP_WAIT_S: Final = 10.0
_STOP_STEP_S: Final = 0.2


@cache
def _namespace() -> str:
    return ClientConfig.load_client_connect_config().get("namespace") or "default"


def _shown(settings: Settings, row: Mapping[str, Any] | RowMapping) -> Json:
    ui = settings.temporal_ui_url.rstrip("/")
    return session_answer(dict(row), f"{ui}/namespaces/{_namespace()}/workflows")


def _read_session(db: Connection, workspace_id: str, session_id: str) -> Json:
    (row,) = with_resources(db, [sessions.get_session(db, workspace_id, session_id)])
    return row


@router.post("", response_model=Session)
async def create_session(
    params: SessionCreateParams, attempt: AttemptDep, state: StateDep, caller: CallerDep
) -> Response:
    """Create a session; with initial events, it begins to work at once."""
    events = params.initial_events or ()

    def store_session(db: Connection) -> Done[tuple[str, Accepted]]:
        created = make_session(db, state, caller.workspace_id, params, events)
        session, accepted = created.session, created.accepted
        body = _shown(state.settings, {**session.row, "waiting": len(events), "resources": created.resources})
        return Done(body, session.id, (session.id, accepted) if accepted else None)

    body, effect = await answer_once(state, attempt, store_session)
    if effect is not None:
        follow(state, *effect)
    return answer(body)


@router.get("", response_model=SessionPage)
async def list_sessions(state: StateDep, caller: CallerDep, asked: SessionListDep, page: PageDep) -> Response:
    """List sessions, newest first, without the archived ones unless they are asked for."""
    found = await state.store.read(partial(read_page, workspace_id=caller.workspace_id, asked=asked, page=page))
    data = [_shown(state.settings, row) for row in found.rows]
    return answer({"data": data, "next_page": found.next_page, "prev_page": found.prev_page})


@router.get("/{session_id}", response_model=Session)
async def retrieve_session(session_id: str, state: StateDep, caller: CallerDep) -> Response:
    """Retrieve a session."""
    row = await state.store.read(partial(_read_session, workspace_id=caller.workspace_id, session_id=session_id))
    return answer(_shown(state.settings, row))


@router.post("/{session_id}", response_model=Session)
async def update_session(
    session_id: str, params: SessionUpdateParams, attempt: AttemptDep, state: StateDep, caller: CallerDep
) -> Response:
    """Update a session's title or metadata, or, while it is not running, its agent's tools and MCP servers."""

    def update(db: Connection) -> Done[int]:
        def check_agent(definition: Json) -> None:
            runtime = sessions.find_session_runtime(db, caller.workspace_id, session_id)
            if runtime is not None:
                check_capabilities(definition, runtime["kind"], state.adapters.known_capabilities(runtime))

        last_seq = sessions.update_session(db, caller.workspace_id, session_id, params, check_agent)
        row = _read_session(db, caller.workspace_id, session_id)
        return Done(_shown(state.settings, row), session_id, last_seq)

    body, last_seq = await answer_once(state, attempt, update)
    if last_seq is not None:
        announce(state, session_id, last_seq)
    return answer(body)


@router.post("/{session_id}/archive", response_model=Session)
async def archive_session(session_id: str, attempt: AttemptDep, state: StateDep, caller: CallerDep) -> Response:
    """Archive a session that is not running: it becomes read-only, and stays readable."""

    def archive(db: Connection) -> Done[Ending]:
        ending = endings.archive(db, session_id, caller.workspace_id)
        row = _read_session(db, caller.workspace_id, session_id)
        return Done(_shown(state.settings, row), session_id, ending)

    body, ending = await answer_once(state, attempt, archive)
    if ending is not None:
        follow(state, session_id, ending)
    return answer(body)


@router.delete("/{session_id}", response_model=BetaManagedAgentsDeletedSession)
async def delete_session(session_id: str, attempt: AttemptDep, state: StateDep, caller: CallerDep) -> Response:
    """Delete a session that is not running, with everything it holds."""

    def delete(db: Connection) -> Done[Ending]:
        ending = endings.delete(db, session_id, caller.workspace_id)
        return Done({"id": session_id, "type": "session_deleted"}, effect=ending)

    body, ending = await answer_once(state, attempt, delete)
    if ending is not None:
        follow(state, session_id, ending)
    return answer(body)


@router.post("/{session_id}/stop", response_model=StoppedSession)
async def stop_session(session_id: str, attempt: AttemptDep, state: StateDep, caller: CallerDep) -> Response:
    """Stop a session for good: what runs is cancelled, what is queued is void. May be repeated."""

    async def stop() -> Json:
        ending = await state.store.write(
            partial(endings.request_stop, session_id=session_id, workspace_id=caller.workspace_id)
        )
        follow(state, session_id, ending)
        row = await _ended(state, caller.workspace_id, session_id)
        return {**_shown(state.settings, row), "state": "stopping" if row["ended_at"] is None else "terminated"}

    return answer(await answer_repeatable(state, attempt, stop))


async def _ended(state: AppState, workspace_id: str, session_id: str) -> Json:
    """Return the session once it has ended, or as it is after 10 s or when this process is told to end."""
    read = partial(_read_session, workspace_id=workspace_id, session_id=session_id)
    give_up = time.monotonic() + _STOP_WAIT_S
    watch = state.live.watch(session_id) if state.live is not None else None
    try:
        while True:
            row = await state.store.read(read)
            if row["ended_at"] is not None or state.closing.is_set() or time.monotonic() > give_up:
                return row
            if watch is not None and await watch.wait(_STOP_STEP_S):
                watch.take()
            elif watch is None:
                await asyncio.sleep(_STOP_STEP_S)
    finally:
        if watch is not None:
            watch.close()


@router.get("/{session_id}/turns", response_model=TurnPage)
async def list_session_turns(
    session_id: str, state: StateDep, caller: CallerDep, page: PageDep, order: Order = "asc"
) -> Response:
    """List the turns of a session: what was sent to its runtime, what came of it, and what the user was told."""
    binding = ("turns", session_id, order)

    def read(db: Connection) -> Json:
        sessions.check_session(db, caller.workspace_id, session_id)
        after: int | None = decode_cursor(page.page, binding, (int,))[0] if page.page else None
        found = list_turns(db, session_id, ascending=order == "asc", limit=page.limit, after=after)
        shown = found[: page.limit]
        told = told_of(db, session_id, shown)
        more = len(found) > page.limit
        return {
            "data": [turn_answer(dict(row), told[row["id"]]) for row in shown],
            "next_page": encode_cursor(binding, (shown[-1]["number"],)) if more else None,
        }

    return answer(await state.store.read(read))

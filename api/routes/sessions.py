"""Sessions: creating, reading, updating and ending them."""

import asyncio
import time
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any, Final

from anthropic.types.beta import BetaManagedAgentsDeletedSession
from fastapi import APIRouter, Response
from sqlalchemy import Connection, RowMapping
from temporalio.envconfig import ClientConfig

from api.adapters import CapabilitiesUnknownError
from api.auth import CallerDep
from api.body import JsonRoute
from api.capability_check import check_capabilities
from api.deps import AppState, StateDep, answer
from api.pages import PageDep, decode_cursor, encode_cursor
from api.resends import AttemptDep, Done, RetryCountDep, answer_once
from api.session_capabilities import check_takes
from api.session_filters import Order, SessionListDep, read_page
from api.session_resources import check_resources, new_resources, resource_json, with_resources
from api.wakes import announce, follow
from protocol.inputs import payload_of
from protocol.session_answer import session_answer, turn_answer
from protocol.sessions import Session, SessionCreateParams, SessionPage, SessionUpdateParams, StoppedSession, TurnPage
from settings import Settings
from store import endings
from store.endings import Ending
from store.events import Accepted, Input, accept_initial
from store.repositories import sessions
from store.repositories.session_resources import add_resources, add_skills, check_skills, list_resources
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
    batch = [Input(event.type, payload_of(event)) for event in params.initial_events or ()]

    def store_session(db: Connection) -> Done[tuple[str, Accepted]]:
        plan = sessions.plan_session(db, caller.workspace_id, params)
        capabilities = state.adapters.known_capabilities(plan.runtime)
        check_capabilities(plan.agent, plan.runtime["kind"], capabilities)
        check_takes(capabilities, plan.runtime["alias"], params.initial_events or (), "initial_events")
        asked = params.resources or ()
        check_resources(state, capabilities, plan.runtime["alias"], asked)
        own_skills = plan.agent["skills"] if capabilities.skills == "own" else ()
        if own_skills:
            plan.agent["skills"] = own_skills = check_skills(db, caller.workspace_id, own_skills)
        created = sessions.new_session(plan, params, single_answers=capabilities.answers == "single")
        accepted = accept_initial(db, created, batch, max_queued=state.settings.max_queued_events) if batch else None
        created.save(db)
        if asked or own_skills:
            add_skills(db, caller.workspace_id, created.id, own_skills)
            add_resources(db, caller.workspace_id, created.id, new_resources(state, caller.workspace_id, asked))
        shown = [resource_json(row) for row in list_resources(db, created.id)] if asked else []
        body = _shown(state.settings, {**created.row, "waiting": len(batch), "resources": shown})
        return Done(body, created.id, (created.id, accepted) if accepted else None)

    while True:
        try:
            body, effect = await answer_once(state, attempt, store_session)
            break
        except CapabilitiesUnknownError as error:
            await state.adapters.capabilities(error.runtime)
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
async def update_session(session_id: str, params: SessionUpdateParams, state: StateDep, caller: CallerDep) -> Response:
    """Update a session's title or metadata, or, while it is not running, its agent's tools and MCP servers."""
    check_agent = await _agent_check(state, caller.workspace_id, session_id)

    def update(db: Connection) -> tuple[Json, int]:
        last_seq = sessions.update_session(db, caller.workspace_id, session_id, params, check_agent)
        return _read_session(db, caller.workspace_id, session_id), last_seq

    row, last_seq = await state.store.write(update)
    announce(state, session_id, last_seq)
    return answer(_shown(state.settings, row))


async def _agent_check(state: AppState, workspace_id: str, session_id: str) -> Callable[[Json], None]:
    """Return what refuses a definition that the session's runtime could not run."""
    find = partial(sessions.find_session_runtime, workspace_id=workspace_id, session_id=session_id)
    runtime = await state.store.read(find)
    if runtime is None:
        return lambda _definition: None
    capabilities = await state.adapters.capabilities(runtime)
    return partial(check_capabilities, runtime_kind=runtime["kind"], capabilities=capabilities)


@router.post("/{session_id}/archive", response_model=Session)
async def archive_session(session_id: str, state: StateDep, caller: CallerDep) -> Response:
    """Archive a session that is not running: it becomes read-only, and stays readable."""

    def archive(db: Connection) -> tuple[Json, Ending]:
        ending = endings.archive(db, session_id, caller.workspace_id)
        return _read_session(db, caller.workspace_id, session_id), ending

    row, ending = await state.store.write(archive)
    follow(state, session_id, ending)
    return answer(_shown(state.settings, row))


@router.delete("/{session_id}", response_model=BetaManagedAgentsDeletedSession)
async def delete_session(session_id: str, state: StateDep, caller: CallerDep, retries: RetryCountDep) -> Response:
    """Delete a session that is not running, with everything it holds."""

    def delete(db: Connection) -> Ending | None:
        if retries and sessions.was_deleted(db, caller.workspace_id, session_id):
            return None
        return endings.delete(db, session_id, caller.workspace_id)

    ending = await state.store.write(delete)
    if ending is not None:
        follow(state, session_id, ending)
    return answer({"id": session_id, "type": "session_deleted"})


@router.post("/{session_id}/stop", response_model=StoppedSession)
async def stop_session(session_id: str, state: StateDep, caller: CallerDep) -> Response:
    """Stop a session for good: what runs is cancelled, what is queued is void. May be repeated."""
    ending = await state.store.write(
        partial(endings.request_stop, session_id=session_id, workspace_id=caller.workspace_id)
    )
    follow(state, session_id, ending)
    read = partial(_read_session, workspace_id=caller.workspace_id, session_id=session_id)
    row = await _ended(state, read)
    shown = _shown(state.settings, row)
    return answer({**shown, "state": "stopping" if row["ended_at"] is None else "terminated"})


async def _ended(state: AppState, read: Callable[[Connection], Json]) -> Json:
    """Return the session once it has ended, or as it is after 10 s or when this process is told to end."""
    give_up = time.monotonic() + _STOP_WAIT_S
    while True:
        row = await state.store.read(read)
        if row["ended_at"] is not None or state.closing.is_set() or time.monotonic() > give_up:
            return row
        await asyncio.sleep(_STOP_STEP_S)


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

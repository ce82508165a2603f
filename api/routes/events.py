"""Events of a session: sending and listing them."""

from functools import partial
from typing import Annotated, Literal

from anthropic.types.beta.sessions import BetaManagedAgentsSessionEvent, BetaManagedAgentsSessionEventType
from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, ConfigDict
from sqlalchemy import Connection

from api.auth import CallerDep
from api.body import JsonRoute
from api.created_at import CreatedAtDep
from api.deps import StateDep, answer
from api.environment_keys import check_events
from api.resends import AttemptDep, Done, answer_once
from api.session_capabilities import check_session_takes
from api.wakes import follow
from protocol.inputs import EventSendParams, payload_of
from store.event_pages import MAX_LIMIT, Page, list_events
from store.events import Accepted, Input, accept
from store.repositories.sessions import check_session

router = APIRouter(prefix="/v1/sessions/{session_id}/events", tags=["Events"], route_class=JsonRoute)


class EventList(BaseModel):
    """Events, as they were stored."""

    data: list[BetaManagedAgentsSessionEvent]


class EventPage(EventList):
    """A page of events."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    next_page: str | None
    """Cursor of the next page; null on the last."""


@router.post("", response_model=EventList)
async def send_events(
    session_id: str, params: EventSendParams, attempt: AttemptDep, state: StateDep, caller: CallerDep
) -> Response:
    """Send events to a session: all are stored, or none. Each is answered with its id, and not processed yet."""
    if caller.environment_id is not None:
        check_events([event.type for event in params.events])
    await check_session_takes(state, caller.workspace_id, session_id, params.events)
    batch = [Input(event.type, payload_of(event)) for event in params.events]
    max_queued = state.settings.max_queued_events

    def store_events(db: Connection) -> Done[Accepted]:
        accepted = accept(db, session_id, caller.workspace_id, batch, max_queued=max_queued)
        return Done({"data": accepted.events}, session_id, accepted)

    body, accepted = await answer_once(state, attempt, store_events)
    if accepted is not None:
        follow(state, session_id, accepted)
    return answer(body)


async def _types(
    types: Annotated[list[BetaManagedAgentsSessionEventType], Query(alias="types[]", max_length=64)] = [],  # noqa: B006
    plain: Annotated[
        list[BetaManagedAgentsSessionEventType], Query(alias="types", max_length=64, include_in_schema=False)
    ] = [],  # noqa: B006
) -> tuple[str, ...]:
    return (*types, *plain)


@router.get("", response_model=EventPage)
async def list_session_events(
    session_id: str,
    state: StateDep,
    caller: CallerDep,
    types: Annotated[tuple[str, ...], Depends(_types)],
    created_at: CreatedAtDep,
    order: Literal["asc", "desc"] = "asc",
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = MAX_LIMIT,
    page: str | None = None,
) -> Response:
    """List the events of a session, in the order they were processed; what is still queued comes last."""
    select = partial(
        list_events,
        session_id=session_id,
        order=order,
        limit=limit,
        cursor=page or None,
        types=types,
        created_at=created_at,
    )

    def read(db: Connection) -> Page:
        check_session(db, caller.workspace_id, session_id)
        return select(db)

    found = await state.store.read(read)
    return answer({"data": [frame.event() for frame in found.frames], "next_page": found.next_page})

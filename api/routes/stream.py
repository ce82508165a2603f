"""A session's events as they happen."""

import asyncio
from functools import partial
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Header, Query, Request
from starlette.responses import Response

from api.auth import CallerDep
from api.body import JsonRoute
from api.deps import StateDep
from api.sse import EventStream
from protocol.errors import InvalidRequestError
from protocol.frames import PREVIEWED_TYPES
from store.tails import Tails

router = APIRouter(tags=["Events"], route_class=JsonRoute)

_MOST_DIGITS: Final = 18


async def _tails(request: Request, state: StateDep) -> Tails:
    """Return the process's tails, made at the first stream and ended when the process is told to end."""
    found: Tails | None = getattr(request.app.state, "tails", None)
    if found is None:
        found = request.app.state.tails = Tails(state.store, state.live, state.settings.max_streams)
        request.app.state.tails_ending = asyncio.create_task(_end_with(state.closing, found))
    return found


async def _end_with(closing: asyncio.Event, tails: Tails) -> None:
    await closing.wait()
    await tails.close()


TailsDep = Annotated[Tails, Depends(_tails)]


def _place(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS):
        raise InvalidRequestError(f"{name} must be the `id` of an event of this stream, or 0, not {text[:40]!r}")
    return int(text)


async def _deltas(
    listed: Annotated[list[str], Query(alias="event_deltas[]", description="Types to be shown while made.")] = [],  # noqa: B006
    named: Annotated[list[str], Query(alias="event_deltas", include_in_schema=False)] = [],  # noqa: B006
) -> frozenset[str]:
    deltas = frozenset([*listed, *named])
    if not deltas <= PREVIEWED_TYPES:
        raise InvalidRequestError("`event_deltas` may be `agent.message` and `agent.thinking`")
    return deltas


DeltasDep = Annotated[frozenset[str], Depends(_deltas)]


@router.get(
    "/v1/sessions/{session_id}/events/stream",
    response_class=EventStream,
    status_code=200,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def stream_events(
    session_id: str,
    caller: CallerDep,
    tails: TailsDep,
    deltas: DeltasDep,
    last_event_id: Annotated[str | None, Header(description="Resume after the event with this `id`.")] = None,
    after: Annotated[str | None, Query(description="As `Last-Event-ID`, which goes before it; 0: all events.")] = None,
) -> Response:
    """Stream a session's events from now on, or exactly from where an earlier stream broke off."""
    place = None
    if last_event_id is not None:
        place = _place("`Last-Event-ID`", last_event_id.strip())
    elif after is not None:
        place = _place("`after`", after)
    return EventStream(partial(tails.open, session_id, caller.workspace_id, after=place, deltas=deltas))

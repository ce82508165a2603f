"""What has become of a turn, by the provider's session and its history."""

import asyncio

from anthropic import NotFoundError

from runtimes.base import Json, NativeEvent, Snapshot, Turn
from runtimes.claude_managed_agents.provider import Provider
from runtimes.claude_managed_agents.scope import Scope, Start

_TERMINATED = "session.status_terminated"
_LISTING_LAG_S = 2.0
"""What is accepted, and not listed after this, is taken for dropped."""


async def take_snapshot(provider: Provider, session_id: str, turn: Turn) -> Snapshot:
    """Return the turn's events so far and its status; status first, so that the events are at least as new."""
    start = Start.of_whole(turn)
    scope = Scope(turn.native["events"], start)
    try:
        session = await provider.retrieve_session(session_id)
        events = [event async for event in scope.admitted(provider.list_events(session_id, since=start.since))]
    except NotFoundError:
        return Snapshot("lost", detail="the provider's session is gone")
    if not scope.ended and session.get("status") == "terminated":
        events.append(_termination(session_id, session))
        return Snapshot("ended", events, "the provider's session is terminated")
    if scope.ended:
        return Snapshot("ended", events)
    return await _of_status(provider, session_id, scope, str(session.get("status")), events)


async def _of_status(
    provider: Provider, session_id: str, scope: Scope, status: str, events: list[NativeEvent]
) -> Snapshot:
    if status in ("running", "rescheduling"):
        return Snapshot("running", events, f"the provider's session is {status}")
    if status != "idle":
        return Snapshot("unknown", events, "the provider's session has a status that is not known here")
    if scope.begun:
        return Snapshot("running", events, "the provider's session is idle, its last events are not listed yet")
    if await _is_listed(provider, session_id, scope) or await _is_listed_later(provider, session_id, scope):
        return Snapshot("running", events, "the provider has what was sent in its queue")
    return Snapshot("lost", events, "the provider no longer lists what was sent")


async def _is_listed(provider: Provider, session_id: str, scope: Scope) -> bool:
    # Not narrowed to later times: an event that is queued has no time, and would be left out.
    sent = set(scope.sent)
    types = ["user.message", "user.tool_confirmation", "user.custom_tool_result"]
    async for event in provider.list_events(session_id, types=types):
        sent.discard(str(event.get("id")))
    return not sent


async def _is_listed_later(provider: Provider, session_id: str, scope: Scope) -> bool:
    await asyncio.sleep(_LISTING_LAG_S)
    return await _is_listed(provider, session_id, scope)


def _termination(session_id: str, session: Json) -> NativeEvent:
    # An archived session is reported as terminated, without an event that says so.
    return NativeEvent(f"{session_id}:terminated", _TERMINATED, {"type": _TERMINATED, "status": session["status"]})

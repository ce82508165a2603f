"""From the provider's events to ours. They speak one language, so most is copied, and only the ids change.

What the provider says of its session's status is not copied: ours is made by the engine. Threads, workflow runs and
whatever is new name things that only exist there, and are kept for those who debug.
"""

from collections.abc import Callable, Sequence
from typing import Literal

from runtimes.base import Ask, Delta, End, Event, Json, NativeEvent, Reference, Translation, Vendor

_COPIED = frozenset(
    {
        "agent.message",
        "agent.thinking",
        "agent.tool_use",
        "agent.tool_result",
        "agent.mcp_tool_use",
        "agent.mcp_tool_result",
        "agent.custom_tool_use",
        "agent.thread_context_compacted",
        "span.model_request_start",
        "span.model_request_end",
    }
)
_DROPPED = frozenset({"heartbeat", "session.status_running", "session.status_rescheduled"})
_ERROR_TYPES = frozenset(
    {
        "billing_error",
        "compaction_limit_reached_error",
        "credential_host_unreachable_error",
        "mcp_authentication_failed_error",
        "mcp_connection_failed_error",
        "model_overloaded_error",
        "model_rate_limited_error",
        "model_request_failed_error",
        "repository_authentication_error",
        "repository_checkout_error",
        "repository_clone_error",
        "repository_forbidden_error",
        "repository_not_found_error",
        "tool_use_limit_reached_error",
        "unknown_error",
    }
)
_REFERENCES = ("tool_use_id", "custom_tool_use_id", "mcp_tool_use_id", "model_request_start_id")
_OF_THE_PROVIDER = frozenset({"id", "type", "processed_at", "session_thread_id"})

AskType = Literal["agent.tool_use", "agent.mcp_tool_use", "agent.custom_tool_use"]
StopReason = Literal["end_turn", "requires_action", "refusal", "retries_exhausted", "budget_reached"]
_ASK_TYPES: dict[str, AskType] = {
    "agent.tool_use": "agent.tool_use",
    "agent.mcp_tool_use": "agent.mcp_tool_use",
    "agent.custom_tool_use": "agent.custom_tool_use",
}
_STOP_REASONS: dict[str, StopReason] = {
    "end_turn": "end_turn",
    "refusal": "refusal",
    "retries_exhausted": "retries_exhausted",
    "budget_reached": "budget_reached",
}


def translate(state: Json, native: NativeEvent) -> Translation:
    """Return what an event becomes. `state` keeps what is asked, what is previewed, and whether it was interrupted."""
    handler = _HANDLERS.get(native.type)
    if handler is not None:
        return handler(state, native)
    if native.type in _DROPPED or native.type.startswith(("user.", "system.")):
        return Translation(state)
    if native.type in _COPIED and native.key is not None:
        return _copy(state, native)
    return Translation(state, (Vendor(native.type, native.data),))


def payload(data: Json) -> Json:
    """Return an event's own fields, with a `Reference` where it names another event."""
    own = {name: value for name, value in data.items() if name not in _OF_THE_PROVIDER}
    for name in _REFERENCES:
        if isinstance(own.get(name), str):
            own[name] = Reference(own[name])
    return own


def _copy(state: Json, native: NativeEvent) -> Translation:
    ask = _ask(native)
    if ask is None:
        return Translation(state, (Event(native.type, payload(native.data)),))
    asked = [*_without(state.get("asked", []), native.key), native.key]
    return Translation({**state, "asked": asked}, (ask,))


def _ask(native: NativeEvent) -> Ask | None:
    kind = _ASK_TYPES.get(native.type)
    waits = kind == "agent.custom_tool_use" or native.data.get("evaluated_permission") == "ask"
    if kind is None or not waits:
        return None
    return Ask(kind, payload(native.data), {"id": native.key, "type": kind})


def _error(state: Json, native: NativeEvent) -> Translation:
    error = native.data.get("error")
    if native.key is None or not isinstance(error, dict):
        return Translation(state, (Vendor(native.type, native.data),))
    # A strict client knows these types only; the message still says what it was.
    kind = error.get("type") if error.get("type") in _ERROR_TYPES else "unknown_error"
    return Translation(state, (Event("session.error", {"error": {**error, "type": kind}}),))


def _interrupted(state: Json, native: NativeEvent) -> Translation:
    return Translation({**state, "interrupted": True})


def _preview_starts(state: Json, native: NativeEvent) -> Translation:
    preview = native.data.get("event")
    if not isinstance(preview, dict) or preview.get("type") != "agent.thinking":
        return Translation(state)
    # Thinking is announced and never shown in pieces: the announcement is all there is to pass on.
    return Translation(state, (Delta("agent.thinking", str(preview.get("id")), 0, ""),))


def _preview_goes_on(state: Json, native: NativeEvent) -> Translation:
    delta, key = native.data.get("delta"), native.data.get("event_id")
    content = delta.get("content") if isinstance(delta, dict) else None
    if not isinstance(delta, dict) or not isinstance(content, dict) or not isinstance(key, str):
        return Translation(state, (Vendor(native.type, native.data),))
    text, index = content.get("text"), delta.get("index") or 0
    if not isinstance(text, str):
        return Translation(state, (Vendor(native.type, native.data),))
    return Translation(state, (Delta("agent.message", key, 0, text, index),))


def _idle(state: Json, native: NativeEvent) -> Translation:
    reason = native.data.get("stop_reason")
    reason = reason if isinstance(reason, dict) else {}
    if reason.get("type") == "requires_action":
        # The turn that answers starts from this state, and was not interrupted.
        kept = {name: value for name, value in state.items() if name != "interrupted"}
        return Translation(kept, (_requires_action(state, reason),))
    stop_reason = _STOP_REASONS.get(str(reason.get("type")), "end_turn")
    interrupted = stop_reason == "end_turn" and bool(state.get("interrupted"))
    return Translation(state, (End(stop_reason, interrupted=interrupted),))


def _requires_action(state: Json, reason: Json) -> End:
    named: Sequence[str] = reason.get("event_ids") or ()
    if any(key in state.get("asked", []) for key in named):
        return End("requires_action")
    return End("end_turn", error="The provider waits for an action that is not asked of users of this session.")


def _gone(message: str) -> Callable[[Json, NativeEvent], Translation]:
    def end(state: Json, native: NativeEvent) -> Translation:
        return Translation(state, (End("retries_exhausted", error=message, lost_asks=True),))

    return end


def _without(keys: Sequence[str], key: str | None) -> list[str]:
    return [other for other in keys if other != key]


_HANDLERS: dict[str, Callable[[Json, NativeEvent], Translation]] = {
    "user.interrupt": _interrupted,
    "event_start": _preview_starts,
    "event_delta": _preview_goes_on,
    "session.error": _error,
    "session.status_idle": _idle,
    "session.status_terminated": _gone("The provider terminated the session."),
    "session.deleted": _gone("The provider's session was deleted."),
}

"""Frames of a session's log, and how they and their previews look as server-sent events."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic_core import to_json

from protocol.timestamps import to_rfc3339

Json = dict[str, Any]

SESSION_DELETED: Final = "session.deleted"
PREVIEWED_TYPES: Final = frozenset({"agent.message", "agent.thinking"})
"""Types of events that a client may see being made."""

RETRY: Final = b"retry: 1000\n\n"
"""Sent once at the start: milliseconds a browser waits before it connects again."""
PING: Final = b'event: ping\ndata: {"type":"ping"}\n\n'

_THREAD_STATUS = ("running", "idle", "rescheduled", "terminated")
_NAMED_TYPES: Final = frozenset(
    {
        *(
            f"user.{noun}"
            for noun in (
                "message", "interrupt", "tool_confirmation", "custom_tool_result", "tool_result", "define_outcome",
            )
        ),
        *(
            f"agent.{noun}"
            for noun in (
                "message", "thinking", "tool_use", "tool_result", "mcp_tool_use", "mcp_tool_result", "custom_tool_use",
                "thread_context_compacted", "thread_message_received", "thread_message_sent",
            )
        ),
        *(
            f"session.{noun}"
            for noun in (
                "status_running", "status_idle", "status_rescheduled", "status_terminated", "error", "deleted",
                "updated", "thread_created", *(f"thread_status_{status}" for status in _THREAD_STATUS),
            )
        ),
        *(
            f"span.{noun}"
            for noun in (
                "model_request_start", "model_request_end", "outcome_evaluation_start", "outcome_evaluation_ongoing",
                "outcome_evaluation_end",
            )
        ),
        "event_start",
        "event_delta",
        "system.message",
    }
)  # fmt: skip
"""Types that SDKs of before 1.0 deliver under their own name; every other they deliver only as `message`."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One item of a session's log; an input has two with one event id, queued and processed."""

    seq: int | None
    """Place in the log, from 1; None for what only streams show."""
    event_id: str
    type: str
    payload: Mapping[str, Any]
    """The API's event without `id`, `type` and `processed_at`."""
    processed_at: int | None
    """Microseconds since 1970; None while queued."""

    def event(self) -> Json:
        """Return the API's event."""
        processed_at = None if self.processed_at is None else to_rfc3339(self.processed_at)
        return {"type": self.type, "id": self.event_id, "processed_at": processed_at, **self.payload}


def encode_frame(frame: Frame) -> bytes:
    """Return the frame as a server-sent event."""
    seq = b"" if frame.seq is None else b"id: %d\n" % frame.seq
    return seq + _named(frame.type, frame.event())


def encode_preview(event: Json) -> bytes:
    """Return an `event_start` or `event_delta`, which has no place in the log, as a server-sent event."""
    return _named(event["type"], event)


def _named(type_: str, event: Json) -> bytes:
    # A frame without an `event:` line is dropped by every SDK.
    name = type_ if type_ in _NAMED_TYPES else "message"
    return b"event: %b\ndata: %b\n\n" % (name.encode(), to_json(event))

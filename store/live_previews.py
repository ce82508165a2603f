"""Previews on their way out: held back a moment, so that many small deltas become one, and cut so that each fits."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, Final

from store.live_watch import Json, Preview

_HOLD_S: Final = 0.05
_MOST_CHARACTERS: Final = 1000
"""Of one delta; six bytes each at worst."""
_MOST_COUNTED: Final = 8192


class Previews:
    """The pending previews of every session of a process; `emit` is given them after at most 50 ms."""

    def __init__(self, emit: Callable[[str, list[Preview]], None]) -> None:
        self._emit = emit
        self._pending: dict[str, list[Json]] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._lengths: OrderedDict[str, int] = OrderedDict()

    def add(self, session_id: str, events: Iterable[Json]) -> None:
        """Hold previews back, merging text that belongs to the same event and index."""
        pending = self._pending.get(session_id)
        if pending is None:
            pending = self._pending[session_id] = []
            loop = asyncio.get_running_loop()
            self._timers[session_id] = loop.call_later(_HOLD_S, self.flush, session_id)
        for event in events:
            if not _merge(pending, event):
                pending.append(event)

    def flush(self, session_id: str) -> None:
        """Emit now what is held back of a session."""
        pending = self._pending.pop(session_id, None)
        if pending is None:
            return
        self._timers.pop(session_id).cancel()
        self._emit(session_id, [self._count(piece) for event in pending for piece in _pieces(event)])

    def flush_all(self) -> None:
        """Emit now what is held back of every session."""
        for session_id in list(self._pending):
            self.flush(session_id)

    def _count(self, event: Json) -> Preview:
        if event["type"] == "event_start":
            at, event_id, length = 0, event["event"]["id"], 0
        else:
            event_id = event["event_id"]
            at = self._lengths.get(event_id, 0)
            length = at + len(_text(event) or "")
        self._lengths[event_id] = length
        self._lengths.move_to_end(event_id)
        if len(self._lengths) > _MOST_COUNTED:
            self._lengths.popitem(last=False)
        return Preview(at, event)


def text_length(event: Json) -> int:
    """Return how many characters a preview adds to its event."""
    return len(_text(event) or "")


def _text(event: Json) -> str | None:
    if event["type"] != "event_delta":
        return None
    text: Any = event["delta"].get("content", {}).get("text")
    return text if isinstance(text, str) else None


def _with_text(event: Json, text: str) -> Json:
    delta = event["delta"]
    return {**event, "delta": {**delta, "content": {**delta["content"], "text": text}}}


def _merge(pending: list[Json], event: Json) -> bool:
    """Put the text of a delta into the last pending one of its event, if that has the same index."""
    text = _text(event)
    if text is None:
        return False
    for number in range(len(pending) - 1, -1, -1):
        earlier = pending[number]
        if earlier["type"] == "event_start":
            if earlier["event"]["id"] == event["event_id"]:
                return False
        elif earlier["event_id"] == event["event_id"]:
            before = _text(earlier)
            if before is None or earlier["delta"].get("index") != event["delta"].get("index"):
                return False
            pending[number] = _with_text(earlier, before + text)
            return True
    return False


def _pieces(event: Json) -> list[Json]:
    text = _text(event)
    if text is None:
        return [event]
    # A character cut in two by whoever sent it: joined again where both halves are here, else marked as lost.
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    starts = range(0, max(len(text), 1), _MOST_CHARACTERS)
    return [_with_text(event, text[start : start + _MOST_CHARACTERS]) for start in starts]

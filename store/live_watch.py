"""A watch: what one part of a process is told of one session. It is told hints, which may be lost or come twice."""

import asyncio
from collections.abc import Callable
from typing import Any, Final, NamedTuple

Json = dict[str, Any]

_MOST_PREVIEWS: Final = 256
UNKNOWN: Final = -1


class Preview(NamedTuple):
    """An `event_start` or `event_delta`, never stored.

    `at` counts the characters that the event's deltas had before this one, so that a lost one is noticed.
    """

    at: int
    event: Json


Hint = int | list[Preview]
"""A place the log has reached (or reached before: then something else changed in SQL), or previews."""


class Watch:
    """The hints of one session since they were last taken, oldest first; neighbouring ones are merged."""

    __slots__ = ("_close", "_event", "_hints", "_wake", "flags", "previews", "seq", "session_id")

    def __init__(self, session_id: str, close: Callable[["Watch"], None], wake: Callable[[], None] | None) -> None:
        self.session_id = session_id
        self.previews = False
        """Whether previews are wanted."""
        self.seq = UNKNOWN
        """The place its owner knows of; the safety poll tells when the log has gone beyond."""
        self.flags: tuple[int | None, ...] = (None, None)
        """What the safety poll saw last: when the session was deleted, when its stop was asked for."""
        self._close = close
        self._wake = wake
        self._hints: list[Hint] = []
        self._event: asyncio.Event | None = None

    def push(self, hint: Hint) -> None:
        """Add a hint, and wake whoever waits."""
        if isinstance(hint, int):
            self.seq = max(self.seq, hint)
        elif not self.previews:
            return
        last = self._hints[-1] if self._hints else None
        if isinstance(hint, int) and isinstance(last, int):
            self._hints[-1] = max(last, hint)
        elif isinstance(hint, list) and isinstance(last, list):
            self._hints[-1] = (last + hint)[:_MOST_PREVIEWS]
        else:
            self._hints.append(hint)
        if self._wake is not None:
            self._wake()
        if self._event is not None:
            self._event.set()

    @property
    def pending(self) -> bool:
        """Whether there is a hint to take."""
        return bool(self._hints)

    def take(self) -> list[Hint]:
        """Return the hints and forget them."""
        hints, self._hints = self._hints, []
        if self._event is not None:
            self._event.clear()
        return hints

    async def wait(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds for a hint; return whether there is one to take."""
        if self._hints:
            return True
        if self._event is None:
            self._event = asyncio.Event()
        try:
            async with asyncio.timeout(timeout):
                await self._event.wait()
        except TimeoutError:
            return False
        return True

    def forget(self) -> None:
        """Have the safety poll tell again whatever it finds: what was told could not be used."""
        self.seq = UNKNOWN

    def close(self) -> None:
        """Be told nothing more. Repeatable."""
        self._close(self)

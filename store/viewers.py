"""A viewer: one open stream's place in a session's log, and the little that is kept ready for it.

Joined, it is handed what the session's tail reads. Lagging, where it begins behind the tail and whenever its buffer is
full, it reads the log by itself, at its client's pace, until it has caught up. So it never slows another, the memory it
takes is bounded, and it misses nothing and gets nothing twice.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog
from sqlalchemy.engine import Connection

from protocol.frames import SESSION_DELETED, Frame
from store.event_pages import frames_after
from store.live_bus import STORE_ERRORS
from store.live_watch import Preview
from store.pieces import Piece, Previewed, piece_of

if TYPE_CHECKING:
    from store.tails import Tail

_log = structlog.get_logger()

MOST_PIECES: Final = 256
MOST_BYTES: Final = 256 * 1024
_PAGE: Final = (4, 32, 256)
"""Frames read at once while lagging: at least, at first, at most."""
_AGAIN_S: Final = 1.0


class Viewer:
    """Gives the bytes of one stream, piece by piece."""

    __slots__ = (
        "_buffer", "_closed", "_left", "_page", "_previewed", "_size", "_tip", "_waiter", "lagging", "position", "tail",
    )  # fmt: skip

    def __init__(self, tail: "Tail", position: int, deltas: frozenset[str], left: Callable[["Viewer"], None]) -> None:
        self.tail = tail
        self.position = position
        """The last place that `next` gave."""
        self.lagging = tail.position is None or position < tail.position
        self._tip = position
        """The last place in the buffer."""
        self._buffer: deque[Piece] = deque()
        self._size = 0
        self._page = _PAGE[1]
        self._previewed = Previewed(deltas) if deltas else None
        self._waiter: asyncio.Future[bool] | None = None
        self._closed = False
        self._left = left

    @property
    def wants_previews(self) -> bool:
        """Whether the stream shows events while they are made."""
        return self._previewed is not None

    def offer(self, piece: Piece) -> None:
        """Take the next frame of the log, or begin to lag."""
        seq = piece.seq
        if self.lagging or seq is None or seq <= self._tip:
            return
        if seq != self._tip + 1 or self._is_full(piece.data):
            self.lagging = True
            self.wake()
            return
        if self._previewed is not None:
            self._previewed.end(piece)
        self._tip = seq
        self._put(piece)

    def offer_preview(self, preview: Preview, data: bytes) -> None:
        """Take a preview if it is wanted and there is room."""
        if self._previewed is None or self.lagging or self._is_full(data):
            return
        if self._previewed.admit(preview):
            self._put(Piece(None, "", preview.event["type"], data))

    def _is_full(self, data: bytes) -> bool:
        return len(self._buffer) >= MOST_PIECES or (bool(self._buffer) and self._size + len(data) > MOST_BYTES)

    def _put(self, piece: Piece) -> None:
        self._buffer.append(piece)
        self._size += len(piece.data)
        self.wake()

    async def next(self, timeout: float) -> bytes | None:
        """Return what to send next; nothing (`b""`) after `timeout` seconds without; None at the stream's end."""
        while not self._closed:
            data = self._drain() if self._buffer else None
            if data is None and self.lagging:
                data = await self._read()
            if data is None and not self.lagging:
                if self.tail.deleted is not None:
                    self.close()
                    return self.tail.deleted.data
                if not await self._wait(timeout):
                    return b""
            if data is not None:
                return data
        return None

    def _drain(self) -> bytes:
        pieces = list(self._buffer)
        self._buffer.clear()
        self._size = 0
        self.position = self._tip
        return self._join(pieces)

    async def _read(self) -> bytes | None:
        try:
            frames = await self.tail.store.read(partial(self._frames, after=self.position, limit=self._page))
        except STORE_ERRORS as error:
            _log.warning("stream_read_failed", session_id=self.tail.session_id, error=type(error).__name__)
            await self._wait(_AGAIN_S)
            return b""
        pieces = [piece_of(frame) for frame in frames]
        position = self.tail.position
        assert position is not None
        if not pieces:
            # The log has nothing more, though the tail was further: it has been erased since.
            self._tip = self.position = max(self.position, position)
            self.lagging = False
            return None
        assert pieces[-1].seq is not None
        self._tip = self.position = pieces[-1].seq
        self.lagging = self.position < position
        if self._previewed is not None:
            for piece in pieces:
                self._previewed.end(piece)
        data = self._join(pieces)
        self._page = max(_PAGE[0], min(_PAGE[2], MOST_BYTES * len(pieces) // len(data)))
        return data

    def _frames(self, db: Connection, after: int, limit: int) -> list[Frame]:
        return frames_after(db, self.tail.session_id, after, limit)

    def _join(self, pieces: list[Piece]) -> bytes:
        for number, piece in enumerate(pieces, start=1):
            if piece.type == SESSION_DELETED:
                self.close()
                pieces = pieces[:number]
                break
        return b"".join(piece.data for piece in pieces)

    async def _wait(self, timeout: float) -> bool:
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        timer = loop.call_later(timeout, self._resume, False)
        try:
            return await self._waiter
        finally:
            timer.cancel()
            self._waiter = None

    def _resume(self, woken: bool) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(woken)

    def wake(self) -> None:
        """Have `next` look again."""
        self._resume(True)

    def close(self) -> None:
        """End the stream: `next` returns None from now on. Repeatable."""
        if not self._closed:
            self._closed = True
            self._buffer.clear()
            self._left(self)
            self.wake()

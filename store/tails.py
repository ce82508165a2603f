"""Tails: one reader of the log per watched session and process, which hands each new frame to all its viewers."""

import asyncio
from functools import partial
from typing import Final, NamedTuple

import sqlalchemy as sa
import structlog
from sqlalchemy.engine import Connection

from protocol.errors import InvalidRequestError, NotFoundError, OverloadedError
from protocol.frames import SESSION_DELETED, Frame, encode_preview
from protocol.ids import derived_id
from store.clock import now_us
from store.engine import Store
from store.event_pages import frames_after
from store.live_bus import STORE_ERRORS, LiveBus
from store.live_watch import Hint, Preview
from store.pieces import Piece, piece_of
from store.tables import sessions
from store.viewers import Viewer

_log = structlog.get_logger()

_PAGE: Final = 256


class Tail:
    """The newest end of one session's log, read once for all who view it."""

    __slots__ = ("_task", "_watch", "deleted", "position", "session_id", "store", "users", "viewers")

    def __init__(self, store: Store, bus: LiveBus, session_id: str) -> None:
        self.store = store
        self.session_id = session_id
        self.users = 0
        """Viewers, and those about to be."""
        self.viewers: set[Viewer] = set()
        self.position: int | None = None
        """The last place that was handed out; None until it is known where to begin."""
        self.deleted: Piece | None = None
        """What ends every stream of a deleted session, where the log does not say it itself."""
        self._task: asyncio.Task[None] | None = None
        self._watch = bus.watch(session_id, self._wake)

    def begin(self, position: int) -> None:
        """Hand out what follows `position`, or go on where it has begun already."""
        if self.position is None:
            self.position = self._watch.seq = position
        if self._watch.pending:
            self._wake()

    def viewers_changed(self) -> None:
        """Take previews only while someone wants them."""
        self._watch.previews = any(viewer.wants_previews for viewer in self.viewers)

    def close(self) -> asyncio.Task[None] | None:
        """Follow no longer; return the read that is still under way, if any."""
        self._watch.close()
        return self._task

    def _wake(self) -> None:
        if self.position is not None and self._task is None:
            self._task = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        try:
            while self.viewers and (hints := self._watch.take()):
                await self._take(hints)
        except STORE_ERRORS as error:
            # The safety poll tells again, once the database answers it.
            _log.warning("tail_read_failed", session_id=self.session_id, error=type(error).__name__)
            self._watch.forget()
        finally:
            self._task = None

    async def _take(self, hints: list[Hint]) -> None:
        for hint in hints:
            if isinstance(hint, int):
                await self._advance(hint)
            else:
                self._show(hint)

    async def _advance(self, hint: int) -> None:
        assert self.position is not None
        # No further than the hint: previews may be on their way that belong before what follows.
        if hint > self.position and await self._read(hint):
            return
        # Nothing new in the log: something else of the session changed.
        state = await self.store.read(partial(_state, session_id=self.session_id))
        if state.deleted_at is not None:
            self._end(state.deleted_at)
        elif state.last_seq > self.position:
            await self._read(None)

    async def _read(self, upto: int | None) -> bool:
        assert self.position is not None
        found = False
        full = True
        while full:
            frames = await self.store.read(partial(self._frames, after=self.position))
            full = len(frames) == _PAGE
            if upto is not None:
                full = full and frames[-1].seq is not None and frames[-1].seq < upto
                frames = [frame for frame in frames if frame.seq is not None and frame.seq <= upto]
            for frame in frames:
                assert frame.seq is not None
                self.position = frame.seq
                self._hand(piece_of(frame))
            found = found or bool(frames)
        self._watch.seq = self.position
        return found

    def _frames(self, db: Connection, after: int) -> list[Frame]:
        return frames_after(db, self.session_id, after, _PAGE)

    def _hand(self, piece: Piece) -> None:
        for viewer in self.viewers:
            viewer.offer(piece)

    def _show(self, previews: list[Preview]) -> None:
        for preview in previews:
            data = encode_preview(preview.event)
            for viewer in self.viewers:
                viewer.offer_preview(preview, data)

    def _end(self, deleted_at: int) -> None:
        event_id = derived_id("sevt", self.session_id, SESSION_DELETED)
        self.deleted = piece_of(Frame(None, event_id, SESSION_DELETED, {}, deleted_at))
        for viewer in self.viewers:
            viewer.wake()


class _State(NamedTuple):
    workspace_id: str | None
    last_seq: int
    deleted_at: int | None


class Tails:
    """All tails of a process."""

    def __init__(self, store: Store, bus: LiveBus, max_viewers: int) -> None:
        self._store = store
        self._bus = bus
        self._max_viewers = max_viewers
        self._tails: dict[str, Tail] = {}
        self._closing = False
        self.count = 0
        """Viewers, and those about to be."""

    async def open(
        self, session_id: str, workspace_id: str, *, after: int | None = None, deltas: frozenset[str] = frozenset()
    ) -> Viewer:
        """Return a viewer of what follows the place `after`, by default of what follows from now on. Close it.

        `deltas` are the types whose events are shown while they are made.

        Raises:
            OverloadedError: this process has as many viewers as it may, or is about to end.
            NotFoundError: no such session in the workspace.
            InvalidRequestError: the log has not reached `after`.
        """
        if self._closing or self.count >= self._max_viewers:
            raise OverloadedError("this server has as many streams open as it may; try again")
        tail = self._tails.get(session_id)
        if tail is None:
            tail = self._tails[session_id] = Tail(self._store, self._bus, session_id)
        tail.users += 1
        self.count += 1
        viewer = None
        try:
            last_seq = await self._store.read(partial(_last_seq, session_id=session_id, workspace_id=workspace_id))
            if after is not None and after > last_seq:
                raise InvalidRequestError(f"the session's log ends at {last_seq}, before {after}")
            tail.begin(last_seq)
            viewer = Viewer(tail, last_seq if after is None else after, deltas, self._left)
        finally:
            if viewer is None:
                self._release(tail)
        tail.viewers.add(viewer)
        tail.viewers_changed()
        tail.begin(last_seq)
        if self._closing:
            viewer.close()
        return viewer

    def _left(self, viewer: Viewer) -> None:
        tail = viewer.tail
        tail.viewers.discard(viewer)
        tail.viewers_changed()
        self._release(tail)

    def _release(self, tail: Tail) -> None:
        self.count -= 1
        tail.users -= 1
        if tail.users == 0:
            tail.close()
            del self._tails[tail.session_id]

    async def close(self) -> None:
        """End every stream at once, and open no other."""
        self._closing = True
        tails = list(self._tails.values())
        for tail in tails:
            for viewer in list(tail.viewers):
                viewer.close()
        tasks = [task for tail in tails if (task := tail.close()) is not None]
        await asyncio.gather(*tasks, return_exceptions=True)


def _last_seq(db: Connection, session_id: str, workspace_id: str) -> int:
    state = _state(db, session_id)
    if state.workspace_id != workspace_id or state.deleted_at is not None:
        raise NotFoundError(f"no session {session_id!r}")
    return state.last_seq


def _state(db: Connection, session_id: str) -> _State:
    row = db.execute(_SESSION, {"session": session_id}).one_or_none()
    if row is None:
        # Erased altogether: deleted by now.
        return _State(None, 0, db.execute(sa.select(now_us())).scalar_one())
    return _State(*row)


_SESSION = sa.select(sessions.c.workspace_id, sessions.c.last_seq, sessions.c.deleted_at).where(
    sessions.c.id == sa.bindparam("session")
)

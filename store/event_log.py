"""The log's one writer. Whoever writes for a session locks its row first; `seq` follows from that lock.

A transaction is: `lock`, any number of `append_frames` and `set`, then `save` once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from protocol.ids import new_id
from store.clock import now_us
from store.tables import events, sessions

Json = dict[str, Any]


class StaleFenceError(Exception):
    """Another claim has taken the session over; this writer must stop."""


class SessionGoneError(Exception):
    """There is no such session."""


@dataclass(frozen=True, slots=True)
class NewFrame:
    """A frame to append. With a `native_key` it is stored once for the session, key and ordinal."""

    type: str
    payload: Json
    event_id: str = field(default_factory=lambda: new_id("sevt"))
    queued: bool = False
    turn_id: str | None = None
    native_key: str | None = None
    ordinal: int = 0


class LockedSession:
    """A session's row under its lock, and the changes that `save` will write."""

    def __init__(self, row: Json) -> None:
        self.row = row
        self.now: int = row["now"]
        self._changes: Json = {}

    @property
    def id(self) -> str:
        """The session's id."""
        return str(self.row["id"])

    def __getitem__(self, column: str) -> Any:
        return self.row[column]

    def set(self, **changes: Any) -> None:
        """Change columns; seen at once by this transaction, written by `save`."""
        self.row.update(changes)
        self._changes.update(changes)

    def save(self, db: Connection) -> None:
        """Write the changes."""
        if self._changes:
            db.execute(_SAVE.values(**self._changes), {"session": self.id})
            self._changes = {}


_SAVE = sa.update(sessions).where(sessions.c.id == sa.bindparam("session"))
_LOCK = sa.update(sessions).where(sessions.c.id == sa.bindparam("session"))
_RETURNED = (*sessions.c, now_us().label("now"))
_LOCK_PLAIN = _LOCK.values(last_seq=sessions.c.last_seq).returning(*_RETURNED)
_LOCK_FENCED = _LOCK_PLAIN.where(sessions.c.fence == sa.bindparam("expected"))
_LOCK_RAISE = _LOCK.values(fence=sessions.c.fence + 1).returning(*_RETURNED)


def lock(db: Connection, session_id: str, *, fence: int | None = None) -> LockedSession:
    """Lock the session's row; with `fence`, only while that is the current one.

    Raises:
        StaleFenceError: the fence is not current, or the session is gone.
        SessionGoneError: there is no such session.
    """
    if fence is None:
        row = db.execute(_LOCK_PLAIN, {"session": session_id}).mappings().one_or_none()
        if row is None:
            raise SessionGoneError(session_id)
    else:
        row = db.execute(_LOCK_FENCED, {"session": session_id, "expected": fence}).mappings().one_or_none()
        if row is None:
            raise StaleFenceError(session_id)
    return LockedSession(dict(row))


def lock_and_fence(db: Connection, session_id: str) -> LockedSession:
    """Lock the session's row under a new fence: every earlier claim may no longer write.

    Raises:
        SessionGoneError: there is no such session.
    """
    row = db.execute(_LOCK_RAISE, {"session": session_id}).mappings().one_or_none()
    if row is None:
        raise SessionGoneError(session_id)
    return LockedSession(dict(row))


def append_frames(db: Connection, locked: LockedSession, frames: Sequence[NewFrame]) -> list[NewFrame]:
    """Append frames in order, leaving out natives already stored; return those that were appended."""
    fresh = _without_known(db, locked, frames)
    if not fresh:
        return fresh
    seq, at = locked["last_seq"], locked["last_event_at"]
    rows = []
    for frame in fresh:
        seq += 1
        if not frame.queued:
            at = max(locked.now, at + 1)
        rows.append(_row(locked.id, frame, seq, at))
    db.execute(sa.insert(events), rows)
    locked.set(last_seq=seq, last_event_at=at)
    return fresh


def append_own(db: Connection, locked: LockedSession, own: Sequence[tuple[str, Json]]) -> None:
    """Append events of our own making, given as type and payload."""
    append_frames(db, locked, [NewFrame(type_, payload) for type_, payload in own])


def _row(session_id: str, frame: NewFrame, seq: int, at: int) -> Json:
    return {
        "session_id": session_id,
        "seq": seq,
        "event_id": frame.event_id,
        "type": frame.type,
        "payload": frame.payload,
        "processed_at": None if frame.queued else at,
        "waiting": frame.queued,
        "turn_id": frame.turn_id,
        "native_key": frame.native_key,
        "ordinal": frame.ordinal,
    }


def _without_known(db: Connection, locked: LockedSession, frames: Sequence[NewFrame]) -> list[NewFrame]:
    keys = {frame.native_key for frame in frames if frame.native_key is not None}
    if not keys:
        return list(frames)
    found = db.execute(
        sa.select(events.c.native_key, events.c.ordinal).where(
            events.c.session_id == locked.id, events.c.native_key.in_(keys)
        )
    )
    known: set[tuple[str | None, int]] = {(row.native_key, row.ordinal) for row in found}
    fresh = []
    for frame in frames:
        if frame.native_key is not None:
            if (frame.native_key, frame.ordinal) in known:
                continue
            known.add((frame.native_key, frame.ordinal))
        fresh.append(frame)
    return fresh

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
from store.usage import Cost

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
    cost: Cost | None = None
    """Of the model request that it ends; not part of the log."""


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
        if not self._changes:
            return
        if self._changes.keys() <= _ENGINE_COLUMNS.keys():
            # One statement for every transaction of the engine, so that it is built and prepared once.
            values = {f"new_{name}": self.row[name] for name in _ENGINE_COLUMNS}
            db.execute(_SAVE_ENGINE, {"session": self.id, **values})
        else:
            db.execute(_SAVE.values(**self._changes), {"session": self.id})
        self._changes = {}


class NewSession(LockedSession):
    """A session that is being made: nobody else sees it before the commit, and the first `save` inserts it."""

    def __init__(self, row: Json) -> None:
        super().__init__({**_EMPTY, **row})
        self._inserted = False

    def save(self, db: Connection) -> None:
        """Insert the row; from then on, write the changes."""
        if self._inserted:
            super().save(db)
            return
        db.execute(_INSERT_SESSION, [{name: self.row[name] for name in _EMPTY}])
        self._inserted = True
        self._changes = {}


_EMPTY: Json = dict.fromkeys(sessions.c.keys())
_INSERT_SESSION = sa.insert(sessions)
_LARGE = ("agent", "agent_options", "metadata", "vault_ids", "title", "environment_id", "deployment_id")
"""Columns that the engine's transactions need not read back each time."""
_ENGINE_COLUMNS = {
    column.name: sa.bindparam(f"new_{column.name}", type_=column.type)
    for column in (
        sessions.c.status,
        sessions.c.last_seq,
        sessions.c.last_event_at,
        sessions.c.fence,
        sessions.c.open_turn_id,
        sessions.c.turn_count,
        sessions.c.native,
        sessions.c.opening_at,
        sessions.c.held,
        sessions.c.not_before,
        sessions.c.usage,
        sessions.c.active_us,
        sessions.c.running_since,
        sessions.c.moved_at,
        sessions.c.updated_at,
        sessions.c.archived_at,
        sessions.c.stopping_at,
        sessions.c.ended_at,
        sessions.c.end,
        sessions.c.deleted_at,
    )
}
_THIS = sessions.c.id == sa.bindparam("session")
_SAVE = sa.update(sessions).where(_THIS)
_SAVE_ENGINE = _SAVE.values(_ENGINE_COLUMNS)
_NOW = now_us().label("now")
_WHOLE = (*sessions.c, _NOW)
_SLIM = (*(column for column in sessions.c if column.name not in _LARGE), _NOW)
_TOUCH = sa.update(sessions).where(_THIS).values(last_seq=sessions.c.last_seq)
_CURRENT = sessions.c.fence == sa.bindparam("expected")
_LOCK_WHOLE = _TOUCH.returning(*_WHOLE)
_LOCK_SLIM = _TOUCH.returning(*_SLIM)
_LOCK_FENCED = _TOUCH.where(_CURRENT).returning(*_SLIM)
_LOCK_RAISE = sa.update(sessions).where(_THIS).values(fence=sessions.c.fence + 1).returning(*_WHOLE)


def lock(db: Connection, session_id: str, *, fence: int | None = None, whole: bool = False) -> LockedSession:
    """Lock the session's row; with `fence`, only while that is the current one. `whole` reads its large columns, too.

    Raises:
        StaleFenceError: the fence is not current, or the session is gone.
        SessionGoneError: there is no such session.
    """
    if fence is None:
        statement = _LOCK_WHOLE if whole else _LOCK_SLIM
        row = db.execute(statement, {"session": session_id}).mappings().one_or_none()
        if row is None:
            raise SessionGoneError(session_id)
    else:
        row = db.execute(_LOCK_FENCED, {"session": session_id, "expected": fence}).mappings().one_or_none()
        if row is None:
            raise StaleFenceError(session_id)
    return LockedSession(dict(row))


def lock_and_fence(db: Connection, session_id: str) -> LockedSession:
    """Lock the session's whole row under a new fence: every earlier claim may no longer write.

    Raises:
        SessionGoneError: there is no such session.
    """
    row = db.execute(_LOCK_RAISE, {"session": session_id}).mappings().one_or_none()
    if row is None:
        raise SessionGoneError(session_id)
    return LockedSession(dict(row))


_INSERT = sa.insert(events)
_KNOWN = sa.select(events.c.native_key, events.c.ordinal).where(
    events.c.session_id == sa.bindparam("session"), events.c.native_key.in_(sa.bindparam("keys", expanding=True))
)


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
    db.execute(_INSERT, rows)
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
    found = db.execute(_KNOWN, {"session": locked.id, "keys": list(keys)})
    known: set[tuple[str | None, int]] = {(row.native_key, row.ordinal) for row in found}
    fresh = []
    for frame in frames:
        if frame.native_key is not None:
            if (frame.native_key, frame.ordinal) in known:
                continue
            known.add((frame.native_key, frame.ordinal))
        fresh.append(frame)
    return fresh

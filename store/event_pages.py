"""Reading the log: onwards from a place in it, and as the API's list of events.

Every statement is a bounded walk along one index, so that it takes as long in a log of 100,000 events as in one of 100.
"""

import base64
import binascii
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import sqlalchemy as sa
from pydantic_core import from_json, to_json
from sqlalchemy.engine import Connection

from protocol.errors import InvalidRequestError
from protocol.frames import Frame
from store.tables import events

MAX_LIMIT: Final = 1000
_LAST: Final = 2**63 - 1
_MAX_CURSOR: Final = 1024
_COLUMNS = (events.c.seq, events.c.event_id, events.c.type, events.c.payload, events.c.processed_at)
_PROCESSED = events.c.processed_at.is_not(None)
# As text, because a partial index is used only where its condition stands in the query word by word.
_WAITING = sa.and_(events.c.processed_at.is_(None), sa.text("events.waiting"))

Order = Literal["asc", "desc"]
Condition = sa.ColumnElement[bool]


@dataclass(frozen=True, slots=True)
class CreatedAt:
    """Bounds on `processed_at`, in microseconds since 1970."""

    gt: int | None = None
    gte: int | None = None
    lt: int | None = None
    lte: int | None = None

    def __bool__(self) -> bool:
        return (self.gt, self.gte, self.lt, self.lte) != (None, None, None, None)


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a session's events, and the cursor of the next one, or None at the end."""

    frames: list[Frame]
    next_page: str | None


@dataclass(frozen=True, slots=True)
class _Query:
    session_id: str
    order: Order
    types: tuple[str, ...]
    created_at: CreatedAt

    def binding(self) -> str:
        bounds = (self.created_at.gt, self.created_at.gte, self.created_at.lt, self.created_at.lte)
        return hashlib.sha256(to_json([self.session_id, self.order, self.types, bounds])).hexdigest()[:12]

    def beyond(self, position: int) -> Condition:
        return events.c.seq > position if self.order == "asc" else events.c.seq < position

    def by_seq(self) -> sa.UnaryExpression[int]:
        return events.c.seq.asc() if self.order == "asc" else events.c.seq.desc()


def frames_after(db: Connection, session_id: str, after_seq: int, limit: int) -> list[Frame]:
    """Return up to `limit` frames of the log that follow the place `after_seq`, in order."""
    rows = db.execute(_AFTER, {"session": session_id, "after": after_seq, "most": limit})
    return [Frame(*row) for row in rows]


_AFTER = (
    sa.select(*_COLUMNS)
    .where(events.c.session_id == sa.bindparam("session"), events.c.seq > sa.bindparam("after"))
    .order_by(events.c.seq)
    .limit(sa.bindparam("most"))
)


def list_events(
    db: Connection,
    session_id: str,
    *,
    order: Order = "asc",
    limit: int = MAX_LIMIT,
    cursor: str | None = None,
    types: Sequence[str] = (),
    created_at: CreatedAt = CreatedAt(),
) -> Page:
    """Return a page in which each event stands once.

    Ascending: processed events by their place in the log, then queued ones by theirs; descending: the other way round.
    A later ascending page begins with what was processed since the one before, also if that showed it queued. What is
    queued was not created yet, as far as `created_at` goes.

    Raises:
        InvalidRequestError: the cursor is none, or one of another list.
    """
    query = _Query(session_id, order, tuple(sorted(set(types))), created_at)
    start = 0 if order == "asc" else _LAST
    processed_at, queued_at = _decode(cursor, query) if cursor else (start, start)
    wanted = min(limit, MAX_LIMIT) + 1
    parts = [_processed, _queued] if order == "asc" else [_queued, _processed]
    frames: list[Frame] = []
    for part in parts:
        if len(frames) < wanted:
            position = processed_at if part is _processed else queued_at
            frames += part(db, query, position, wanted - len(frames))
    shown = frames[: wanted - 1]
    for frame in shown:
        assert frame.seq is not None
        if frame.processed_at is None:
            queued_at = frame.seq
        else:
            processed_at = frame.seq
            # Downwards, the queue is done with once the processed part has begun: what enters it later is newer.
            queued_at = queued_at if order == "asc" else 0
    more = len(frames) == wanted
    return Page(shown, _encode(query, processed_at, queued_at) if more else None)


def _processed(db: Connection, query: _Query, position: int, wanted: int) -> list[Frame]:
    span = _span(db, query, position)
    if span is None:
        return []
    within = events.c.seq.between(*span)
    if not query.types:
        statement = _select(query, [_PROCESSED, within], wanted)
        return [Frame(*row) for row in db.execute(statement)]
    seqs = _seqs_of_types(db, query, within, wanted)
    if not seqs:
        return []
    statement = _select(query, [events.c.seq.in_(seqs)], wanted)
    return [Frame(*row) for row in db.execute(statement)]


def _queued(db: Connection, query: _Query, position: int, wanted: int) -> list[Frame]:
    if query.created_at:
        return []
    conditions = [_WAITING, query.beyond(position)]
    if query.types:
        conditions.append(events.c.type.in_(query.types))
    return [Frame(*row) for row in db.execute(_select(query, conditions, wanted))]


def _select(query: _Query, conditions: Sequence[Condition], wanted: int) -> sa.Select[Any]:
    mine = events.c.session_id == query.session_id
    return sa.select(*_COLUMNS).where(mine, *conditions).order_by(query.by_seq()).limit(wanted)


def _seqs_of_types(db: Connection, query: _Query, within: Condition, wanted: int) -> list[int]:
    """Return the places of the next events of these types: the first of each type, merged."""
    # Not told so, SQLite walks the log itself, however rare the type is.
    rare = sa.func.unlikely if db.dialect.name == "sqlite" else sa.and_
    per_type = [
        sa.select(
            sa.select(events.c.seq)
            .where(events.c.session_id == query.session_id, rare(events.c.type == type_), _PROCESSED, within)
            .order_by(query.by_seq())
            .limit(wanted)
            .subquery()
        )
        for type_ in query.types
    ]
    merged = sa.union_all(*per_type).subquery()
    by_seq = merged.c.seq.asc() if query.order == "asc" else merged.c.seq.desc()
    return list(db.execute(sa.select(merged.c.seq).order_by(by_seq).limit(wanted)).scalars())


def _span(db: Connection, query: _Query, position: int) -> tuple[int, int] | None:
    """Return the places from the first to the last that may follow `position` in a list, or None if there are none.

    Bounds of time become bounds of place, which is allowed because `processed_at` rises with the place. One bound on
    either side, because an index is walked from the first that is named.
    """
    at, bounds = events.c.processed_at, query.created_at
    first, last = (position + 1, _LAST) if query.order == "asc" else (0, position - 1)
    after = [at > bounds.gt] if bounds.gt is not None else []
    after += [at >= bounds.gte] if bounds.gte is not None else []
    before = [at < bounds.lt] if bounds.lt is not None else []
    before += [at <= bounds.lte] if bounds.lte is not None else []
    if after:
        found = _seq_by_time(db, query, after, at.asc())
        first = _LAST if found is None else max(first, found)
    if before:
        found = _seq_by_time(db, query, before, at.desc())
        last = 0 if found is None else min(last, found)
    return None if first > last else (first, last)


def _seq_by_time(
    db: Connection, query: _Query, conditions: Sequence[Condition], by_time: sa.UnaryExpression[int | None]
) -> int | None:
    statement = sa.select(events.c.seq).where(events.c.session_id == query.session_id, *conditions)
    return db.execute(statement.order_by(by_time).limit(1)).scalar_one_or_none()


def _encode(query: _Query, processed_at: int, queued_at: int) -> str:
    return base64.urlsafe_b64encode(to_json([query.binding(), processed_at, queued_at])).decode().rstrip("=")


def _decode(cursor: str, query: _Query) -> tuple[int, int]:
    refused = InvalidRequestError(
        "`page` is not a cursor of this list with these filters: send `next_page` of the page before, unchanged"
    )
    if len(cursor) > _MAX_CURSOR:
        raise refused
    try:
        parts = from_json(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError) as error:
        raise refused from error
    if not isinstance(parts, list) or len(parts) != 3 or parts[0] != query.binding():
        raise refused
    processed_at, queued_at = parts[1:]
    for position in (processed_at, queued_at):
        if type(position) is not int or not 0 <= position <= _LAST:
            raise refused
    return processed_at, queued_at

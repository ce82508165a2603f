"""A session's turns, for reading."""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy import Connection, RowMapping

from store.tables import events, turns

_TELLING = (
    "session.error",
    "session.status_running",
    "session.status_rescheduled",
    "session.status_idle",
    "session.status_terminated",
)


def list_turns(
    db: Connection, session_id: str, *, ascending: bool, limit: int, after: int | None
) -> Sequence[RowMapping]:
    """Return a session's turns by number, and one more than the limit if there are more."""
    statement = sa.select(turns).where(turns.c.session_id == session_id)
    if after is not None:
        statement = statement.where(turns.c.number > after if ascending else turns.c.number < after)
    ordered = statement.order_by(turns.c.number.asc() if ascending else turns.c.number.desc())
    return db.execute(ordered.limit(limit + 1)).mappings().all()


def told_of(db: Connection, session_id: str, shown: Sequence[RowMapping]) -> dict[str, list[RowMapping]]:
    """Return, by turn, the frames that told the user what became of it."""
    if not shown:
        return {}
    statement = sa.select(
        events.c.turn_id, events.c.event_id, events.c.type, events.c.payload, events.c.processed_at
    ).where(
        events.c.session_id == session_id,
        events.c.type.in_(_TELLING),
        # Bounds the walk to the time of these turns.
        events.c.processed_at >= min(turn["created_at"] for turn in shown),
        events.c.turn_id.in_([turn["id"] for turn in shown]),
    )
    told: dict[str, list[RowMapping]] = {turn["id"]: [] for turn in shown}
    for frame in db.execute(statement.order_by(events.c.seq)).mappings():
        told[frame["turn_id"]].append(frame)
    return told

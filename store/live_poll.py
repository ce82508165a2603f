"""The safety poll: one look at all watched sessions, which finds whatever was not told."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.engine import Connection

from store.engine import Store, dump_json
from store.live_watch import Watch
from store.tables import sessions

_CHUNK: Final = 2000
_GONE: Final = (0, 0)

_STATES = sa.select(sessions.c.id, sessions.c.last_seq, sessions.c.deleted_at, sessions.c.stopping_at)
# The ids are one parameter, so that the statement is the same however many are watched.
_STATES_SQLITE = _STATES.where(sa.text("sessions.id IN (SELECT value FROM json_each(:ids))"))
_STATES_POSTGRES = _STATES.where(sessions.c.id == sa.any_(sa.bindparam("ids", type_=ARRAY(sa.String))))

State = tuple[int, tuple[int | None, int | None]]


async def poll_sessions(store: Store, watches: Mapping[str, set[Watch]]) -> None:
    """Tell each watch what it does not know yet: a later place of the log, a deletion, an erasure, a stop."""
    ids = list(watches)
    for start in range(0, len(ids), _CHUNK):
        chunk = ids[start : start + _CHUNK]
        states = await store.read(lambda db, chunk=chunk: _states(db, chunk))  # type: ignore[misc]
        for session_id in chunk:
            for watch in list(watches.get(session_id, ())):
                _tell(watch, states.get(session_id))


def _tell(watch: Watch, state: State | None) -> None:
    seq, flags = (max(watch.seq, 0), _GONE) if state is None else state
    if seq > watch.seq or flags != watch.flags:
        watch.flags = flags
        watch.push(seq)


def _states(db: Connection, ids: Sequence[str]) -> dict[str, State]:
    if db.dialect.name == "sqlite":
        rows: Any = db.execute(_STATES_SQLITE, {"ids": dump_json(ids)})
    else:
        rows = db.execute(_STATES_POSTGRES, {"ids": list(ids)})
    return {row.id: (row.last_seq, (row.deleted_at, row.stopping_at)) for row in rows}

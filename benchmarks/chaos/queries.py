"""What a run reads from the database itself, past the API."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from store.tables import asks, events, inputs, intents, sessions, turns

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class OpenAsk:
    """A tool use that waits for the client's answer."""

    event_id: str
    session_id: str
    type: str
    token: str


def open_asks(db: Connection) -> dict[str, list[OpenAsk]]:
    """Return, by session, what waits for an answer in sessions whose turn has ended."""
    rows = db.execute(
        sa.select(asks.c.event_id, asks.c.session_id, asks.c.type, events.c.payload)
        .join(sessions, sessions.c.id == asks.c.session_id)
        .join(events, sa.and_(events.c.session_id == asks.c.session_id, events.c.event_id == asks.c.event_id))
        .where(asks.c.state == "open", sessions.c.open_turn_id.is_(None))
        .order_by(asks.c.session_id, asks.c.position)
    )
    found: dict[str, list[OpenAsk]] = defaultdict(list)
    for row in rows:
        ask = OpenAsk(row.event_id, row.session_id, row.type, row.payload["input"]["token"])
        found[row.session_id].append(ask)
    return found


def turns_in_sending(db: Connection) -> list[str]:
    """Return the turns with a send that is decided and whose outcome is not recorded."""
    return list(
        db.execute(
            sa.select(turns.c.id).where(
                turns.c.phase == "sending", turns.c.attempts > 0, turns.c.send_outcome.is_(None)
            )
        ).scalars()
    )


def sessions_in_turns(db: Connection) -> list[str]:
    """Return the sessions whose turn is open, in the order of their ids."""
    return list(
        db.execute(sa.select(turns.c.session_id).where(turns.c.phase != "done").order_by(turns.c.session_id)).scalars()
    )


def unfinished(db: Connection) -> dict[str, tuple[Any, ...]]:
    """Return the sessions that are not at rest, each with what changes when it moves.

    At rest is: no open turn, nothing queued, no intent, nothing asked; whether the engine sees it as owed or not.
    """
    open_turn = sessions.c.open_turn_id.is_not(None)
    queued = sa.exists().where(inputs.c.session_id == sessions.c.id, inputs.c.state == "queued")
    intent = sa.exists().where(intents.c.session_id == sessions.c.id, intents.c.handled_at.is_(None))
    asked = sa.exists().where(asks.c.session_id == sessions.c.id, asks.c.state != "closed")
    rows = db.execute(
        sa.select(sessions.c.id, sessions.c.last_seq, sessions.c.turn_count, turns.c.phase, turns.c.cursor)
        .outerjoin(turns, turns.c.id == sessions.c.open_turn_id)
        .where(sa.or_(open_turn, queued, intent, asked))
    )
    return {row.id: tuple(row[1:]) for row in rows}


@dataclass(frozen=True, slots=True)
class Log:
    """Everything the database holds of the run's sessions."""

    sessions: dict[str, Json]
    frames: dict[str, list[Json]]
    """By session, in the order of `seq`."""
    inputs: dict[str, Json]
    """By the event's id, as is `asks`."""
    turns: dict[str, Json]
    asks: dict[str, Json]


def read_log(db: Connection) -> Log:
    """Read it, at one moment."""
    frames: dict[str, list[Json]] = defaultdict(list)
    for row in _rows(db, sa.select(events).order_by(events.c.session_id, events.c.seq)):
        frames[row["session_id"]].append(row)
    return Log(
        sessions={row["id"]: row for row in _rows(db, sa.select(sessions))},
        frames=frames,
        inputs={row["event_id"]: row for row in _rows(db, sa.select(inputs))},
        turns={row["id"]: row for row in _rows(db, sa.select(turns))},
        asks={row["event_id"]: row for row in _rows(db, sa.select(asks))},
    )


def _rows(db: Connection, statement: Any) -> Sequence[Json]:
    return [dict(row) for row in db.execute(statement).mappings()]

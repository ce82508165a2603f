"""Intents of the calls that make things in a runtime: agents and sessions.

Each is recorded before its call. A call without an outcome is repeated, and what it may have left behind is recorded.
"""

from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from protocol.ids import new_id
from store import event_log
from store.claims import ClaimedTurn
from store.clock import now_us
from store.tables import native_agents, orphans

Json = dict[str, Any]


def begin_open_session(db: Connection, turn: ClaimedTurn) -> None:
    """Record that a native session is about to be opened; an opening without outcome may have left an orphan."""
    locked = event_log.lock(db, turn.session_id, fence=turn.fence)
    if locked["opening_at"] is not None:
        _record_orphan(db, locked["runtime_id"], "session", locked.now, locked.id)
    locked.set(opening_at=locked.now)
    locked.save(db)


def record_open_session(db: Connection, turn: ClaimedTurn, native: Json) -> None:
    """Record the native session that was opened."""
    locked = event_log.lock(db, turn.session_id, fence=turn.fence)
    locked.set(native=native, opening_at=None)
    locked.save(db)
    turn.session["native"] = native


def begin_native_agent(
    db: Connection, turn_id: str, runtime_id: str, agent_id: str, fingerprint: str, patience_s: float
) -> Json | Literal["mine", "wait"]:
    """Return the agent made in the runtime, or `mine`: the caller makes it now, or `wait`: another turn is at it.

    The call is repeated when an earlier holder of this turn was at it, or another turn for longer than `patience_s`.
    """
    where = (
        native_agents.c.runtime_id == runtime_id,
        native_agents.c.agent_id == agent_id,
        native_agents.c.fingerprint == fingerprint,
    )
    insert = sqlite.insert if db.dialect.name == "sqlite" else postgresql.insert
    key = {"runtime_id": runtime_id, "agent_id": agent_id, "fingerprint": fingerprint}
    made = db.execute(
        insert(native_agents)
        .values(**key, turn_id=turn_id, native=sa.null(), created_at=now_us())
        .on_conflict_do_nothing()
        .returning(native_agents.c.agent_id)
    ).one_or_none()
    if made is not None:
        return "mine"
    row = db.execute(sa.select(native_agents.c.native, native_agents.c.created_at).where(*where)).one()
    if row.native is not None:
        return dict(row.native)
    taken = db.execute(
        sa.update(native_agents)
        .where(*where, native_agents.c.created_at == row.created_at)
        .where(sa.or_(native_agents.c.turn_id == turn_id, row.created_at < now_us() - int(patience_s * 1e6)))
        .values(created_at=now_us(), turn_id=turn_id)
        .returning(native_agents.c.created_at)
    ).one_or_none()
    if taken is None:
        return "wait"
    _record_orphan(db, runtime_id, "agent", int(taken.created_at), None)
    return "mine"


def record_native_agent(db: Connection, runtime_id: str, agent_id: str, fingerprint: str, native: Json) -> None:
    """Record the agent that was made in the runtime."""
    db.execute(
        sa.update(native_agents)
        .where(
            native_agents.c.runtime_id == runtime_id,
            native_agents.c.agent_id == agent_id,
            native_agents.c.fingerprint == fingerprint,
        )
        .values(native=native)
    )


def abandon_native_agent(db: Connection, runtime_id: str, agent_id: str, fingerprint: str) -> None:
    """Take the intent back after a definite refusal, so that the next session tries at once."""
    db.execute(
        sa.delete(native_agents).where(
            native_agents.c.runtime_id == runtime_id,
            native_agents.c.agent_id == agent_id,
            native_agents.c.fingerprint == fingerprint,
            native_agents.c.native.is_(None),
        )
    )


def _record_orphan(db: Connection, runtime_id: str, what: str, now: int, session_id: str | None) -> None:
    db.execute(
        sa.insert(orphans).values(
            id=new_id("orph"), runtime_id=runtime_id, session_id=session_id, what=what, created_at=now
        )
    )

"""When a session of a self-hosted environment needs a worker, and when it needs none any more.

All of it happens under the session's lock, in the transaction of the event that is the reason: a tool use that waits
for a client is never without work that somebody can poll.
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from protocol.ids import new_id
from store.event_log import LockedSession
from store.tables import ASKED, asks, environment_work, sessions

DEFAULT_TTL_S = 90
AGAIN_US = 5_000_000
"""How long work that was stopped before its session was served waits for the next worker: one that cannot serve it
would stop it again at once."""

WAITS_FOR_A_WORKER = sa.or_(asks.c.client_tool == "run", asks.c.type == "agent.custom_tool_use")
"""An ask that a worker may answer. It runs custom tools, too, if it has one of that name."""

_OPEN = environment_work.c.state != sa.literal_column("'stopped'")
_OF_SESSION = environment_work.c.session_id == sa.bindparam("session")
_HAS_WORK = sa.select(sa.exists().where(_OF_SESSION, _OPEN))
_WAITS = sa.select(
    sa.exists().where(asks.c.session_id == sa.bindparam("session"), ASKED, asks.c.state == "open", WAITS_FOR_A_WORKER)
)
_ENVIRONMENT = sa.select(sessions.c.environment_id).where(sessions.c.id == sa.bindparam("session"))


def queue(db: Connection, locked: LockedSession, *, delay_us: int = 0) -> None:
    """Have a worker take the session, if its environment is self-hosted, a tool use waits and no worker has it yet."""
    if not locked["self_hosted"] or locked["ended_at"] is not None:
        return
    this = {"session": locked.id}
    if not db.execute(_WAITS, this).scalar_one() or db.execute(_HAS_WORK, this).scalar_one():
        return
    row: dict[str, Any] = {
        "id": new_id("work"),
        "workspace_id": locked["workspace_id"],
        "environment_id": db.execute(_ENVIRONMENT, this).scalar_one(),
        "session_id": locked.id,
        "state": "queued",
        "metadata": {},
        "created_at": locked.now,
        "available_at": locked.now + delay_us,
        "ttl_s": DEFAULT_TTL_S,
    }
    db.execute(sa.insert(environment_work), [row])


def end(db: Connection, locked: LockedSession) -> None:
    """Stop the work of a session that has ended: at once if nobody has it, else its worker is told by its heartbeat."""
    if not locked["self_hosted"]:
        return
    waiting = environment_work.c.state == "queued"
    now = sa.literal(locked.now, sa.BigInteger())
    db.execute(
        sa.update(environment_work)
        .where(_OF_SESSION, _OPEN)
        .values(
            state=sa.case((waiting, "stopped"), else_="stopping"),
            stopped_at=sa.case((waiting, now), else_=None),
            stop_requested_at=sa.func.coalesce(environment_work.c.stop_requested_at, now),
        ),
        {"session": locked.id},
    )

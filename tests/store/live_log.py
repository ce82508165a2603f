"""Sessions with a log, made without the engine around them."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from protocol.ids import new_id
from store import event_log
from store.clock import now_us
from store.engine import Store
from store.event_log import NewFrame
from store.live import LiveBus
from store.tables import runtimes, sessions, workspaces

WORKSPACE = "wrkspc_log"


def insert_session(db: Connection) -> str:
    """Insert a session, and before the first the workspace and the runtime it needs."""
    at = now_us()
    if db.execute(sa.select(workspaces.c.id).where(workspaces.c.id == WORKSPACE)).first() is None:
        db.execute(sa.insert(workspaces).values(id=WORKSPACE, name="log", created_at=at))
        db.execute(
            sa.insert(runtimes).values(
                id="rt_log", workspace_id=WORKSPACE, alias="log", kind="scripted", base_url="http://127.0.0.1:1",
                options={}, revision=1, created_at=at, updated_at=at,
            )
        )  # fmt: skip
    session_id = new_id("session")
    db.execute(
        sa.insert(sessions).values(
            id=session_id, workspace_id=WORKSPACE, agent_id="agent_log", agent_version=1, agent={}, agent_options={},
            runtime_id="rt_log", runtime_alias="log", kind="scripted", environment_id="env_log", metadata={},
            vault_ids=[], status="idle", last_seq=0, last_event_at=0, fence=0, turn_count=0, single_answers=False,
            usage={}, active_us=0, moved_at=at, created_at=at, updated_at=at,
        )
    )  # fmt: skip
    return session_id


def append(db: Connection, session_id: str, frames: Sequence[NewFrame]) -> int:
    """Append frames and return the log's last place."""
    locked = event_log.lock(db, session_id)
    event_log.append_frames(db, locked, frames)
    locked.save(db)
    return int(locked["last_seq"])


def process(db: Connection, session_id: str, event_id: str) -> int:
    """Append the processed frame of a queued event; return the log's last place."""
    from store.tables import events

    queued = db.execute(
        sa.update(events)
        .where(events.c.session_id == session_id, events.c.event_id == event_id, events.c.processed_at.is_(None))
        .values(waiting=False)
        .returning(events.c.type, events.c.payload)
    ).one()
    return append(db, session_id, [NewFrame(queued.type, queued.payload, event_id=event_id)])


def message(text: str, **more: Any) -> NewFrame:
    """Return an agent's message."""
    return NewFrame("agent.message", {"content": [{"type": "text", "text": text}]}, **more)


async def write(store: Store, bus: LiveBus | None, session_id: str, *frames: NewFrame) -> int:
    """Append frames and announce them, if there is a bus to do it on."""
    last_seq = await store.write(lambda db: append(db, session_id, frames))
    if bus is not None:
        bus.announce(session_id, last_seq)
    return last_seq

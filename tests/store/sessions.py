"""Rows for tests of the engine's transactions: a workspace with a runtime, and sessions on it."""

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from protocol.ids import new_id
from store.clock import now_us
from store.events import Accepted, Input, accept
from store.tables import runtimes, sessions, workspaces

WORKSPACE = "wrkspc_1"


def make_session(db: Connection, *, single_answers: bool = False, workspace: str = WORKSPACE) -> str:
    """Insert an idle session, with what it refers to, and return its id."""
    found = db.execute(sa.select(workspaces.c.id).where(workspaces.c.id == workspace)).one_or_none()
    if found is None:
        db.execute(sa.insert(workspaces).values(id=workspace, name=workspace, created_at=now_us()))
        runtime = {"id": f"rt_{workspace}", "alias": "r", "kind": "scripted", "base_url": "http://127.0.0.1:1"}
        times = {"created_at": now_us(), "updated_at": now_us()}
        db.execute(sa.insert(runtimes).values(workspace_id=workspace, options={}, revision=1, **runtime, **times))
    session_id = new_id("sesn")
    db.execute(
        sa.insert(sessions).values(
            id=session_id,
            workspace_id=workspace,
            agent_id="agent_1",
            agent_version=1,
            agent={},
            agent_options={},
            runtime_id=f"rt_{workspace}",
            runtime_alias="r",
            kind="scripted",
            environment_id="env_1",
            metadata={},
            vault_ids=[],
            usage={},
            status="idle",
            last_seq=0,
            last_event_at=0,
            fence=0,
            turn_count=0,
            active_us=0,
            single_answers=single_answers,
            moved_at=now_us(),
            created_at=now_us(),
            updated_at=now_us(),
        )
    )
    return session_id


def message(text: str) -> Input:
    """Return a user's message."""
    return Input("user.message", {"content": [{"type": "text", "text": text}]})


def send(db: Connection, session_id: str, *batch: Input) -> Accepted:
    """Accept inputs."""
    return accept(db, session_id, WORKSPACE, batch, max_queued=100)

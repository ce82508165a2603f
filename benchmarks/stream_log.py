"""Sessions and logs for the measurements, and a writer of its own process: `python -m benchmarks.stream_log …`.

The writer appends events one by one and prints, as one JSON list, the time at which each was committed.
"""

import asyncio
import json
import pathlib
import sys
import time
from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from protocol.ids import new_id
from security.keys import new_key
from store import event_log
from store.clock import now_us
from store.engine import Store, open_store
from store.event_log import NewFrame
from store.live import open_live
from store.repositories.access import create_api_key, create_workspace
from store.tables import events, runtimes, sessions

WARM_UP = 20


def create_caller(db: Connection) -> tuple[str, str]:
    """Return a new workspace and a key for it."""
    workspace, key = create_workspace(db, "benchmark"), new_key()
    create_api_key(db, workspace_id=workspace["id"], name="benchmark", scope="member", key=key)
    at = now_us()
    db.execute(
        sa.insert(runtimes).values(
            id=f"rt_{workspace['id']}", workspace_id=workspace["id"], alias="benchmark", kind="scripted",
            base_url="http://127.0.0.1:1", options={}, revision=1, created_at=at, updated_at=at,
        )
    )  # fmt: skip
    return workspace["id"], key


def create_session(db: Connection, workspace_id: str) -> str:
    session_id, at = new_id("session"), now_us()
    db.execute(
        sa.insert(sessions).values(
            id=session_id, workspace_id=workspace_id, agent_id="agent_b", agent_version=1, agent={}, agent_options={},
            runtime_id=f"rt_{workspace_id}", runtime_alias="benchmark", kind="scripted", environment_id="env_b",
            metadata={}, vault_ids=[], status="idle", last_seq=0, last_event_at=0, fence=0, turn_count=0,
            single_answers=False, usage={}, active_us=0, moved_at=at, created_at=at, updated_at=at,
        )
    )  # fmt: skip
    return session_id


def append(db: Connection, session_id: str, frames: Sequence[NewFrame]) -> int:
    """Append frames and return the log's last place."""
    locked = event_log.lock(db, session_id)
    event_log.append_frames(db, locked, frames)
    locked.save(db)
    return int(locked["last_seq"])


def message(text: str) -> NewFrame:
    return NewFrame("agent.message", {"content": [{"type": "text", "text": text}]})


def append_turns(db: Connection, session_id: str, count: int) -> None:
    """Append about `count` frames of finished turns: ten each, the user's message queued and processed among them."""
    frames: list[NewFrame] = []
    for number in range(count // 10):
        sent = NewFrame("user.message", {"content": [{"type": "text", "text": f"question {number}"}]}, queued=True)
        frames += [sent, NewFrame(sent.type, sent.payload, event_id=sent.event_id)]
        frames += [NewFrame("session.status_running", {})]
        frames += [message(f"answer {number} " + "x" * 200) for _ in range(6)]
        frames += [NewFrame("session.status_idle", {"stop_reason": {"type": "end_turn"}})]
    append(db, session_id, frames)
    db.execute(
        sa.update(events).where(events.c.session_id == session_id, events.c.waiting.is_(True)).values(waiting=False)
    )


async def append_one(store: Store, session_id: str, number: int) -> int:
    return await store.write(lambda db: append(db, session_id, [message(str(number))]))


async def main(url: str, folder: str, session_id: str, count: str, pause_s: str) -> None:
    store = open_store(url)
    bus = open_live(store, pathlib.Path(folder))
    await bus.start()
    committed = []
    for number in range(WARM_UP + int(count)):
        seq = await append_one(store, session_id, number)
        committed.append(time.monotonic())
        bus.announce(session_id, seq)
        await asyncio.sleep(float(pause_s))
    sys.stdout.write(json.dumps(committed))
    await bus.close()
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

"""The queue of self-hosted work on a real database: one piece for one poll, however many poll at once."""

import asyncio
from functools import partial

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from protocol.ids import new_id
from store import event_log, turns, work
from store.claims import ClaimedTurn, claim
from store.engine import Store, open_store
from store.event_log import NewFrame
from store.repositories.work import take
from store.tables import environment_work, sessions
from store.turns import Batch, NewAsk
from tests.store.sessions import make_session, message, send

pytestmark = pytest.mark.timeout(60)


def make_waiting(db: Connection) -> str:
    """Make a self-hosted session whose agent waits for a tool of the client; return its id."""
    session_id = make_session(db)
    db.execute(sa.update(sessions).where(sessions.c.id == session_id).values(self_hosted=True))
    send(db, session_id, message("go"))
    turn = claim(db, session_id)
    assert isinstance(turn, ClaimedTurn)
    turns.append(db, turn, asking(turn))
    return session_id


def asking(turn: ClaimedTurn) -> Batch:
    event_id = new_id("sevt")
    frame = NewFrame("agent.tool_use", {}, event_id=event_id, turn_id=turn.id, native_key=event_id)
    return Batch(frames=[frame], asks=[NewAsk(event_id, "agent.tool_use", {}, "run")])


async def states(store: Store) -> list[str]:
    rows = await store.read(lambda db: db.execute(sa.select(environment_work).order_by(environment_work.c.id)).all())
    return [row.state for row in rows]


async def test_many_polls_on_several_replicas_share_the_work(db_store: Store, database_url: str) -> None:
    made = [await db_store.write(make_waiting) for _ in range(12)]
    replicas = [db_store, open_store(database_url), open_store(database_url)]
    poll = partial(take, environment_id="env_1", unacknowledged_us=5_000_000)
    try:
        taken = await asyncio.gather(*(store.write(poll) for _ in range(8) for store in replicas))
        left = await db_store.write(poll)
    finally:
        for store in replicas[1:]:
            await store.close()
    given = [row["session_id"] for row in taken if row is not None]
    assert len(set(given)) == len(given), "one piece of work was given twice"
    assert sorted(given) == sorted(made)
    assert left is None


async def test_a_session_has_one_piece_of_work_at_a_time(db_store: Store) -> None:
    session_id = await db_store.write(make_waiting)
    turn = await db_store.write(partial(claim, session_id=session_id))
    assert isinstance(turn, ClaimedTurn)
    await db_store.write(partial(turns.append, turn=turn, batch=asking(turn)))
    assert await states(db_store) == ["queued"]


async def test_a_tool_use_that_is_rolled_back_leaves_no_work(db_store: Store) -> None:
    def make_and_fail(db: Connection) -> None:
        make_waiting(db)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await db_store.write(make_and_fail)
    assert await states(db_store) == []


async def test_an_ended_session_gets_no_work(db_store: Store) -> None:
    session_id = await db_store.write(make_waiting)

    def end_and_queue(db: Connection) -> None:
        locked = event_log.lock(db, session_id)
        work.end(db, locked)
        locked.set(ended_at=locked.now)
        work.queue(db, locked)

    await db_store.write(end_and_queue)
    assert await states(db_store) == ["stopped"]

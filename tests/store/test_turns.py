"""The engine's transactions on a real database: claims, fences, appends and closes."""

import asyncio
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from protocol.errors import InvalidRequestError, NotFoundError
from store import endings, owed, turns
from store.claims import ClaimedTurn, Nothing, claim
from store.engine import Store
from store.event_log import NewFrame, StaleFenceError
from store.events import Input, TooManyQueuedError, accept
from store.tables import events, inputs, sessions
from store.turns import Batch, Closing, NewAsk
from store.usage import Cost, Used, add_usage
from tests.store.sessions import WORKSPACE, make_session, message, send

Json = dict[str, Any]


async def claimed(store: Store, session_id: str) -> ClaimedTurn:
    found = await store.write(partial(claim, session_id=session_id))
    assert isinstance(found, ClaimedTurn), found
    return found


async def log(store: Store, session_id: str) -> list[tuple[int, str, bool]]:
    """Return seq, type, and whether processed, of every frame."""
    rows = await store.read(
        lambda db: db.execute(sa.select(events).where(events.c.session_id == session_id).order_by(events.c.seq)).all()
    )
    return [(row.seq, row.type, row.processed_at is not None) for row in rows]


def texts(turn: ClaimedTurn) -> list[str]:
    return [item.payload["content"][0]["text"] for item in turn.inputs]


async def finish(store: Store, turn: ClaimedTurn, closing: Closing | None = None, batch: Batch | None = None) -> Any:
    return await store.write(
        partial(turns.close, turn=turn, batch=batch or Batch(), closing=closing or Closing("end_turn"))
    )


async def test_an_input_has_a_queued_and_a_processed_frame(db_store: Store) -> None:
    session_id = await db_store.write(make_session)
    accepted = await db_store.write(lambda db: send(db, session_id, message("a")))
    assert (accepted.wake, accepted.last_seq) == (True, 1)
    turn = await claimed(db_store, session_id)
    assert texts(turn) == ["a"]
    await finish(db_store, turn)
    assert await log(db_store, session_id) == [
        (1, "user.message", False),
        (2, "user.message", True),
        (3, "session.status_running", True),
        (4, "session.status_idle", True),
    ]


async def test_messages_are_claimed_one_by_one_and_in_order(db_store: Store) -> None:
    session_id = await db_store.write(make_session)
    await db_store.write(lambda db: send(db, session_id, message("a"), message("b")))
    later = await db_store.write(lambda db: send(db, session_id, message("c")))
    assert later.wake
    seen = []
    for more in (True, True, False):
        turn = await claimed(db_store, session_id)
        seen += texts(turn)
        assert (await finish(db_store, turn)).more is more
    assert seen == ["a", "b", "c"]
    assert isinstance(await db_store.write(partial(claim, session_id=session_id)), Nothing)


async def test_a_system_message_goes_with_the_message_before_it(db_store: Store) -> None:
    session_id = await db_store.write(make_session)
    system = Input("system.message", {"content": [{"type": "text", "text": "s"}]})
    await db_store.write(lambda db: send(db, session_id, message("a"), system))
    await db_store.write(lambda db: send(db, session_id, message("b")))
    assert texts(await claimed(db_store, session_id)) == ["a", "s"]


async def test_a_message_during_a_turn_sends_no_wake(db_store: Store) -> None:
    session_id = await db_store.write(make_session)
    await db_store.write(lambda db: send(db, session_id, message("a")))
    turn = await claimed(db_store, session_id)
    accepted = await db_store.write(lambda db: send(db, session_id, message("b")))
    assert not accepted.wake
    assert (await finish(db_store, turn)).more


async def test_a_superseded_holder_cannot_write(db_store: Store) -> None:
    session_id = await db_store.write(make_session)
    await db_store.write(lambda db: send(db, session_id, message("a")))
    zombie = await claimed(db_store, session_id)
    holder = await claimed(db_store, session_id)
    assert holder.id == zombie.id
    before = await log(db_store, session_id)
    for work in (
        partial(turns.decide_send, turn=zombie, timeout_s=1.0, native_before=None),
        partial(turns.record_sent, turn=zombie, native={}),
        partial(turns.append, turn=zombie, batch=Batch(frames=[NewFrame("agent.message", {"content": []})])),
        partial(turns.close, turn=zombie, batch=Batch(), closing=Closing("end_turn")),
    ):
        with pytest.raises(StaleFenceError):
            await db_store.write(work)
    assert await log(db_store, session_id) == before
    await finish(db_store, holder)


async def test_a_native_event_is_stored_once(db_store: Store) -> None:
    session_id = await db_store.write(make_session)
    await db_store.write(lambda db: send(db, session_id, message("a")))
    turn = await claimed(db_store, session_id)
    usage = {"model_usage": {"input_tokens": 2, "output_tokens": 3}}
    frames = [
        NewFrame("agent.message", {"content": []}, native_key="n1", ordinal=0),
        NewFrame("agent.message", {"content": []}, native_key="n1", ordinal=1),
        NewFrame("span.model_request_end", usage, native_key="n2"),
    ]
    for _ in range(2):
        await db_store.write(partial(turns.append, turn=turn, batch=Batch(frames=frames, cursor="c", state={"k": 1})))
    await finish(db_store, turn, batch=Batch(frames=frames))
    types = [type_ for _, type_, _ in await log(db_store, session_id)]
    assert types.count("agent.message") == 2
    stored = await db_store.read(
        lambda db: db.execute(sa.select(sessions.c.usage).where(sessions.c.id == session_id)).scalar_one()
    )
    assert stored == {"input_tokens": 2, "output_tokens": 3}


async def test_a_cost_is_counted_once_with_its_event(db_store: Store) -> None:
    session_id = await db_store.write(make_session)
    await db_store.write(lambda db: send(db, session_id, message("a")))
    turn = await claimed(db_store, session_id)
    payload = {"model_usage": {"input_tokens": 2}}
    frames = [
        NewFrame("span.model_request_end", payload, native_key=str(n), cost=Cost(7, source))
        for n, source in enumerate(("runtime", "list", "runtime"))
    ]
    for _ in range(2):
        await db_store.write(partial(turns.append, turn=turn, batch=Batch(frames=frames)))
    await finish(db_store, turn, batch=Batch(frames=frames))
    statement = sa.select(sessions.c.usage).where(sessions.c.id == session_id)
    stored = await db_store.read(lambda db: db.execute(statement).scalar_one())
    assert stored == {"input_tokens": 6, "cost_nano_usd": 21, "cost_source": "runtime, list"}


PRICED = Used({"input_tokens": 1}, Cost(5, "list"))
UNPRICED = Used({"input_tokens": 1}, None)


@pytest.mark.parametrize(
    ("before", "used", "cost"),
    [
        ({}, [PRICED, PRICED], 10),
        ({}, [UNPRICED, PRICED], None),
        ({}, [PRICED, UNPRICED, PRICED], None),
        ({}, [Used({"input_tokens": 0}, None), PRICED], 5),
        ({"input_tokens": 9}, [PRICED], None),
        ({"input_tokens": 9, "cost_nano_usd": 1, "cost_source": "list"}, [PRICED], 6),
    ],
)
def test_a_cost_is_told_only_of_a_whole(before: Any, used: list[Used], cost: int | None) -> None:
    total = add_usage(before, used)
    assert total.get("cost_nano_usd") == cost
    assert ("cost_source" in total) is (cost is not None)


def asking(*ids: str) -> Batch:
    payload = {"name": "t", "input": {}, "evaluated_permission": "ask"}
    return Batch(
        frames=[NewFrame("agent.tool_use", payload, event_id=id_, native_key=id_) for id_ in ids],
        asks=[NewAsk(id_, "agent.tool_use", {"native": id_}) for id_ in ids],
        cursor="c1",
        state={"s": 1},
    )


def confirm(ask_id: str) -> Input:
    return Input("user.tool_confirmation", {"tool_use_id": ask_id, "result": "allow"})


async def asked(store: Store, session_id: str, *ids: str) -> None:
    await store.write(lambda db: send(db, session_id, message("a")))
    turn = await claimed(store, session_id)
    await finish(store, turn, Closing("requires_action"), asking(*ids))


async def test_a_complete_set_of_answers_is_one_turn_that_goes_on_from_the_asking_one(db_store: Store) -> None:
    session_id = await db_store.write(make_session)
    await asked(db_store, session_id, "x", "y")
    await db_store.write(lambda db: send(db, session_id, confirm("x")))
    assert isinstance(await db_store.write(partial(claim, session_id=session_id)), Nothing)
    await db_store.write(lambda db: send(db, session_id, confirm("y")))
    turn = await claimed(db_store, session_id)
    assert [item.ask_native for item in turn.inputs] == [{"native": "x"}, {"native": "y"}]
    assert (turn.row["kind"], turn.row["cursor"], turn.row["state"]) == ("answers", "c1", {"s": 1})


async def test_answers_are_turns_of_their_own_where_the_runtime_takes_them_singly(db_store: Store) -> None:
    session_id = await db_store.write(partial(make_session, single_answers=True))
    await asked(db_store, session_id, "x", "y")
    await db_store.write(lambda db: send(db, session_id, confirm("y")))
    turn = await claimed(db_store, session_id)
    assert [item.ask_native for item in turn.inputs] == [{"native": "y"}]


@pytest.mark.parametrize("ask_id", ["x", "unknown"])
async def test_an_answer_counts_once_and_must_answer_something(db_store: Store, ask_id: str) -> None:
    session_id = await db_store.write(make_session)
    await asked(db_store, session_id, "x", "y")
    await db_store.write(lambda db: send(db, session_id, confirm("x")))
    before = await log(db_store, session_id)
    with pytest.raises(InvalidRequestError, match=ask_id):
        await db_store.write(lambda db: send(db, session_id, confirm(ask_id)))
    assert await log(db_store, session_id) == before


async def test_equal_answers_that_race_count_once(db_store: Store) -> None:
    session_id = await db_store.write(make_session)
    await asked(db_store, session_id, "x", "y")
    sends = [db_store.write(lambda db: send(db, session_id, confirm("x"))) for _ in range(8)]
    results = await asyncio.gather(*sends, return_exceptions=True)
    refused = [result for result in results if isinstance(result, InvalidRequestError)]
    assert len(refused) == 7


async def test_a_refused_turn_gives_its_inputs_back_without_telling_them_twice(db_store: Store) -> None:
    session_id = await db_store.write(make_session)
    await db_store.write(lambda db: send(db, session_id, message("a"), message("b")))
    turn = await claimed(db_store, session_id)
    held = Closing("retries_exhausted", requeue=True, held="the key is refused")
    assert not (await finish(db_store, turn, held)).more
    await db_store.write(lambda db: send(db, session_id, message("c")))
    assert texts(await claimed(db_store, session_id)) == ["a"]
    processed = [seq for seq, type_, done in await log(db_store, session_id) if type_ == "user.message" and done]
    assert len(processed) == 1


async def test_seq_has_no_gap_and_time_no_step_back_when_many_write_at_once(db_store: Store) -> None:
    session_id = await db_store.write(make_session)
    await db_store.write(lambda db: send(db, session_id, message("first")))
    turn = await claimed(db_store, session_id)
    work: list[Any] = [db_store.write(lambda db: send(db, session_id, message("m"))) for _ in range(20)]
    for number in range(20):
        frames = [NewFrame("agent.message", {"content": []}, native_key=f"n{number}")]
        work.append(db_store.write(partial(turns.append, turn=turn, batch=Batch(frames=frames))))
    await asyncio.gather(*work)
    rows = await db_store.read(
        lambda db: db.execute(sa.select(events.c.seq, events.c.processed_at).order_by(events.c.seq)).all()
    )
    assert [row.seq for row in rows] == list(range(1, len(rows) + 1))
    times = [row.processed_at for row in rows if row.processed_at is not None]
    assert times == sorted(set(times))


async def test_a_stop_voids_the_queue_and_refuses_input(db_store: Store) -> None:
    session_id = await db_store.write(make_session)
    await db_store.write(lambda db: send(db, session_id, message("a"), message("b")))
    turn = await claimed(db_store, session_id)
    ending = await db_store.write(lambda db: endings.request_stop(db, session_id, WORKSPACE))
    assert ending.state == "stopping"
    with pytest.raises(InvalidRequestError, match="stopped"):
        await db_store.write(lambda db: send(db, session_id, message("c")))
    await db_store.write(lambda db: endings.end_stopped(db, session_id, observed=True, detail="seen", by="runtime"))
    with pytest.raises(StaleFenceError):
        await finish(db_store, turn)
    assert (await log(db_store, session_id))[-1][1] == "session.status_terminated"


async def test_a_session_with_work_is_neither_archived_nor_deleted(db_store: Store) -> None:
    session_id = await db_store.write(make_session)
    await db_store.write(lambda db: send(db, session_id, message("a")))
    for ending in (endings.archive, endings.delete):
        with pytest.raises(InvalidRequestError, match="pending"):
            await db_store.write(lambda db, ending=ending: ending(db, session_id, WORKSPACE))
    turn = await claimed(db_store, session_id)
    with pytest.raises(InvalidRequestError, match="running"):
        await db_store.write(lambda db: endings.delete(db, session_id, WORKSPACE))
    await finish(db_store, turn)
    await db_store.write(lambda db: endings.delete(db, session_id, WORKSPACE))
    with pytest.raises(NotFoundError):
        await db_store.write(lambda db: send(db, session_id, message("b")))


async def test_an_erased_session_leaves_only_its_tombstone(db_store: Store) -> None:
    session_id = await db_store.write(make_session)
    await db_store.write(lambda db: endings.delete(db, session_id, WORKSPACE))
    await db_store.write(partial(endings.erase, session_id=session_id))
    left = await db_store.read(
        lambda db: [
            db.execute(sa.select(sa.func.count()).select_from(table)).scalar_one() for table in (events, inputs)
        ]
    )
    assert left == [0, 0]


async def test_another_workspace_sees_nothing(db_store: Store) -> None:
    session_id = await db_store.write(make_session)
    with pytest.raises(NotFoundError):
        await db_store.write(lambda db: accept(db, session_id, "wrkspc_2", [message("a")], max_queued=10))


async def test_a_full_queue_is_refused_whole(db_store: Store) -> None:
    session_id = await db_store.write(make_session)
    with pytest.raises(TooManyQueuedError, match="2 may"):
        await db_store.write(
            lambda db: accept(db, session_id, WORKSPACE, [message(str(n)) for n in range(3)], max_queued=2)
        )
    assert await log(db_store, session_id) == []


async def test_what_is_stale_is_found_and_what_is_held_alive_is_not(db_store: Store) -> None:
    idle, waiting, running = [await db_store.write(make_session) for _ in range(3)]
    for session_id in (waiting, running):
        await db_store.write(lambda db, session_id=session_id: send(db, session_id, message("a")))
    await claimed(db_store, running)

    def stale(db: Connection, after_us: int) -> set[str]:
        return {row["session_id"] for row in owed.stale(db, after_us, 100)}

    assert await db_store.read(partial(stale, after_us=60_000_000)) == set()
    await asyncio.sleep(0.01)
    assert await db_store.read(partial(stale, after_us=1_000)) == {waiting, running}
    assert idle not in await db_store.read(partial(stale, after_us=0))


async def test_a_claim_decides_the_send_where_the_runtime_takes_a_key(db_store: Store) -> None:
    session_id = await db_store.write(make_session)
    await db_store.write(
        lambda db: db.execute(sa.update(sessions).where(sessions.c.id == session_id).values(native={"id": "n"}))
    )
    await db_store.write(lambda db: send(db, session_id, message("a")))
    keyed = {f"rt_{WORKSPACE}": 5.0}
    turn = await db_store.write(partial(claim, session_id=session_id, keyed=keyed))
    assert isinstance(turn, ClaimedTurn)
    assert (turn.decided, turn.row["attempts"]) == (True, 1)
    again = await db_store.write(partial(claim, session_id=session_id, keyed=keyed))
    assert isinstance(again, ClaimedTurn)
    assert (again.decided, again.row["attempts"]) == (False, 1)
    assert again.row["send_deadline"] == turn.row["send_deadline"]

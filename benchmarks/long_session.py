"""Whether a session with thousands of turns is as quick as a fresh one, and its Temporal histories as small.

Most of its turns are seeded: made by the store's own functions, with the same rows as a real turn, but without Temporal
and without the runtime. The last are real: first a full queue, worked off in one go, then some one at a time.
"""

import asyncio
import statistics
import time
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from benchmarks.results import Result, at_most, measured
from benchmarks.rig import Rig
from benchmarks.sides import Session
from protocol.ids import event_id
from store import turns
from store.claims import ClaimedTurn, claim
from store.event_log import NewFrame
from store.events import Input, accept
from store.tables import events, sessions
from store.tables import turns as turns_table

Json = dict[str, Any]

_TURNS = 10_000
_QUEUED = 1000
_LAST = 300
_BOUND = 1.2
_HISTORY_MB = 2.0
_SEEDED_AT_ONCE = 50
_LOOK_S = 0.25
_QUIET_S = 0.05
_TEXT = "hello there"
_PAYLOAD = {"content": [{"type": "text", "text": _TEXT}]}


async def measure(rig: Rig) -> list[Result]:
    """Make the session old, then alternate its turns with those of a fresh one."""
    total, queued, last = rig.plan.scaled(_TURNS, 400), rig.plan.scaled(_QUEUED, 60), rig.plan.scaled(_LAST, 40)
    queued = min(queued, _QUEUED)
    old = await _first_turn(rig)
    seeded = total - 1 - queued - last
    print(f"  {seeded} of {total} turns are seeded by the store's functions, {total - seeded} are real", flush=True)
    seconds = await _seed(rig, old.id, seeded)
    worked_off = await _work_off(rig, old.id, queued)
    ratio, medians = await _compare(rig, old, last)
    assert await _count(rig, old.id) == total, "a turn is missing"
    largest, events_of_largest, runs = await _largest_history(rig, old.id)
    return [
        at_most(f"a turn after {total} turns: over one of a fresh session, median", ratio, "x", _BOUND),
        measured("a turn of the old session, median", medians[0], "ms"),
        measured("a turn of the fresh session, median", medians[1], "ms"),
        at_most("its largest Temporal history of one run", largest, "MB", _HISTORY_MB),
        measured("events in that history", events_of_largest, ""),
        measured("runs of its workflow", runs, ""),
        measured(f"turns a second of one session, {queued} queued", worked_off, "/s"),
        measured("turns seeded", seeded, ""),
        measured("seconds to seed them", seconds, "s"),
    ]


async def _first_turn(rig: Rig) -> Session:
    session = await rig.product.open()
    await rig.product.turn(session, _TEXT)
    return session


async def _seed(rig: Rig, session_id: str, count: int) -> float:
    """Add turns like the first to the session; return how many seconds it took."""
    began = time.monotonic()
    model = await rig.store.read(partial(_model, session_id=session_id))
    for done in range(0, count, _SEEDED_AT_ONCE):
        part = min(_SEEDED_AT_ONCE, count - done)
        await rig.store.write(partial(_seed_some, session_id=session_id, model=model, count=part))
    return time.monotonic() - began


def _model(db: Connection, session_id: str) -> Json:
    """Return a session's first turn: its workspace, the turn's row, and the frames that came natively."""
    workspace_id = db.execute(sa.select(sessions.c.workspace_id).where(sessions.c.id == session_id)).scalar_one()
    row = db.execute(sa.select(turns_table).where(turns_table.c.session_id == session_id)).mappings().one()
    native = sa.select(events).where(events.c.turn_id == row["id"], events.c.native_key.is_not(None))
    frames = db.execute(native.order_by(events.c.seq)).mappings().all()
    return {"workspace_id": workspace_id, "turn": dict(row), "frames": [dict(frame) for frame in frames]}


def _seed_some(db: Connection, session_id: str, model: Json, count: int) -> None:
    for _ in range(count):
        accept(db, session_id, model["workspace_id"], [Input("user.message", _PAYLOAD)], max_queued=_QUEUED)
        turn = claim(db, session_id)
        assert isinstance(turn, ClaimedTurn)
        native = f"{model['turn']['native']['turn_id']}-seeded-{turn.row['number']}"
        decided = turns.decide_send(db, turn, 30.0, None)
        assert decided is not None
        turns.record_sent(db, turn, {"turn_id": native})
        turns.close(db, turn, _batch(turn, model, native), turns.Closing("end_turn"))


def _batch(turn: ClaimedTurn, model: Json, native: str) -> turns.Batch:
    """Return the model's native frames as those of another turn."""
    first = model["turn"]["native"]["turn_id"]
    frames = []
    for frame in model["frames"]:
        key = frame["native_key"].replace(first, native)
        frames.append(
            NewFrame(
                frame["type"],
                frame["payload"],
                event_id=event_id(turn.session_id, key, frame["ordinal"]),
                turn_id=turn.id,
                native_key=key,
                ordinal=frame["ordinal"],
            )
        )
    return turns.Batch(frames, cursor=model["turn"]["cursor"].replace(first, native), state={}, idless=0)


async def _work_off(rig: Rig, session_id: str, count: int) -> float:
    """Queue so many messages in one request and wait until they are worked off; return turns a second."""
    before = await _count(rig, session_id)
    began = time.monotonic()
    body = {"events": [{"type": "user.message", **_PAYLOAD}] * count}
    (await rig.product.http.post(f"/v1/sessions/{session_id}/events", json=body)).raise_for_status()
    seen, seen_at = before, began
    while (done := await _count(rig, session_id, only_done=True)) < before + count:
        now = time.monotonic()
        seen, seen_at = (done, now) if done != seen else (seen, seen_at)
        if now - seen_at > 60:
            raise TimeoutError(f"the session does not move on after {done - before} of {count} turns")
        await asyncio.sleep(_LOOK_S)
    return count / (time.monotonic() - began)


async def _count(rig: Rig, session_id: str, *, only_done: bool = False) -> int:
    counted = sa.select(sa.func.count()).where(turns_table.c.session_id == session_id)
    if only_done:
        counted = counted.where(turns_table.c.phase == "done")
    found = await rig.store.read(lambda db: db.execute(counted).scalar_one())
    return int(found)


async def _compare(rig: Rig, old: Session, count: int) -> tuple[float, tuple[float, float]]:
    """Return the median ratio of turns in the old session to those in a fresh one, and the medians of both in ms."""
    fresh = await _first_turn(rig)
    old = await _watched_anew(rig, old.id)
    times: tuple[list[float], list[float]] = ([], [])
    dice = rig.plan.dice()
    for _ in range(count):
        for number in dice.sample((0, 1), 2):
            began = time.perf_counter()
            await rig.product.turn((old, fresh)[number], _TEXT)
            times[number].append((time.perf_counter() - began) * 1000)
            await asyncio.sleep(_QUIET_S)
    medians = statistics.median(times[0]), statistics.median(times[1])
    return medians[0] / medians[1], medians


async def _watched_anew(rig: Rig, session_id: str) -> Session:
    """Return the session with its turns counted from here on."""
    last_seq = sa.select(sessions.c.last_seq).where(sessions.c.id == session_id)
    session = Session(session_id)
    rig.product.watch(session, await rig.store.read(lambda db: db.execute(last_seq).scalar_one()))
    return session


async def _largest_history(rig: Rig, session_id: str) -> tuple[float, int, int]:
    """Return megabytes and events of the largest history of the session's workflow, and how many runs it had."""
    await asyncio.sleep(2.0)
    client = await rig.baseline.temporal()
    largest, length, runs = 0.0, 0, 0
    async for run in client.list_workflows(f'WorkflowId = "{session_id}"'):
        found = await client.get_workflow_handle(session_id, run_id=run.run_id).describe()
        largest = max(largest, found.raw_description.workflow_execution_info.history_size_bytes / 1e6)
        length, runs = max(length, found.history_length), runs + 1
    return largest, length, runs

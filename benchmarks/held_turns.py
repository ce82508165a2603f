"""Thousands of turns that last, in one worker: what each costs in memory, that none fails, and how soon a stop is felt.

Beside it stands a bare worker that holds as many activities that only heartbeat.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

import sqlalchemy as sa
from sqlalchemy import Connection

from benchmarks.alternating import percentile
from benchmarks.results import Result, at_most, measured
from benchmarks.rig import Rig
from benchmarks.sides import in_turns
from benchmarks.usage import collected_kb
from store.tables import sessions, turns
from tests.driver import script

_TURNS = 2000
_MEMORY_BOUND = 3.0
_STOPS = 50
_STOP_BOUND_S = 3.0
_WARM = 40
_AT_ONCE = 16
_SPREAD_S = 60.0
_SETTLE_S = 8.0
_LOOK_S = 0.5
_STUCK_S = 120.0
_LONG_S = 3600.0


async def measure(rig: Rig) -> list[Result]:
    """Hold bare activities, let them go, then hold turns and stop some."""
    count = rig.plan.scaled(_TURNS, 100)
    bare = await _bare_kb(rig, count)
    held = _HeldTurns(rig, count)
    ours = await held.kb_a_turn()
    felt = await held.stop_some(rig.plan.scaled(_STOPS, 10))
    failed = await held.failures()
    return [
        at_most(f"memory a turn, {count} held by one worker: over a bare activity", ours / bare, "x", _MEMORY_BOUND),
        measured("memory a turn, product", ours, "KB"),
        measured("memory an activity, baseline", bare, "KB"),
        at_most("held turns that failed", failed, "", 0),
        at_most("a stop is felt within, p95", percentile(felt, 0.95), "s", _STOP_BOUND_S),
        measured("a stop is felt within, p50", percentile(felt, 0.5), "s"),
        measured("turns begun a second while they gather", held.begun_a_second, "/s"),
    ]


async def _bare_kb(rig: Rig, count: int) -> float:
    """Return the kilobytes that a bare activity takes while it is held."""
    pid = rig.baseline.worker.pid
    await rig.bare.hold(_WARM, 1.0)
    await asyncio.sleep(_SETTLE_S)
    before = await collected_kb(pid)
    await rig.bare.hold(count, _LONG_S)
    await asyncio.sleep(_SETTLE_S)
    after = await collected_kb(pid)
    # Nothing of it is to weigh on what follows.
    rig.baseline.worker.kill()
    await rig.bare.let_go()
    return (after - before) / count


class _HeldTurns:
    """The product's sessions, each with a turn that lasts."""

    def __init__(self, rig: Rig, count: int) -> None:
        self._rig = rig
        self._count = count
        self._dice = rig.plan.dice()
        self._ids: list[str] = []
        self._stopped: list[str] = []
        self._ends_at = 0.0
        self.begun_a_second = 0.0

    async def kb_a_turn(self) -> float:
        """Return the kilobytes that a turn takes while it is held."""
        pid = self._rig.stack.worker.pid
        warm: list[str] = []
        await self._begin(warm, _WARM, lambda: 1.0)
        await self._until(lambda: self._running(0), "the first turns do not end")
        await asyncio.sleep(_SETTLE_S)
        before = await collected_kb(pid)
        began = time.monotonic()
        self._ends_at = began + self._longest_gathering_s() + _SPREAD_S
        await self._begin(self._ids, self._count, self._left_s)
        await self._until(lambda: self._running(self._count), "not all turns are live at once")
        self.begun_a_second = self._count / (time.monotonic() - began)
        await asyncio.sleep(_SETTLE_S)
        after = await collected_kb(pid)
        return (after - before) / self._count

    def _longest_gathering_s(self) -> float:
        return 60.0 + self._count / 8

    def _left_s(self) -> float:
        """Return how long a turn that begins now is to last, so that all are live at once."""
        return self._ends_at - time.monotonic() + self._dice.uniform(0, _SPREAD_S)

    async def _begin(self, ids: list[str], count: int, seconds: Callable[[], float]) -> None:
        async def create() -> None:
            text = script({"sleep": round(seconds(), 1)}, {"say": "done"})
            first = {"type": "user.message", "content": [{"type": "text", "text": text}]}
            ids.append((await self._rig.product.create(initial_events=[first])).id)

        await in_turns([create] * count, _AT_ONCE)

    async def _running(self, count: int) -> bool:
        return int((await self._rig.stack.scripted.summary())["running"]) == count

    async def _until(self, reached: Callable[[], Awaitable[bool]], problem: str) -> None:
        """Wait, as long as something moves.

        Raises:
            TimeoutError: nothing does.
        """
        seen, moved = -1, time.monotonic()
        while not await reached():
            running = int((await self._rig.stack.scripted.summary())["running"])
            if running != seen:
                seen, moved = running, time.monotonic()
            if time.monotonic() - moved > _STUCK_S:
                raise TimeoutError(f"{problem}: {running} are running")
            await asyncio.sleep(_LOOK_S)

    async def stop_some(self, count: int) -> list[float]:
        """Stop some sessions, one at a time; return after how many seconds each stop was felt."""
        self._stopped = self._dice.sample(self._ids, count)
        return [await self._stop(session_id) for session_id in self._stopped]

    async def _stop(self, session_id: str) -> float:
        """Return the seconds until the runtime was told and the session was terminated."""
        began, began_at = time.perf_counter(), time.time()
        answer = (await self._rig.product.http.post(f"/v1/sessions/{session_id}/stop")).raise_for_status().json()
        answered = time.perf_counter() - began
        told = await self._rig.stack.scripted.ledger(session=session_id, call="interrupt")
        if answer["status"] != "terminated" or not told:
            return float("inf")
        return max(answered, float(told[0]["time"]) - began_at)

    async def failures(self) -> int:
        """Wait until the remaining turns have ended, and return how many did so in another way than they should."""
        left = self._ends_at + _SPREAD_S - time.monotonic()
        await asyncio.sleep(max(left, 0.0))
        await self._until(lambda: self._running(0), "not all turns end")
        kept = [session_id for session_id in self._ids if session_id not in set(self._stopped)]
        ended = 0
        for _ in range(round(_STUCK_S / _LOOK_S)):
            ended = await self._rig.store.read(lambda db: _ended_well(db, kept))
            if ended == len(kept):
                break
            await asyncio.sleep(_LOOK_S)
        return len(kept) - ended


def _ended_well(db: Connection, session_ids: Sequence[str]) -> int:
    """Return how many of these sessions are idle after one turn that ended by itself, in one attempt."""
    well = sa.and_(turns.c.phase == "done", turns.c.stop_reason == "end_turn", turns.c.error.is_(None))
    found = 0
    for start in range(0, len(session_ids), 500):
        part = session_ids[start : start + 500]
        found += db.execute(
            sa.select(sa.func.count())
            .select_from(turns)
            .join(sessions, sessions.c.id == turns.c.session_id)
            .where(sessions.c.id.in_(part), sessions.c.turn_count == 1, sessions.c.status == "idle")
            .where(well, turns.c.attempts == 1)
        ).scalar_one()
    return found

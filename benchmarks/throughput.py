"""Turns a second with many sessions at once: each sends its next message as soon as its last turn has ended.

What decides is processor time, as on a small machine everything shares it: so that of each process is told, too.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Sequence

from benchmarks.alternating import median_of_ratios
from benchmarks.results import Result, at_least, measured
from benchmarks.rig import Rig
from benchmarks.sides import Session, Side
from benchmarks.usage import cpu_ms

SESSIONS = 64
_BOUND = 0.6
_WARM_S = 3.0
_ROUND_S = 10.0
_ROUNDS = 6
_SETTLE_S = 0.5
_TEXT = "hello there"


async def measure(rig: Rig) -> list[Result]:
    """Run rounds of both sides in turn."""
    sessions = {side.name: [await side.open() for _ in range(SESSIONS)] for side in rig.sides}
    for side in rig.sides:
        await _talk(side, sessions[side.name], _WARM_S)
    rates: dict[str, list[float]] = defaultdict(list)
    used: dict[str, list[dict[str, float]]] = defaultdict(list)
    round_s = max(_ROUND_S * min(rig.plan.size, 1.0), 3.0)
    dice = rig.plan.dice()
    for _ in range(rig.plan.scaled(_ROUNDS, 3)):
        for side in dice.sample(rig.sides, 2):
            rate, cpu = await _round(rig, side, sessions[side.name], round_s)
            rates[side.name].append(rate)
            used[side.name].append(cpu)
    return _results(rig, rates, used)


async def _round(rig: Rig, side: Side, sessions: Sequence[Session], round_s: float) -> tuple[float, dict[str, float]]:
    """Return turns a second, and milliseconds of each process a turn."""
    pids = {name: part.pid for name, part in side.parts.items()} | rig.shared_pids()
    await asyncio.sleep(_SETTLE_S)
    before = cpu_ms(pids)
    turns, seconds = await _talk(side, sessions, round_s)
    await asyncio.sleep(_SETTLE_S)
    after = cpu_ms(pids)
    return turns / seconds, {name: (after[name] - before[name]) / turns for name in pids}


async def _talk(side: Side, sessions: Sequence[Session], seconds: float) -> tuple[int, float]:
    """Keep every session busy for so long; return the turns that ended, and the seconds it took them all to end."""
    began = time.monotonic()
    turns = 0

    async def keep_busy(session: Session) -> None:
        nonlocal turns
        while time.monotonic() < began + seconds:
            await side.turn(session, _TEXT)
            turns += 1

    async with asyncio.TaskGroup() as group:
        for session in sessions:
            group.create_task(keep_busy(session))
    return turns, time.monotonic() - began


def _results(rig: Rig, rates: dict[str, list[float]], used: dict[str, list[dict[str, float]]]) -> list[Result]:
    ratio = median_of_ratios(rates[rig.product.name], rates[rig.bare.name])
    results = [at_least(f"turns a second, {SESSIONS} sessions: product over baseline", ratio, "x", _BOUND)]
    for side in rig.sides:
        results.append(measured(f"turns a second, {side.name}", _middle(rates[side.name]), "/s"))
        means = {name: _middle([cpu[name] for cpu in used[side.name]]) for name in used[side.name][0]}
        results += [measured(f"CPU a turn, {side.name}: {name}", value, "ms") for name, value in means.items()]
        total = sum(value for name, value in means.items() if name != "client")
        results.append(measured(f"CPU a turn, {side.name}: all but the client", total, "ms"))
    return results


def _middle(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]

"""How soon a message that is posted reaches the runtime: by the runtime's own ledger, one message at a time."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Sequence

from benchmarks.alternating import percentile
from benchmarks.results import Result, at_most, measured
from benchmarks.rig import Rig
from benchmarks.sides import Session, Side

_BOUND = 1.5
_MESSAGES = 300
_SESSIONS = 10
_QUIET_S = 0.1


async def measure(rig: Rig) -> list[Result]:
    """Send one message after the other, to both sides in turn."""
    sessions = {side.name: [await _warm(side) for _ in range(_SESSIONS)] for side in rig.sides}
    delays: dict[str, list[float]] = defaultdict(list)
    dice = rig.plan.dice()
    for number in range(rig.plan.scaled(_MESSAGES, 20)):
        for side in dice.sample(rig.sides, 2):
            session = sessions[side.name][number % _SESSIONS]
            delays[side.name].append(await _delay_ms(rig, side, session))
            # What the last turn left to do is not to be the next one's burden.
            await asyncio.sleep(_QUIET_S)
    return _results(rig, delays)


async def _warm(side: Side) -> Session:
    session = await side.open()
    await side.turn(session, "first")
    return session


async def _delay_ms(rig: Rig, side: Side, session: Session) -> float:
    posted = time.time()
    await side.turn(session, "hello there")
    received = await rig.stack.scripted.ledger(session=session.native or session.id, call="start_turn")
    return float(received[-1]["time"] - posted) * 1000


def _results(rig: Rig, delays: dict[str, list[float]]) -> list[Result]:
    product, bare = (delays[side.name] for side in rig.sides)
    ratio = percentile(product, 0.5) / percentile(bare, 0.5)
    results = [at_most("message posted to received by the runtime, p50: product over baseline", ratio, "x", _BOUND)]
    for side in rig.sides:
        results += _percentiles(side.name, delays[side.name])
    return results


def _percentiles(name: str, values: Sequence[float]) -> list[Result]:
    return [
        measured(
            f"message posted to received by the runtime, {name}, p{share * 100:.0f}", percentile(values, share), "ms"
        )
        for share in (0.5, 0.95)
    ]

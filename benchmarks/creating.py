"""How long it takes to create a session that begins with a long turn, beside an empty POST that commits."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from benchmarks.alternating import percentile
from benchmarks.results import Result, at_most, measured
from benchmarks.rig import Rig
from tests.driver import script

_BOUND = 2.0
_SESSIONS = 60
_TURN_S = 60
_QUIET_S = 0.25
_TEXT = script({"sleep": _TURN_S})
_FIRST = {"type": "user.message", "content": [{"type": "text", "text": _TEXT}]}


async def measure(rig: Rig) -> list[Result]:
    """Create sessions and commit notes, in turn."""
    created: list[str] = []

    async def create() -> None:
        created.append((await rig.product.create(initial_events=[_FIRST])).id)

    async def commit() -> None:
        (await rig.bare.http.post("/notes")).raise_for_status()

    creates, commits = [], []
    for number in range(rig.plan.scaled(_SESSIONS, 20) + 3):
        commit_ms, create_ms = await _ms(commit), await _ms(create)
        if number >= 3:
            commits.append(commit_ms)
            creates.append(create_ms)
        await asyncio.sleep(_QUIET_S)
    await _stop(rig, created)
    took, floor = percentile(creates, 0.5), percentile(commits, 0.5)
    return [
        at_most(f"create with a turn of {_TURN_S} s returns, p50: over a POST that commits", took / floor, "x", _BOUND),
        measured("create, p50", took, "ms"),
        measured("POST that commits, p50", floor, "ms"),
    ]


async def _ms(call: Callable[[], Awaitable[None]]) -> float:
    began = time.perf_counter()
    await call()
    return (time.perf_counter() - began) * 1000


async def _stop(rig: Rig, session_ids: list[str]) -> None:
    """Stop what was begun, so that nothing runs on beneath the next measurement."""
    for start in range(0, len(session_ids), 8):
        stops = (rig.product.http.post(f"/v1/sessions/{id_}/stop") for id_ in session_ids[start : start + 8])
        for answer in await asyncio.gather(*stops):
            answer.raise_for_status()

"""The blows: each is dealt to parts that are whole, and what it hit is started again."""

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import temporalio.client
from temporalio.service import RPCError

from benchmarks.chaos.databases import Database
from benchmarks.chaos.parts import Parts
from benchmarks.chaos.plan import WORKERS, Action, Plan, Strike
from benchmarks.chaos.queries import sessions_in_turns, turns_in_sending
from benchmarks.chaos.talking import Progress

_COMMITS_S = 0.2
"""Time for what a killed process had on its way to the database to arrive there, or not."""
_TERMINATED_AT_ONCE = 5
_CONNECT_S = 30.0
_LOOK_FOR_S = 10.0


class Strikes:
    """Deals a plan's blows, and counts them."""

    def __init__(
        self, plan: Plan, parts: Parts, database: Database, temporal_files: Path, temporal_port: int, frozen_s: float
    ) -> None:
        self.kills: Counter[str] = Counter()
        self.others: Counter[str] = Counter()
        self.in_sending: set[str] = set()
        """Turns that had a send without a recorded outcome when something was struck."""
        self._plan = plan
        self._parts = parts
        self._database = database
        self._temporal_files = temporal_files
        self._temporal_address = f"127.0.0.1:{temporal_port}"
        self._frozen_s = frozen_s
        self._rng = random.Random(plan.seed + 1)

    async def deal(self, progress: Progress) -> None:
        """Deal every blow, the last one's wounds healed."""
        actions: dict[Action, Callable[[Strike], Awaitable[None]]] = {
            "kill": self._kill,
            "freeze": self._freeze,
            "terminate": self._terminate,
            "wipe": self._wipe,
            "restart_database": self._restart_database,
        }
        for step, strike in enumerate(self._plan.strikes):
            progress.begin(step)
            self._parts.revive()
            await self._parts.ready(strike.victims)
            await asyncio.sleep(strike.rest_s)
            await actions[strike.action](strike)
            print(f"  {step + 1}/{len(self._plan.strikes)} {strike.action} {' '.join(strike.victims)}", flush=True)
        self._parts.revive()
        await self._parts.ready()

    async def _note_sending(self) -> None:
        await asyncio.sleep(_COMMITS_S)
        self.in_sending.update(await self._database.read(turns_in_sending))

    async def _kill(self, strike: Strike) -> None:
        self._parts.kill(strike.victims)
        self.kills.update(strike.victims)
        if strike.victims != ("api",):  # which sends nothing to a runtime
            await self._note_sending()
        await asyncio.sleep(strike.down_s)
        self._parts.start(strike.victims)

    async def _freeze(self, strike: Strike) -> None:
        """Stop a worker in its tracks until the other has taken its turns over, then let it go on."""
        await self._parts.ready(WORKERS)
        await self._running()
        (name,) = strike.victims
        self._parts[name].part.signal(signal.SIGSTOP)
        try:
            await self._note_sending()
            await asyncio.sleep(self._frozen_s)
        finally:
            self._parts[name].part.signal(signal.SIGCONT)
        self._parts.last_start = time.monotonic()
        self.others["worker frozen beyond its heartbeat"] += 1

    async def _terminate(self, _strike: Strike) -> None:
        """Terminate the workflows of sessions in mid-turn, as somebody could in Temporal's UI."""
        await self._parts.ready(["temporal"])
        client = await self._client()
        give_up = time.monotonic() + _LOOK_FOR_S
        terminated = 0
        while not terminated and time.monotonic() < give_up:
            running = await self._running()
            await self._note_sending()
            for session_id in self._rng.sample(running, min(len(running), _TERMINATED_AT_ONCE)):
                terminated += await _terminated(client, session_id)
        self.others["workflow terminated by hand"] += terminated
        await self._note_sending()

    async def _running(self) -> list[str]:
        """Return the sessions in mid-turn, once there are some."""
        give_up = time.monotonic() + _LOOK_FOR_S
        while True:
            running = await self._database.read(sessions_in_turns)
            if running or time.monotonic() > give_up:
                return running
            await asyncio.sleep(0.1)

    async def _client(self) -> temporalio.client.Client:
        give_up = time.monotonic() + _CONNECT_S
        while True:
            try:
                return await temporalio.client.Client.connect(self._temporal_address)
            except RuntimeError:
                if time.monotonic() > give_up:
                    raise
                await asyncio.sleep(0.2)

    async def _wipe(self, strike: Strike) -> None:
        """Stop Temporal and start it with an empty database."""
        (temporal,) = strike.victims
        await asyncio.to_thread(self._parts[temporal].part.stop)
        await self._note_sending()
        for path in self._temporal_files.glob("temporal.db*"):
            path.unlink()
        self._parts.start(strike.victims)
        self.others["Temporal's database deleted"] += 1

    async def _restart_database(self, strike: Strike) -> None:
        self.in_sending.update(await self._database.read(turns_in_sending))
        await self._database.stop()
        await asyncio.sleep(strike.down_s)
        await self._database.start()
        self.in_sending.update(await self._database.read(turns_in_sending))
        self._parts.last_start = time.monotonic()
        self.others["database stopped at once"] += 1


async def _terminated(client: temporalio.client.Client, session_id: str) -> bool:
    """Terminate a session's workflow; False if none runs: it has ended meanwhile, or waits to be started again."""
    try:
        await client.get_workflow_handle(session_id).terminate("chaos")
    except RPCError:
        return False
    return True

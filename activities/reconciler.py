"""The reconciler: wakes every session that owes work and has not moved, whatever the cause.

It reads SQL only, so that a lost signal, a workflow ended by hand, or Temporal's database gone all look alike to it.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from functools import partial

import sqlalchemy as sa
import structlog
from sqlalchemy.engine import Connection
from temporalio.service import RPCError

from activities.adapters import Adapters
from protocol.ids import new_id
from store import leases, owed
from store.engine import Store
from store.repositories.runtimes import release_held
from store.tables import sessions
from temporal_client.waking import Waker, Waking
from workflows.messages import WAKE

_log = structlog.get_logger()
_LEASE = "reconciler"
_BATCH = 500
_AT_ONCE = 16
_CHECK_HELD_EVERY_S = 60.0


class Reconciler:
    """A loop in the worker process, under a lease in SQL."""

    def __init__(self, store: Store, waker: Waker, adapters: Adapters, *, interval_s: float, after_s: float) -> None:
        self._store = store
        self._waker = waker
        self._adapters = adapters
        self._interval_s = interval_s
        self._after_us = int(after_s * 1e6)
        self._holder = new_id("rec")
        self._task: asyncio.Task[None] | None = None
        self._next_check = 0.0

    def start(self) -> None:
        """Begin to look."""
        self._task = asyncio.create_task(self._loop(), name="reconciler")

    async def close(self) -> None:
        """Stop looking and give the lease back."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            await self._store.write(partial(leases.release, name=_LEASE, holder=self._holder))

    async def _loop(self) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            try:
                await self.look()
            except Exception as error:  # noqa: BLE001 - the loop must outlive the database and Temporal
                _log.warning("reconcile_failed", error=type(error).__name__)

    async def look(self) -> int:
        """Wake what is stale, if this process holds the lease; return how many sessions were woken."""
        length_s = max(self._interval_s * 5, 5.0)
        if not await self._store.write(partial(leases.take, name=_LEASE, holder=self._holder, length_s=length_s)):
            return 0
        found = await self._store.read(partial(owed.stale, after_us=self._after_us, limit=_BATCH))
        slots = asyncio.Semaphore(_AT_ONCE)
        woken = await asyncio.gather(*(self._wake(row, slots) for row in found))
        if found:
            _log.info("reconciled", stale=len(found), woken=sum(woken))
        await self._check_held()
        return sum(woken)

    async def _wake(self, row: dict[str, str], slots: asyncio.Semaphore) -> bool:
        """Start the workflow unless it runs; a running one is told only of intents."""
        intent = bool(row.pop("intent"))
        async with slots:
            try:
                await self._waker.start_workflow(Waking(**row), WAKE if intent else None)
            except (RPCError, RuntimeError) as error:
                _log.warning("wake_failed", session_id=row["session_id"], error=type(error).__name__)
                return False
        return True

    async def _check_held(self) -> None:
        """Let queues move again whose runtime passes its check: somebody has mended the credential."""
        now = asyncio.get_running_loop().time()
        if now < self._next_check:
            return
        self._next_check = now + _CHECK_HELD_EVERY_S
        for runtime_id in await self._store.read(_held_runtimes):
            runtime = await self._adapters.get(runtime_id)
            if (await runtime.check()).ok:
                for session_id in await self._store.write(partial(release_held, runtime_id=runtime_id)):
                    self._waker.wake(session_id)


def _held_runtimes(db: Connection) -> Sequence[str]:
    return list(db.execute(sa.select(sessions.c.runtime_id).where(sessions.c.held.is_not(None)).distinct()).scalars())

"""The sweep: removes the bytes of what was deleted, has expired, or was never finished."""

import asyncio
import contextlib
from functools import partial

import structlog

from protocol.ids import new_id
from store import leases
from store.blobs import Blobs
from store.engine import Store
from store.repositories import blobs as rows

_log = structlog.get_logger()
_LEASE = "blob_sweep"
_BATCH = 100


class BlobSweep:
    """A loop in the worker process, under a lease in SQL."""

    def __init__(self, store: Store, blobs: Blobs, *, interval_s: float = 60.0) -> None:
        self._store = store
        self._blobs = blobs
        self._interval_s = interval_s
        self._holder = new_id("swp")
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to sweep."""
        self._task = asyncio.create_task(self._loop(), name="blob-sweep")

    async def close(self) -> None:
        """Stop sweeping and give the lease back."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            await self._store.write(partial(leases.release, name=_LEASE, holder=self._holder))

    async def _loop(self) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            try:
                await self.sweep()
            except Exception as error:  # noqa: BLE001 - the loop must outlive the database and the blob store
                _log.warning("blob_sweep_failed", error=type(error).__name__)

    async def sweep(self) -> int:
        """Remove what is due, if this process holds the lease; return how many blobs were removed."""
        length_s = self._interval_s * 5
        if not await self._store.write(partial(leases.take, name=_LEASE, holder=self._holder, length_s=length_s)):
            return 0
        while await self._store.write(partial(rows.expire_files, limit=_BATCH)) == _BATCH:
            pass
        removed = 0
        while taken := await self._store.write(partial(rows.take_removable, limit=_BATCH)):
            for blob_id in taken:
                await self._blobs.delete(blob_id)
                await self._store.write(partial(rows.forget_blob, blob_id=blob_id))
            removed += len(taken)
        await self._blobs.sweep()
        return removed

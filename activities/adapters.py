"""The adapters of registered runtimes, one instance each in a process, renewed when the registration changes."""

import asyncio
import time
from dataclasses import dataclass
from functools import partial
from typing import Any

import sqlalchemy as sa
from pydantic import SecretStr
from sqlalchemy.engine import Connection as Db

from activities.laying import takes_resources
from runtimes.base import Connection, Runtime
from runtimes.registry import adapter
from security.vault import Vault
from store.engine import Store
from store.tables import runtimes

_TRUSTED_S = 2.0


class RuntimeGoneError(Exception):
    """The runtime is no longer registered."""


@dataclass(slots=True)
class _Held:
    runtime: Runtime
    revision: int
    checked: float


class Adapters:
    """Opens adapters by runtime id. A registration that changed is seen after two seconds at most."""

    def __init__(self, store: Store, vault: Vault) -> None:
        self._store = store
        self._vault = vault
        self._held: dict[str, _Held] = {}
        self._old: list[Runtime] = []
        self._opening = asyncio.Lock()

    async def get(self, runtime_id: str) -> Runtime:
        """Return the runtime's adapter.

        Raises:
            RuntimeGoneError: it is not registered.
            SealError: its credential cannot be opened.
        """
        held = self._held.get(runtime_id)
        if held is not None and time.monotonic() - held.checked < _TRUSTED_S:
            return held.runtime
        async with self._opening:
            return await self._renew(runtime_id)

    def keyed(self) -> dict[str, float]:
        """Return the runtimes in use that take an idempotency key, with the seconds a send to them may take."""
        return {
            runtime_id: held.runtime.capabilities.send_timeout_s
            for runtime_id, held in self._held.items()
            if held.runtime.capabilities.reconcile == "key" and not takes_resources(held.runtime.capabilities)
        }

    async def _renew(self, runtime_id: str) -> Runtime:
        row = await self._store.read(partial(_read, runtime_id=runtime_id))
        if row is None:
            raise RuntimeGoneError(runtime_id)
        held = self._held.get(runtime_id)
        if held is None or held.revision != row["revision"]:
            if held is not None:
                # Turns still follow streams of the old instance; it is closed with the process.
                self._old.append(held.runtime)
            held = self._held[runtime_id] = _Held(self._open(row), row["revision"], 0.0)
        held.checked = time.monotonic()
        return held.runtime

    def _open(self, row: Any) -> Runtime:
        credential = None
        if row["credential"] is not None:
            credential = SecretStr(self._vault.open(row["credential"], row["workspace_id"], row["id"]))
        return adapter(row["kind"])(Connection(row["id"], row["base_url"], credential, row["options"]))

    async def close(self) -> None:
        """Close every adapter."""
        for runtime in [*self._old, *(held.runtime for held in self._held.values())]:
            await runtime.close()


def _read(db: Db, runtime_id: str) -> Any:
    return db.execute(sa.select(runtimes).where(runtimes.c.id == runtime_id)).mappings().one_or_none()

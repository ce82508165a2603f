"""The database under a run: a file beside the other state, or a PostgreSQL server of the run's own."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeVar

import asyncpg
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from store.engine import Store, open_store
from tests.conftest import PostgresCluster

T = TypeVar("T")
Name = Literal["sqlite", "postgresql"]

_AWAY = (sa.exc.SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError)
_PATIENCE_S = 60.0
_RETRY_S = 0.1


class Database:
    """A SQLite file."""

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:///{folder}/waystation.db"
        self._store: Store | None = None

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` on one consistent snapshot, and wait for the database if it is away."""
        if self._store is None:
            self._store = open_store(self.url)
        give_up = asyncio.get_running_loop().time() + _PATIENCE_S
        while True:
            try:
                return await self._store.read(work)
            except _AWAY:
                if asyncio.get_running_loop().time() > give_up:
                    raise
                await asyncio.sleep(_RETRY_S)

    async def stop(self) -> None:
        """Stop it at once, as a crash would."""
        raise NotImplementedError("SQLite is no process that could be stopped")

    async def start(self) -> None:
        """Start it again."""
        raise NotImplementedError("SQLite is no process that could be started")

    async def close(self) -> None:
        """Close our own connections, and end what was started for the run."""
        if self._store is not None:
            await self._store.close()


class PostgresDatabase(Database):
    """A database on a server of its own."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._cluster = PostgresCluster()
        self._cluster.start()
        self.url = self._cluster.create_database()

    async def stop(self) -> None:
        await asyncio.to_thread(self._cluster.stop, "immediate")

    async def start(self) -> None:
        await asyncio.to_thread(self._cluster.start)

    async def close(self) -> None:
        await super().close()
        await asyncio.to_thread(self._cluster.remove)


def open_database(name: Name, folder: Path) -> Database:
    """Return a new, empty database."""
    return PostgresDatabase(folder) if name == "postgresql" else Database(folder)

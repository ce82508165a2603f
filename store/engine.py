"""The database, as two verbs: `read` and `write`, each running one plain function in one transaction.

The functions that run inside are synchronous and take a SQLAlchemy `Connection`; the same function serves SQLite and
PostgreSQL. No network but the database's own may happen inside. A function may run and its commit still fail: then the
call raises, and nothing it did is there. A caller that is cancelled does not cancel the transaction.
"""

import abc
import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import local
from typing import TypeVar

import sqlalchemy as sa
from pydantic_core import from_json, to_json
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from store.sqlite_writer import SqliteWriter, driver_of, sqlite_engine

T = TypeVar("T")


def dump_json(value: object) -> str:
    """Serialise a JSON column."""
    return to_json(value).decode()


class Store(abc.ABC):
    """A database, open."""

    dialect: str
    url: str

    @abc.abstractmethod
    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a transaction of its own, commit, and return its result. An error rolls it back."""

    @abc.abstractmethod
    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` on one consistent snapshot and return its result."""

    @abc.abstractmethod
    async def close(self) -> None:
        """Finish what was submitted and close every connection."""


class SqliteStore(Store):
    """SQLite in WAL mode, synchronous=FULL: one writer thread that groups commits, and a few readers."""

    dialect = "sqlite"
    _READERS = 4

    def __init__(self, url: str) -> None:
        self.url = url
        self._engine = sqlite_engine(url, dump_json, from_json)
        self._writer = SqliteWriter(self._engine)
        self._readers = ThreadPoolExecutor(self._READERS, thread_name_prefix="store-read")
        self._local = local()

    async def write(self, work: Callable[[Connection], T]) -> T:
        return await asyncio.shield(self._writer.submit(work))

    async def read(self, work: Callable[[Connection], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, work)

    def _read(self, work: Callable[[Connection], T]) -> T:
        connection: Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._engine.connect()
        begun = driver_of(connection)
        begun.execute("BEGIN")
        try:
            return work(connection)
        finally:
            begun.execute("ROLLBACK")

    async def close(self) -> None:
        await asyncio.to_thread(self._writer.close)
        self._readers.shutdown()
        self._engine.dispose()


class PostgresStore(Store):
    """PostgreSQL through asyncpg; one pooled connection for the length of one transaction."""

    dialect = "postgresql"

    def __init__(self, url: str, pool_size: int = 20) -> None:
        self.url = url
        self._engine: AsyncEngine = create_async_engine(
            sa.make_url(url).set(drivername="postgresql+asyncpg"),
            pool_size=pool_size,
            max_overflow=0,
            hide_parameters=True,
            json_serializer=dump_json,
            json_deserializer=from_json,
        )

    async def write(self, work: Callable[[Connection], T]) -> T:
        return await asyncio.shield(asyncio.ensure_future(self._run(work)))

    async def _run(self, work: Callable[[Connection], T]) -> T:
        async with self._engine.begin() as connection:
            return await connection.run_sync(work)

    async def read(self, work: Callable[[Connection], T]) -> T:
        async with self._engine.connect() as connection:
            return await connection.run_sync(work)

    async def close(self) -> None:
        await self._engine.dispose()


def open_store(url: str) -> Store:
    """Open the database at a `sqlite:///…` or `postgresql://…` address.

    Raises:
        ValueError: the address names another database.
    """
    backend = sa.make_url(url).get_backend_name()
    if backend == "sqlite":
        return SqliteStore(url)
    if backend == "postgresql":
        return PostgresStore(url)
    raise ValueError(f"database_url must begin with sqlite:/// or postgresql://, not {backend}://")

"""SQLite's one writer: a thread that commits whatever has queued up as one group, each piece under its own savepoint.

A commit costs a sync of the disk; grouped, many pieces of work share it. A piece that fails is rolled back alone.
"""

import asyncio
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

T = TypeVar("T")

_GROUP = 128
_BUSY_LIMIT_S = 30.0
_BUSY_STEP_S = 0.0005


def sqlite_engine(url: str, serialise: Callable[[object], str], deserialise: Callable[[str], object]) -> Engine:
    """Return an engine whose connections are in autocommit mode; transactions are begun by hand."""
    engine = sa.create_engine(
        url,
        isolation_level="AUTOCOMMIT",
        hide_parameters=True,
        connect_args={"check_same_thread": False, "timeout": _BUSY_LIMIT_S},
        json_serializer=serialise,
        json_deserializer=deserialise,
    )

    @sa.event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, _record: object) -> None:
        # The first of all must wait for others that open a new file as well: here SQLite itself does not.
        _patiently(connection, "PRAGMA journal_mode=WAL")
        for pragma in ("synchronous=FULL", "foreign_keys=ON", "cache_size=-32768"):
            connection.execute(f"PRAGMA {pragma}")

    return engine


def driver_of(connection: Connection) -> sqlite3.Connection:
    """Return the driver's own connection: transactions are begun and ended there, at a tenth of the cost."""
    driver: sqlite3.Connection = connection.connection.driver_connection  # type: ignore[assignment]
    return driver


class _Job:
    __slots__ = ("error", "future", "result", "work")

    def __init__(self, work: Callable[[Connection], Any], future: "asyncio.Future[Any]") -> None:
        self.work = work
        self.future = future
        self.result: Any = None
        self.error: BaseException | None = None


class SqliteWriter:
    """Runs submitted work in order, in grouped transactions."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="store-write", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[Connection], T]) -> "asyncio.Future[T]":
        """Queue `work`; the future has its result once the group it went into is committed."""
        job = _Job(work, asyncio.get_running_loop().create_future())
        self._queue.put(job)
        return job.future

    def close(self) -> None:
        """Commit what is queued and end the thread."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        with self._engine.connect() as connection:
            driver_of(connection).execute("PRAGMA busy_timeout=0")
            ending = False
            while not ending:
                group, ending = self._next_group()
                if group:
                    self._commit_group(connection, group)
                    _resolve(group)

    def _next_group(self) -> tuple[list[_Job], bool]:
        group: list[_Job] = []
        job = self._queue.get()
        while job is not None:
            group.append(job)
            if len(group) == _GROUP:
                return group, False
            try:
                job = self._queue.get_nowait()
            except queue.Empty:
                return group, False
        return group, True

    def _commit_group(self, connection: Connection, group: list[_Job]) -> None:
        driver = driver_of(connection)
        try:
            # SQLite's own waiting sleeps up to 100 ms at a time, which a short group need not.
            _patiently(driver, "BEGIN IMMEDIATE")
            try:
                for job in group:
                    _run_job(connection, driver, job)
                driver.execute("COMMIT")
            except sqlite3.Error:
                driver.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            for job in group:
                job.error = job.error or sa.exc.DBAPIError.instance(None, None, error, sqlite3.Error)


def _patiently(driver: sqlite3.Connection, statement: str) -> None:
    """Run a statement that takes a lock, again and again while another connection holds it."""
    give_up = time.monotonic() + _BUSY_LIMIT_S
    while True:
        try:
            driver.execute(statement)
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > give_up:
                raise
            time.sleep(_BUSY_STEP_S)


def _run_job(connection: Connection, driver: sqlite3.Connection, job: _Job) -> None:
    driver.execute("SAVEPOINT job")
    try:
        job.result = job.work(connection)
    except BaseException as error:  # noqa: BLE001 - handed to whoever submitted it
        job.error = error
        driver.execute("ROLLBACK TO job")
    driver.execute("RELEASE job")


def _resolve(group: list[_Job]) -> None:
    by_loop: dict[asyncio.AbstractEventLoop, list[_Job]] = {}
    for job in group:
        by_loop.setdefault(job.future.get_loop(), []).append(job)
    for loop, jobs in by_loop.items():
        if loop.is_closed():
            continue
        loop.call_soon_threadsafe(_settle, jobs)


def _settle(jobs: list[_Job]) -> None:
    for job in jobs:
        if job.future.done():
            continue
        if job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.result)

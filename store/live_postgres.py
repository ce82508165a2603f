"""The bus of processes that share a PostgreSQL database: NOTIFY and LISTEN on one connection a process.

The connection is direct, outside the pool: a pooler between would lose the LISTEN. A NOTIFY is a transaction of its
own, because inside a writing one it makes commits wait for each other.
"""

import asyncio
import random
from typing import Any, Final

import asyncpg
import sqlalchemy as sa
import structlog

from store.engine import Store
from store.live_bus import STORE_ERRORS, LiveBus

_log = structlog.get_logger()

APPLICATION_NAME: Final = "waystation-live"
"""As which the connection is listed in `pg_stat_activity`."""
_CHANNEL: Final = "waystation_live"
_NOTIFY: Final = "SELECT pg_notify($1, packet) FROM unnest($2::text[]) AS packet"
_BACK_OFF_S: Final = (0.1, 5.0)
_TIMEOUT_S: Final = 5.0
_IDLE_S: Final = 15.0
"""After so long without a word of ours the connection is asked whether it still lives."""


def connect_arguments(url: str) -> dict[str, Any]:
    """Return what `asyncpg.connect` takes for a database address, as the pool's connections take it."""
    address = sa.make_url(url).set(drivername="postgresql+asyncpg")
    _, arguments = address.get_dialect()().create_connect_args(address)
    for name in ("prepared_statement_cache_size", "prepared_statement_name_func", "async_fallback", "server_settings"):
        arguments.pop(name, None)
    return dict(arguments)


class PostgresBus(LiveBus):
    """Connects in the background and again whenever the connection breaks; until then the safety poll serves."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._ready = asyncio.Event()
        self._connection: asyncpg.Connection[Any] | None = None

    async def _open(self) -> None:
        connected = asyncio.Event()
        self._tasks.append(asyncio.create_task(self._connect_forever(connected), name="live-postgres"))
        await connected.wait()

    async def _shut(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None or connection.is_closed():
            return
        try:
            await self._notify(connection)
            await connection.close(timeout=_TIMEOUT_S)
        except STORE_ERRORS:
            connection.terminate()

    def _outgoing(self) -> None:
        self._ready.set()

    async def _connect_forever(self, tried: asyncio.Event) -> None:
        delay = _BACK_OFF_S[0]
        while True:
            try:
                connection = await self._connect()
                delay = _BACK_OFF_S[0]
                tried.set()
                await self._serve(connection)
            except STORE_ERRORS as error:
                _log.warning("live_connection_broken", error=type(error).__name__)
            self._drop_connection()
            tried.set()
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))
            delay = min(delay * 2, _BACK_OFF_S[1])

    async def _connect(self) -> "asyncpg.Connection[Any]":
        connection = await asyncpg.connect(
            **connect_arguments(self._store.url),
            timeout=_TIMEOUT_S,
            server_settings={"application_name": APPLICATION_NAME},
        )
        try:
            await connection.add_listener(_CHANNEL, self._heard)
        except BaseException:
            connection.terminate()
            raise
        connection.add_termination_listener(self._ended)
        self._connection = connection
        self._poll_now.set()
        return connection

    def _drop_connection(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
        self._outbox.clear()

    def _ended(self, _connection: object) -> None:
        self._ready.set()

    def _heard(self, _connection: object, _process: int, _channel: str, packet: object) -> None:
        self._receive(str(packet))

    async def _serve(self, connection: "asyncpg.Connection[Any]") -> None:
        while not connection.is_closed():
            try:
                async with asyncio.timeout(_IDLE_S):
                    await self._ready.wait()
            except TimeoutError:
                await connection.execute("SELECT 1", timeout=_TIMEOUT_S)
            self._ready.clear()
            await self._notify(connection)
        raise ConnectionResetError("the live connection was closed")

    async def _notify(self, connection: "asyncpg.Connection[Any]") -> None:
        packets = [packet.decode() for packet in self._take_packets()]
        if packets:
            await connection.execute(_NOTIFY, _CHANNEL, packets, timeout=_TIMEOUT_S)

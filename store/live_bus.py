"""The live bus: tells every process at once that a session's log has grown, and shows what is being made.

What it tells are hints, and they may be lost: subscribe first, then read the log. One safety poll per process, every
second and after each reconnect, finds whatever was not told. All methods belong to the event loop it was started on.
"""

import abc
import asyncio
import json
import secrets
from collections.abc import Callable, Iterable
from typing import Any, Final

import asyncpg
import sqlalchemy as sa
import structlog

from store.engine import Store
from store.live_poll import poll_sessions
from store.live_previews import Previews
from store.live_watch import Hint, Json, Preview, Watch

_log = structlog.get_logger()

_POLL_S: Final = 1.0
PACKET_BYTES: Final = 7900
"""Most bytes of one packet: PostgreSQL takes notifications below 8,000."""
STORE_ERRORS: Final = (sa.exc.SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError)
"""What a database that is away, or not yet ready, raises."""


class LiveBus(abc.ABC):
    """Announcements and previews between the parts of a process directly, and between processes by packets."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._name = secrets.token_hex(6)
        self._watches: dict[str, set[Watch]] = {}
        self._previews = Previews(self._emit)
        self._outbox: dict[str, list[Hint]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._poll_now = asyncio.Event()

    async def start(self) -> None:
        """Begin to send, receive and poll."""
        await self._open()
        self._tasks.append(asyncio.create_task(self._poll_forever(), name="live-poll"))

    async def close(self) -> None:
        """Send what is held back, and end."""
        self._previews.flush_all()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        await self._shut()

    def announce(self, session_id: str, seq: int) -> None:
        """Tell that the session's log has reached `seq`, or that something else of the session changed in SQL.

        To be called after the commit; returns at once. Previews made before are shown before.
        """
        self._previews.flush(session_id)
        self._emit(session_id, seq)

    def preview(self, session_id: str, events: Iterable[Json]) -> None:
        """Show `event_start` and `event_delta` events to whoever asked for them; they are not stored."""
        self._previews.add(session_id, events)

    def watch(self, session_id: str, wake: Callable[[], None] | None = None) -> Watch:
        """Be told of a session until the watch is closed; `wake` is called at each hint."""
        watch = Watch(session_id, self._unwatch, wake)
        self._watches.setdefault(session_id, set()).add(watch)
        return watch

    def _unwatch(self, watch: Watch) -> None:
        watches = self._watches.get(watch.session_id, set())
        watches.discard(watch)
        if not watches:
            self._watches.pop(watch.session_id, None)

    def _emit(self, session_id: str, hint: Hint) -> None:
        self._tell(session_id, hint)
        pending = self._outbox.setdefault(session_id, [])
        if pending and isinstance(hint, int) and isinstance(pending[-1], int):
            pending[-1] = max(pending[-1], hint)
        else:
            pending.append(hint)
        self._outgoing()

    def _tell(self, session_id: str, hint: Hint) -> None:
        for watch in self._watches.get(session_id, ()):
            watch.push(hint)

    def _take_packets(self) -> list[bytes]:
        """Return what is to be sent, oldest first for each session, and forget it."""
        outbox, self._outbox = self._outbox, {}
        return _pack(self._name, outbox)

    def _receive(self, packet: bytes | str) -> None:
        """Pass on what another process sent; what is not a packet is left alone, as is what this process sent."""
        try:
            sender, items = json.loads(packet)
        except ValueError:
            _log.warning("live_packet_unreadable")
            return
        if sender == self._name:
            return
        for session_id, hint in items:
            if session_id in self._watches:
                self._tell(session_id, hint if isinstance(hint, int) else [Preview(*hint)])

    async def _poll_forever(self) -> None:
        failing = False
        while True:
            try:
                async with asyncio.timeout(_POLL_S):
                    await self._poll_now.wait()
            except TimeoutError:
                pass
            self._poll_now.clear()
            try:
                await self._poll()
                failing = False
            except STORE_ERRORS as error:
                if not failing:
                    _log.warning("live_poll_failed", error=type(error).__name__)
                failing = True

    async def _poll(self) -> None:
        if not self._watches:
            return
        version = await self._version()
        if not self._is_new(version):
            return
        await poll_sessions(self._store, self._watches)
        self._polled(version)

    async def _version(self) -> int | None:
        """Return what changes whenever the database does, or None where nothing cheap tells."""
        return None

    def _is_new(self, version: int | None) -> bool:
        return True

    def _polled(self, version: int | None) -> None:
        return

    @abc.abstractmethod
    async def _open(self) -> None:
        """Connect to the other processes."""

    @abc.abstractmethod
    async def _shut(self) -> None:
        """Send what is in the outbox if that is quick, and disconnect."""

    @abc.abstractmethod
    def _outgoing(self) -> None:
        """Something was put into the outbox: see that it is sent soon."""


def _pack(sender: str, outbox: dict[str, list[Hint]]) -> list[bytes]:
    head, tail = f'["{sender}",['.encode(), b"]]"
    packets: list[bytes] = []
    body = b""
    for item in _items(outbox):
        if body and len(head) + len(body) + len(item) + len(tail) + 1 > PACKET_BYTES:
            packets.append(head + body + tail)
            body = b""
        body = body + b"," + item if body else item
    if body:
        packets.append(head + body + tail)
    return packets


def _items(outbox: dict[str, list[Hint]]) -> Iterable[bytes]:
    for session_id, hints in outbox.items():
        for hint in hints:
            parts: Iterable[Any] = [hint] if isinstance(hint, int) else hint
            for part in parts:
                yield json.dumps([session_id, part], separators=(",", ":")).encode()

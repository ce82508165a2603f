"""The two sides of a comparison: sessions of the product, and those of the baseline, driven by the same client.

A side tells of a turn's end the moment it is known to the process that ran it, by a datagram: the product by its own
live bus, of which this process is one more member, the baseline by the like. So the client costs both sides the same.
"""

import abc
import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import httpx2

from runtimes.scripted.connections import Connections, tls
from tests.stack import Part

TURN_LIMIT_S: Final = 60.0


async def in_turns(calls: Sequence[Callable[[], Awaitable[object]]], at_once: int) -> None:
    """Make calls, so many at once."""
    waiting = iter(calls)

    async def work() -> None:
        for call in waiting:
            await call()

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(work())


class Session:
    """One session: how many of its turns have ended, and a way to wait for the next end."""

    def __init__(self, id_: str, native: str = "") -> None:
        self.id = id_
        self.native = native
        self.ended = 0
        self._event = asyncio.Event()

    def end(self, count: int) -> None:
        """Note that so many turns have ended."""
        if count > self.ended:
            self.ended = count
            self._event.set()

    async def wait(self, count: int) -> None:
        """Wait until so many turns have ended.

        Raises:
            TimeoutError: none has for a minute.
        """
        while self.ended < count:
            self._event.clear()
            async with asyncio.timeout(TURN_LIMIT_S):
                await self._event.wait()


class Side(abc.ABC):
    """Opens sessions, sends messages to them, and says how its processes are called."""

    name: str
    parts: dict[str, Part]

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        self.http = httpx2.AsyncClient(
            base_url=url, headers=headers, transport=Connections(), verify=tls(), trust_env=False, timeout=30.0
        )

    @abc.abstractmethod
    async def open(self) -> Session:
        """Open a session."""

    @abc.abstractmethod
    async def send(self, session: Session, text: str) -> None:
        """Send a message: one POST."""

    async def turn(self, session: Session, text: str) -> None:
        """Send a message and wait for the end of its turn."""
        count = session.ended + 1
        await self.send(session, text)
        await session.wait(count)

    async def close(self) -> None:
        """Close the connections."""
        await self.http.aclose()

"""The two sides of a comparison: sessions of the product, and those of the baseline, driven by the same client.

A side tells of a turn's end the moment it is known to the process that ran it, by a datagram: the product by its own live
bus, of which this process is one more member, the baseline by the like. So the client costs both sides the same.
"""

import abc
import asyncio
import secrets
import socket
from pathlib import Path
from typing import Any, Final

import httpx2

from benchmarks.baseline.messages import WORKFLOW, WORKFLOWS_QUEUE, Talk
from benchmarks.baseline.processes import Baseline
from runtimes.scripted.connections import Connections, tls
from store.live import LiveBus
from tests.stack import Part, Stack

TURN_LIMIT_S: Final = 60.0


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
            TimeoutError: they do not.
        """
        async with asyncio.timeout(TURN_LIMIT_S):
            while self.ended < count:
                self._event.clear()
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


class ProductSide(Side):
    """Sessions through the public API."""

    name = "product"

    def __init__(self, stack: Stack, live: LiveBus) -> None:
        super().__init__(stack.url, {"authorization": f"Bearer {stack.key}"})
        self.parts = {"api": stack.api, "worker": stack.worker}
        self._stack = stack
        self._live = live
        self._agent = ""
        self._environment = ""
        self._frames = 0
        """Frames that an echo adds to the log of an open session."""

    async def prepare(self) -> None:
        """Make an agent, and count the frames of a turn."""
        self._agent = await self._stack.make_agent()
        listed = (await self.http.get("/v1/environments")).raise_for_status().json()
        self._environment = listed["data"][0]["id"]
        self._frames = await self._count_frames()

    async def _count_frames(self) -> int:
        session = await self.create()
        await self.send(session, "one two")
        while True:
            events = (await self.http.get(f"/v1/sessions/{session.id}/events")).raise_for_status().json()["data"]
            if events and events[-1]["type"] == "session.status_idle":
                return len(events) + 1  # the message has two: queued, and processed
            await asyncio.sleep(0.05)

    async def create(self, **extra: Any) -> Session:
        """Create a session that nobody watches."""
        body = {"agent": self._agent, "environment_id": self._environment, **extra}
        made = (await self.http.post("/v1/sessions", json=body)).raise_for_status().json()
        return Session(made["id"])

    async def open(self) -> Session:
        session = await self.create()
        self.watch(session)
        return session

    def watch(self, session: Session, seq: int = 0) -> None:
        """Be told of the ends of the turns that begin after `seq`; each is an echo, and begins after the last has ended."""

        def look() -> None:
            session.end((watch.seq - seq) // self._frames)

        watch = self._live.watch(session.id, look)

    async def send(self, session: Session, text: str) -> None:
        event = {"type": "user.message", "content": [{"type": "text", "text": text}]}
        answer = await self.http.post(f"/v1/sessions/{session.id}/events", json={"events": [event]})
        answer.raise_for_status()


class BareSide(Side):
    """Sessions of the baseline."""

    name = "baseline"

    def __init__(self, baseline: Baseline, told: Path) -> None:
        super().__init__(baseline.url, {})
        self.parts = {"api": baseline.api, "worker": baseline.worker}
        self._baseline = baseline
        self._told = told
        self._sessions: dict[str, Session] = {}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._scripted = httpx2.AsyncClient(base_url=baseline.stack.scripted.url, verify=tls(), trust_env=False)

    async def prepare(self) -> None:
        """Listen for ends."""
        self._temporal = await self._baseline.temporal()
        self._socket.setblocking(False)
        self._socket.bind(str(self._told))
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._readable)

    def _readable(self) -> None:
        while True:
            try:
                session = self._sessions[self._socket.recv(200).decode()]
            except BlockingIOError:
                return
            session.end(session.ended + 1)

    async def open(self) -> Session:
        opened = (await self._scripted.post("/sessions", json={})).raise_for_status().json()
        session = Session(f"bare-{secrets.token_hex(6)}", opened["session_id"])
        self._sessions[session.id] = session
        talk = Talk(session.id, session.native, self._baseline.stack.scripted.url, str(self._told))
        await self._temporal.start_workflow(WORKFLOW, talk, id=session.id, task_queue=WORKFLOWS_QUEUE)
        return session

    async def send(self, session: Session, text: str) -> None:
        answer = await self.http.post(f"/sessions/{session.id}/messages", json={"text": text})
        answer.raise_for_status()

    async def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._socket.close()
        await self._scripted.aclose()
        await super().close()

"""The product's side: sessions through the public API."""

import asyncio
from typing import Any

from benchmarks.sides import Session, Side
from store.live import LiveBus
from tests.stack import Stack


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
        """Be told of the ends of turns that begin after `seq`: echoes, each sent after the last has ended."""

        def look() -> None:
            session.end((watch.seq - seq) // self._frames)

        watch = self._live.watch(session.id, look)

    async def send(self, session: Session, text: str) -> None:
        event = {"type": "user.message", "content": [{"type": "text", "text": text}]}
        answer = await self.http.post(f"/v1/sessions/{session.id}/events", json={"events": [event]})
        answer.raise_for_status()

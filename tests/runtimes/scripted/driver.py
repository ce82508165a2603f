"""Drives one session of the scripted runtime through its adapter, as the engine would."""

import itertools
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from pydantic import SecretStr

from runtimes.base import (
    Agent,
    Answer,
    Ask,
    Connection,
    Json,
    Message,
    NativeEvent,
    Send,
    Session,
    Snapshot,
    Translated,
    Turn,
)
from runtimes.scripted.runtime import ScriptedRuntime

AGENT = Agent("agent_1", 1, {"name": "demo"})
numbers = itertools.count(1)


def script(*steps: Json) -> str:
    return "please run script: " + json.dumps(steps)


def connect(url: str, token: str | None = None, **options: Any) -> ScriptedRuntime:
    return ScriptedRuntime(Connection("runtime_1", url, SecretStr(token) if token else None, options))


class Driver:
    def __init__(self, runtime: ScriptedRuntime, session: Session) -> None:
        self.runtime = runtime
        self.session = session

    async def prepare(
        self, text: str = "", *, turn_id: str | None = None, answers: Sequence[Answer] = (), timeout_s: float = 5.0
    ) -> Send:
        message = None if answers else Message("sevt_1", [{"type": "text", "text": text}])
        position = await self.runtime.position(self.session)
        return Send(turn_id or f"turn_{next(numbers)}", timeout_s, message, answers, position)

    async def send(self, send: Send) -> Turn:
        call = self.runtime.respond if send.answers else self.runtime.start_turn
        return Turn(send.turn_id, await call(self.session, send))

    async def start(self, text: str, *, timeout_s: float = 5.0) -> Turn:
        return await self.send(await self.prepare(text, timeout_s=timeout_s))

    async def follow(self, turn: Turn) -> list[NativeEvent]:
        return [event async for event in self.runtime.events(self.session, turn)]

    async def follow_until(self, turn: Turn, kind: str) -> list[NativeEvent]:
        seen = []
        async for event in self.runtime.events(self.session, turn):
            seen.append(event)
            if event.type == kind:
                break
        return seen

    async def run(self, text: str) -> list[NativeEvent]:
        return await self.follow(await self.start(text))

    async def answer(self, *answers: Answer) -> list[NativeEvent]:
        return await self.follow(await self.send(await self.prepare(answers=answers)))

    async def follow_to_the_cut(self, turn: Turn) -> tuple[list[NativeEvent], httpx2.TransportError]:
        """The events until the connection is lost, and how that showed."""
        seen = []
        try:
            async for event in self.runtime.events(self.session, turn):
                seen.append(event)
        except httpx2.TransportError as error:
            return seen, error
        pytest.fail("the stream was not cut")

    async def snapshot(self, turn: Turn) -> Snapshot:
        return await self.runtime.snapshot(self.session, turn)

    def translated(self, events: Sequence[NativeEvent]) -> list[Translated]:
        return [item for event in events for item in self.runtime.translate({}, event).items]

    def asks(self, events: Sequence[NativeEvent]) -> list[Ask]:
        return [item for item in self.translated(events) if isinstance(item, Ask)]


@asynccontextmanager
async def driving(url: str, token: str | None = None, agent: Agent = AGENT, **options: Any) -> AsyncIterator[Driver]:
    runtime = connect(url, token, **options)
    session_id = f"sesn_{next(numbers)}"
    try:
        native = await runtime.open_session(session_id, agent, await runtime.upsert_agent(agent))
        yield Driver(runtime, Session(session_id, agent, native))
    finally:
        await runtime.close()


def kept(events: Sequence[NativeEvent]) -> list[NativeEvent]:
    return [event for event in events if event.type not in ("delta", "heartbeat")]


def kinds(events: Sequence[NativeEvent]) -> list[str]:
    return [event.type for event in kept(events)]


def texts(events: Sequence[NativeEvent], kind: str = "message") -> list[str]:
    return [event.data["text"] for event in events if event.type == kind]


def shown(events: Sequence[NativeEvent]) -> str:
    return "".join(texts(events, "delta"))

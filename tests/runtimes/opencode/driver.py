"""As much of an engine as these tests need: it follows turns, translates, and stores each event once."""

import contextlib
from dataclasses import dataclass, field
from itertools import count

from runtimes.base import (
    Agent,
    Answer,
    Ask,
    Delta,
    End,
    Event,
    Json,
    Message,
    NativeEvent,
    Reference,
    Send,
    Session,
    Turn,
)
from runtimes.opencode.runtime import OpenCodeRuntime

_NUMBERS = count(1)


def toolset(policy: str = "always_allow") -> Json:
    default = {"enabled": True, "permission_policy": {"type": policy}}
    return {"type": "agent_toolset_20260401", "configs": [], "default_config": default}


def an_agent(policy: str = "always_allow", system: str | None = None) -> Agent:
    definition = {"name": "a", "model": {"id": "any"}, "system": system, "tools": [toolset(policy)]}
    return Agent("agent_1", 1, definition)


def a_send(text: str, before: str | None = None) -> Send:
    content = [{"type": "text", "text": text}]
    return Send(f"turn_{next(_NUMBERS)}", 30.0, Message("sevt_1", content), native_before=before)


@dataclass
class Log:
    """What a session has stored: the events by their key and ordinal, in order; and the last turn's end and state."""

    stored: dict[tuple[str, int], Event | Ask] = field(default_factory=dict)
    deltas: list[Delta] = field(default_factory=list)
    state: Json = field(default_factory=dict)
    end: End | None = None

    def take(self, runtime: OpenCodeRuntime, native: NativeEvent) -> None:
        translation = runtime.translate(self.state, native)
        self.state = translation.state
        ordinal = count()
        for item in translation.items:
            if isinstance(item, Event | Ask):
                assert native.key is not None
                self.stored.setdefault((native.key, next(ordinal)), item)
            elif isinstance(item, Delta):
                self.deltas.append(item)
            elif isinstance(item, End):
                self.end = item

    def of(self, kind: str) -> list[Event | Ask]:
        return [item for item in self.stored.values() if item.type == kind]

    def used_by(self, result: Event | Ask) -> Event | Ask:
        reference = result.payload["tool_use_id"]
        assert isinstance(reference, Reference)
        return self.stored[(reference.native_key, reference.ordinal)]

    @property
    def asks(self) -> list[Ask]:
        return [item for item in self.stored.values() if isinstance(item, Ask)]

    @property
    def text(self) -> str:
        return "".join(block["text"] for item in self.of("agent.message") for block in item.payload["content"])


@dataclass
class Conversation:
    """A session on an adapter, its log, and the turn it is in."""

    runtime: OpenCodeRuntime
    session: Session
    log: Log = field(default_factory=Log)
    turn: Turn = field(default_factory=lambda: Turn("", {}))

    async def start(self, text: str) -> None:
        send = a_send(text, await self.runtime.position(self.session))
        self.turn = Turn(send.turn_id, await self.runtime.start_turn(self.session, send))
        self.log.state, self.log.end = {}, None

    async def answer(self, ask: Ask, allow: bool, message: str | None = None) -> None:
        given = Answer("sevt_2", ask.native, "confirmation", allow, message)
        send = Send(f"turn_{next(_NUMBERS)}", 30.0, answers=(given,))
        self.turn = Turn(send.turn_id, await self.runtime.respond(self.session, send))
        self.log.end = None

    async def follow(self) -> Log:
        """Follow until the end, attaching again when the stream ends before."""
        while self.log.end is None:
            async with contextlib.aclosing(self.runtime.events(self.session, self.turn)) as events:  # type: ignore[type-var]
                async for native in events:
                    self.log.take(self.runtime, native)
        return self.log

    async def say(self, text: str) -> Log:
        await self.start(text)
        return await self.follow()


async def converse(runtime: OpenCodeRuntime, agent: Agent) -> Conversation:
    name = f"sesn_{next(_NUMBERS)}"
    native = await runtime.open_session(name, agent, None)
    return Conversation(runtime, Session(name, agent, native))

"""A turn as the engine would drive it: sent, followed over dropped streams, translated, until its end."""

import asyncio
import dataclasses
from typing import Any

from runtimes.base import Ask, Delta, End, Event, Json, Message, NativeEvent, Send, Session, Turn, Vendor
from runtimes.claude_managed_agents.runtime import ClaudeManagedAgentsRuntime

SEND_S = 5.0


@dataclasses.dataclass
class Followed:
    """What a turn became."""

    natives: list[NativeEvent] = dataclasses.field(default_factory=list)
    items: list[Any] = dataclasses.field(default_factory=list)
    state: Json = dataclasses.field(default_factory=dict)
    streams: int = 0

    @property
    def cursor(self) -> str | None:
        return next((native.cursor for native in reversed(self.natives) if native.cursor), None)

    @property
    def types(self) -> list[str]:
        return [item.type for item in self.items if isinstance(item, Event | Ask)]

    @property
    def texts(self) -> list[str]:
        messages = [item for item in self.items if isinstance(item, Event) and item.type == "agent.message"]
        return [block["text"] for message in messages for block in message.payload["content"]]

    @property
    def asks(self) -> list[Ask]:
        return [item for item in self.items if isinstance(item, Ask)]

    @property
    def deltas(self) -> list[Delta]:
        return [item for item in self.items if isinstance(item, Delta)]

    @property
    def vendors(self) -> list[str]:
        return [item.type for item in self.items if isinstance(item, Vendor)]

    @property
    def end(self) -> End:
        ends = [item for item in self.items if isinstance(item, End)]
        assert len(ends) == 1
        return ends[0]


def message(text: str, turn_id: str = "turn_1", native_before: str | None = None, timeout_s: float = SEND_S) -> Send:
    """Return the send of a text."""
    content = [{"type": "text", "text": text}]
    return Send(turn_id, timeout_s, message=Message("sevt_ours", content), native_before=native_before)


async def start(runtime: ClaudeManagedAgentsRuntime, session: Session, text: str) -> Turn:
    """Send a text and return the turn."""
    send = message(text, native_before=await runtime.position(session))
    return Turn(send.turn_id, await runtime.start_turn(session, send))


async def follow(
    runtime: ClaudeManagedAgentsRuntime, session: Session, turn: Turn, state: Json | None = None, streams: int = 5
) -> Followed:
    """Follow a turn to its end, attaching again where a stream ends before."""
    followed = Followed(state=state or {})
    async with asyncio.timeout(15):
        while followed.streams < streams:
            followed.streams += 1
            at = dataclasses.replace(turn, cursor=followed.cursor or turn.cursor)
            async for native in runtime.events(session, at):
                _take(runtime, followed, native)
                if any(isinstance(item, End) for item in followed.items):
                    return followed
    raise AssertionError(f"no end after {followed.streams} streams")


def _take(runtime: ClaudeManagedAgentsRuntime, followed: Followed, native: NativeEvent) -> None:
    followed.natives.append(native)
    translation = runtime.translate(followed.state, native)
    followed.state = translation.state
    followed.items.extend(translation.items)


async def run(runtime: ClaudeManagedAgentsRuntime, session: Session, text: str) -> Followed:
    """Send a text and follow its turn to the end."""
    return await follow(runtime, session, await start(runtime, session, text))

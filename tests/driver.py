"""A user of one session through the official SDK, for tests: sends, waits, and looks at the log."""

import asyncio
import time
from typing import Any

import anthropic

from tests.stack import Stack

Json = dict[str, Any]
QUIET_S = 0.05


class Driver:
    """Drives one session."""

    def __init__(self, stack: Stack, client: anthropic.AsyncAnthropic, session_id: str) -> None:
        self.stack = stack
        self.client = client
        self.id = session_id

    @classmethod
    async def create(cls, stack: Stack, agent_id: str, **extra: Any) -> "Driver":
        """Create a session of the agent."""
        client = stack.sdk
        session = await client.beta.sessions.create(agent=agent_id, environment_id=await environment(client), **extra)
        return cls(stack, client, session.id)

    async def send(self, text: str) -> str:
        """Send a message and return its event's id."""
        sent = await self.client.beta.sessions.events.send(
            self.id, events=[{"type": "user.message", "content": [{"type": "text", "text": text}]}]
        )
        assert sent.data is not None
        return sent.data[0].id

    async def send_event(self, **event: Any) -> None:
        """Send one event of any type."""
        await self.client.beta.sessions.events.send(self.id, events=[event])  # type: ignore[list-item]

    async def interrupt(self) -> None:
        """Interrupt whatever runs."""
        await self.send_event(type="user.interrupt")

    async def events(self) -> list[Any]:
        """Return every event, as lists show them."""
        return [event async for event in await self.client.beta.sessions.events.list(self.id)]

    async def types(self) -> list[str]:
        """Return the types of every event."""
        return [event.type for event in await self.events()]

    async def texts(self) -> list[str]:
        """Return what the agent said."""
        said = [event for event in await self.events() if event.type == "agent.message"]
        return ["".join(block.text for block in event.content) for event in said]

    async def errors(self) -> list[str]:
        """Return the messages of `session.error` events."""
        return [event.error.message for event in await self.events() if event.type == "session.error"]

    async def status(self) -> str:
        """Return the session's status."""
        return (await self.client.beta.sessions.retrieve(self.id)).status

    async def wait_for(self, type_: str, count: int = 1, within_s: float = 30.0) -> list[Any]:
        """Wait until the log holds that many events of a type; return them."""
        end = time.monotonic() + within_s
        while True:
            found = [event for event in await self.events() if event.type == type_]
            if len(found) >= count:
                return found
            if time.monotonic() > end:
                types = await self.types()
                raise TimeoutError(f"{type_} x {count} not seen within {within_s} s, only {types}\n{self._logs()}")
            await asyncio.sleep(QUIET_S)

    async def wait_idle(self, count: int = 1, within_s: float = 30.0) -> Any:
        """Wait until the session was idle that many times; return the last such event."""
        return (await self.wait_for("session.status_idle", count, within_s))[-1]

    def _logs(self) -> str:
        return "\n".join(f"--- {part.name}\n{part.tail(12)}" for part in self.stack.parts if part.name != "temporal")


async def environment(client: anthropic.AsyncAnthropic) -> str:
    """Return the default environment, which every workspace has, and which is the oldest."""
    return [environment.id async for environment in client.beta.environments.list()][-1]


def script(*steps: Json) -> str:
    """Return a message that has the scripted runtime perform these steps."""
    import json

    return f"script: {json.dumps(list(steps))}"

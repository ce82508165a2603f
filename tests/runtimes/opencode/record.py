"""`python -m tests.runtimes.opencode.record`: record what a real OpenCode server says into `recordings/`.

A recording holds what the adapter's reader of a turn was given: events of the stream, and looks at the server. It is
trimmed of events that the reader does not read, and of this machine's folders.
"""

import asyncio
import json
import pathlib
import re
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from pydantic import SecretStr

from runtimes.base import Connection, Json, NativeEvent
from runtimes.opencode.natives import Look, TurnReader
from runtimes.opencode.runtime import OpenCodeRuntime
from runtimes.opencode.testing import OpenCodeServer
from tests.fake_model import FakeModel
from tests.runtimes.opencode.driver import Conversation, an_agent, converse

FOLDER = pathlib.Path(__file__).parent / "recordings"
_READ = frozenset(
    [
        "message.updated",
        "message.part.updated",
        "message.part.delta",
        "session.status",
        "session.idle",
        "session.error",
        "permission.asked",
        "server.heartbeat",
    ]
)


def wait_for(path: pathlib.Path) -> None:
    while not path.exists():
        time.sleep(0.1)


@contextmanager
def recorded(name: str, workspace: str) -> Iterator[None]:
    """Record what every `TurnReader` made within is given."""
    lines: list[Json] = []
    init, event, look = TurnReader.__init__, TurnReader.event, TurnReader.look

    def on_init(self: TurnReader, *given: Any, **named: Any) -> None:
        init(self, *given, **named)
        lines.append({"reader": {"session": self.session, "turn": self.turn, "answered": self.answered}})

    def on_event(self: TurnReader, data: Json) -> tuple[list[NativeEvent], bool]:
        ours = data["properties"].get("sessionID") in (self.session, None)
        if data["type"] in _READ and ours:
            lines.append({"event": data})
        return event(self, data)

    def on_look(self: TurnReader, seen: Look, settled: bool = False) -> list[NativeEvent]:
        data = {"status": seen.status, "messages": seen.messages, "permissions": seen.permissions}
        lines.append({"look": data, "settled": settled})
        return look(self, seen, settled)

    with (
        patch.object(TurnReader, "__init__", on_init),
        patch.object(TurnReader, "event", on_event),
        patch.object(TurnReader, "look", on_look),
    ):
        yield
    text = "".join(json.dumps(line) + "\n" for line in lines).replace(workspace, "/workspaces")
    text = re.sub(r"http://127\.0\.0\.1:\d+", "http://model", text)
    (FOLDER / f"{name}.jsonl").write_text(text)


async def _message(talk: Conversation) -> None:
    await talk.say("THINK:of it\nSLOW:3")


async def _tool(talk: Conversation) -> None:
    await talk.say("RUN:echo out; false")


async def _allow(talk: Conversation) -> None:
    log = await talk.say("RUN:echo first\nRUN:echo second")
    await talk.answer(log.asks[0], allow=True)
    await talk.follow()
    await talk.answer(log.asks[1], allow=True)
    await talk.follow()


async def _deny(talk: Conversation) -> None:
    log = await talk.say("RUN:echo first\nRUN:echo second")
    await talk.answer(log.asks[0], allow=False)
    await talk.follow()


async def _interrupt(talk: Conversation) -> None:
    await talk.start("RUN:touch begun; sleep 60")
    async with asyncio.TaskGroup() as group:
        following = group.create_task(talk.follow())
        shell = asyncio.to_thread(wait_for, pathlib.Path(talk.session.native["directory"]) / "begun")
        await group.create_task(shell)
        await talk.runtime.interrupt(talk.session, talk.turn)
        await following


async def _error(talk: Conversation) -> None:
    await talk.say("FAIL:401")


async def _record(
    runtime: OpenCodeRuntime, name: str, policy: str, scene: Callable[[Conversation], Awaitable[None]]
) -> None:
    talk = await converse(runtime, an_agent(policy))
    await talk.say("hello")
    with recorded(name, runtime.options.workspaces_root):
        await scene(talk)


async def main() -> None:
    folder = pathlib.Path(tempfile.mkdtemp())
    with FakeModel() as model:
        server = OpenCodeServer(folder, model.url)
        await asyncio.to_thread(server.start)
        options = {"workspaces_root": str(folder / "w"), "local_workspaces": True}
        runtime = OpenCodeRuntime(Connection("rt_1", server.url, SecretStr(server.password), options))
        try:
            await _record(runtime, "message", "always_allow", _message)
            await _record(runtime, "tool", "always_allow", _tool)
            await _record(runtime, "allow", "always_ask", _allow)
            await _record(runtime, "deny", "always_ask", _deny)
            await _record(runtime, "interrupt", "always_allow", _interrupt)
            await _record(runtime, "error", "always_allow", _error)
        finally:
            await runtime.close()
            await asyncio.to_thread(server.stop)


if __name__ == "__main__":
    asyncio.run(main())

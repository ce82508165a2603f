"""The clients' answers to what agents ask for."""

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from benchmarks.chaos.databases import Database
from benchmarks.chaos.messages import allows, denial, tool_answer
from benchmarks.chaos.queries import OpenAsk, open_asks

Json = dict[str, Any]
Send = Callable[[str, Sequence[Json]], Awaitable[bool]]
"""Sends events to a session; tells whether they were acknowledged."""

_LOOK_S = 0.4


class Answering:
    """Answers whatever is asked in sessions of ours, after some thought: all at once, or one after the other."""

    def __init__(self, database: Database, send: Send, is_ours: Callable[[str], bool]) -> None:
        self.answered: list[OpenAsk] = []
        """Whose answers were acknowledged."""
        self._database = database
        self._send = send
        self._is_ours = is_ours
        self._known: set[str] = set()
        self._failure: BaseException | None = None
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._task = asyncio.create_task(self._look(), name="answers")

    def check(self) -> None:
        """Raise what has failed, if something has."""
        if self._failure is not None:
            raise self._failure
        if self._task.done():
            self._task.result()

    async def close(self) -> None:
        """Stop answering."""
        tasks = [self._task, *self._under_way.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _look(self) -> None:
        while True:
            for session_id, asked in (await self._database.read(open_asks)).items():
                # What was read may be older than an answer that has been acknowledged meanwhile.
                left = [ask for ask in asked if ask.event_id not in self._known]
                if left and session_id not in self._under_way and self._is_ours(session_id):
                    task = asyncio.create_task(self._answer(session_id, left))
                    self._under_way[session_id] = task
                    task.add_done_callback(partial(self._done, session_id))
            await asyncio.sleep(_LOOK_S)

    def _done(self, session_id: str, task: asyncio.Task[None]) -> None:
        del self._under_way[session_id]
        if not task.cancelled() and (error := task.exception()):
            self._failure = error

    async def _answer(self, session_id: str, asked: Sequence[OpenAsk]) -> None:
        chance = zlib.crc32(asked[0].event_id.encode())
        await asyncio.sleep(chance % 1500 / 1000)
        groups = [asked] if chance % 2 else [[ask] for ask in asked]
        for group in groups:
            if not await self._send(session_id, [_answer_to(ask) for ask in group]):
                return
            self.answered += group
            self._known.update(ask.event_id for ask in group)


def _answer_to(ask: OpenAsk) -> Json:
    if ask.type == "agent.custom_tool_use":
        content = [{"type": "text", "text": tool_answer(ask.token)}]
        return {"type": "user.custom_tool_result", "custom_tool_use_id": ask.event_id, "content": content}
    if allows(ask.token):
        return {"type": "user.tool_confirmation", "tool_use_id": ask.event_id, "result": "allow"}
    return {
        "type": "user.tool_confirmation",
        "tool_use_id": ask.event_id,
        "result": "deny",
        "deny_message": denial(ask.token),
    }

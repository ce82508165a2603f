"""The clients of a run: they send what is planned, answer what is asked, and note what was acknowledged."""

import asyncio
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import httpx2

from benchmarks.chaos.clients import NewSession, RefusedError, Sender, UnansweredError
from benchmarks.chaos.databases import Database
from benchmarks.chaos.messages import Message, Mode, allows, denial, tool_answer
from benchmarks.chaos.plan import Conversation, Request
from benchmarks.chaos.queries import OpenAsk, open_asks
from benchmarks.chaos.viewing import Viewer

Json = dict[str, Any]

_LOOK_S = 0.4


class Progress:
    """How many strikes have begun, for those who wait for one."""

    def __init__(self, steps: int) -> None:
        self._begun = [asyncio.Event() for _ in range(steps)]

    def begin(self, step: int) -> None:
        """Say that a step has begun."""
        self._begun[step].set()

    async def reached(self, step: int) -> None:
        """Wait until a step has begun."""
        await self._begun[step].wait()


@dataclass(slots=True)
class Note:
    """A message as its client knows it. `event_id` is None where it was given with the session's creation."""

    message: Message
    session_id: str
    acknowledged: bool = False
    event_id: str | None = None


@dataclass(slots=True)
class Notes:
    """What all clients know in the end."""

    modes: dict[str, Mode] = field(default_factory=dict)
    """Of each session that was created."""
    sent: dict[str, list[Note]] = field(default_factory=dict)
    """By session, in the order of sending."""
    answered: list[OpenAsk] = field(default_factory=list)
    """Whose answers were acknowledged."""
    refused: list[tuple[str, str]] = field(default_factory=list)
    """Session and reason of what was refused."""
    unanswered: list[str] = field(default_factory=list)
    """Why clients gave requests up. What they asked for may have happened, or not, but not twice."""


class Clients:
    """Everyone who talks during a run."""

    def __init__(
        self,
        database: Database,
        senders: Mapping[bool, Sender],
        http: httpx2.AsyncClient,
        agents: Mapping[Mode, str],
        environment_id: str,
        progress: Progress,
    ) -> None:
        self.notes = Notes()
        self.viewers: dict[str, Viewer] = {}
        self._database = database
        self._senders = senders
        self._http = http
        self._agents = agents
        self._environment_id = environment_id
        self._progress = progress
        self._of_session: dict[str, Sender] = {}
        self._answers: asyncio.Task[None] | None = None
        self._answering: dict[str, asyncio.Task[None]] = {}
        self._answered_ids: set[str] = set()

    async def converse(self, conversation: Conversation) -> None:
        """Hold one conversation's side that sends messages."""
        sender = self._senders[conversation.keyed]
        first, *others = conversation.requests
        await self._wait_for(first)
        initial = first.messages if conversation.initial else ()
        session_id = await self._create(
            sender,
            NewSession(
                agent_id=self._agents[conversation.mode],
                environment_id=self._environment_id,
                title=f"chaos {conversation.number}",
                initial=[_event(message) for message in initial],
            ),
        )
        self._of_session[session_id] = sender
        if conversation.watched:
            self.viewers[session_id] = Viewer(self._http, session_id)
        self.notes.modes[session_id] = conversation.mode
        self.notes.sent[session_id] = [Note(message, session_id, acknowledged=True) for message in initial]
        for request in others if initial else conversation.requests:
            await self._wait_for(request)
            await self._send(session_id, request.messages)

    async def _wait_for(self, request: Request) -> None:
        await self._progress.reached(request.step)
        await asyncio.sleep(request.delay_s)

    async def _create(self, sender: Sender, created: NewSession) -> str:
        while True:
            try:
                return await sender.create(created)
            except UnansweredError as error:
                self.notes.unanswered.append(str(error))

    async def _send(self, session_id: str, messages: Sequence[Message]) -> None:
        notes = [Note(message, session_id) for message in messages]
        self.notes.sent[session_id] += notes
        ids = await self._try(session_id, [_event(message) for message in messages])
        for note, event_id in zip(notes, ids or (), strict=ids is not None):
            note.acknowledged, note.event_id = True, event_id

    async def _try(self, session_id: str, events: Sequence[Json]) -> list[str] | None:
        """Send events and return their ids, or note why they were not acknowledged."""
        try:
            return await self._of_session[session_id].send(session_id, events)
        except RefusedError as error:
            self.notes.refused.append((session_id, str(error)))
        except UnansweredError as error:
            self.notes.unanswered.append(str(error))
        return None

    def start_answering(self) -> None:
        """Answer whatever is asked, from now on."""
        self._answers = asyncio.create_task(self._answer_all(), name="answers")

    def check(self) -> None:
        """Raise what has ended the answering, if something has."""
        if self._answers is not None and self._answers.done():
            self._answers.result()

    async def _answer_all(self) -> None:
        while True:
            for session_id, asked in (await self._database.read(open_asks)).items():
                # What was read may be older than an answer that has been acknowledged meanwhile.
                left = [ask for ask in asked if ask.event_id not in self._answered_ids]
                if left and session_id not in self._answering and session_id in self._of_session:
                    task = asyncio.create_task(self._answer(session_id, left))
                    self._answering[session_id] = task
                    task.add_done_callback(partial(self._answered, session_id))
            await asyncio.sleep(_LOOK_S)

    async def close(self) -> None:
        """Stop answering and watching."""
        for viewer in self.viewers.values():
            await viewer.close()
        tasks = [task for task in (self._answers, *self._answering.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _answered(self, session_id: str, done: asyncio.Task[None]) -> None:
        del self._answering[session_id]
        if not done.cancelled() and (error := done.exception()):
            self.notes.refused.append((session_id, repr(error)))

    async def _answer(self, session_id: str, asked: Sequence[OpenAsk]) -> None:
        """Answer a set after some thought: all at once, or one after the other."""
        chance = zlib.crc32(asked[0].event_id.encode())
        await asyncio.sleep(chance % 1500 / 1000)
        groups = [asked] if chance % 2 else [[ask] for ask in asked]
        for group in groups:
            if await self._try(session_id, [_answer_to(ask) for ask in group]) is None:
                return
            self.notes.answered += group
            self._answered_ids.update(ask.event_id for ask in group)


def _event(message: Message) -> Json:
    return {"type": "user.message", "content": [{"type": "text", "text": message.text}]}


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

"""The clients of a run: they send what is planned, answer what is asked, watch, and note what was acknowledged."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx2

from benchmarks.chaos.answering import Answering
from benchmarks.chaos.clients import NewSession, RefusedError, Sender, UnansweredError
from benchmarks.chaos.databases import Database
from benchmarks.chaos.messages import Message, Mode
from benchmarks.chaos.notes import Note, Notes
from benchmarks.chaos.plan import Conversation, Request
from benchmarks.chaos.viewing import Viewer

Json = dict[str, Any]


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


@dataclass(frozen=True, slots=True)
class Connections:
    """What clients need to talk: senders, by whether they use keys; the plain client; and what sessions are made of."""

    senders: Mapping[bool, Sender]
    http: httpx2.AsyncClient
    agents: Mapping[Mode, str]
    environment_id: str


class Clients:
    """Everyone who talks during a run. Needs a running event loop, and `close`."""

    def __init__(self, database: Database, connections: Connections, progress: Progress) -> None:
        self.notes = Notes()
        self.viewers: dict[str, Viewer] = {}
        self._to = connections
        self._progress = progress
        self._of_session: dict[str, Sender] = {}
        self.answering = Answering(database, self._acknowledged, self._of_session.__contains__)
        self.notes.answered = self.answering.answered

    async def close(self) -> None:
        """Stop answering and watching."""
        await self.answering.close()
        for viewer in self.viewers.values():
            await viewer.close()

    async def converse(self, conversation: Conversation) -> None:
        """Hold one conversation's side that sends messages."""
        sender = self._to.senders[conversation.keyed]
        await self._wait_for(conversation.requests[0])
        initial = conversation.requests[0].messages if conversation.initial else ()
        session_id = await self._create(sender, conversation, initial)
        self._of_session[session_id] = sender
        self.notes.modes[session_id] = conversation.mode
        self.notes.sent[session_id] = [Note(message, session_id, acknowledged=True) for message in initial]
        if conversation.watched:
            self.viewers[session_id] = Viewer(self._to.http, session_id)
        for request in conversation.requests[1 if initial else 0 :]:
            await self._wait_for(request)
            await self._send(session_id, request.messages)

    async def _wait_for(self, request: Request) -> None:
        await self._progress.reached(request.step)
        await asyncio.sleep(request.delay_s)

    async def _create(self, sender: Sender, conversation: Conversation, initial: Sequence[Message]) -> str:
        created = NewSession(
            agent_id=self._to.agents[conversation.mode],
            environment_id=self._to.environment_id,
            title=f"chaos {conversation.number}",
            initial=[_event(message) for message in initial],
        )
        while True:
            try:
                return await sender.create(created)
            except UnansweredError as error:
                self.notes.unanswered.append(str(error))

    async def _send(self, session_id: str, messages: Sequence[Message]) -> None:
        notes = [Note(message, session_id) for message in messages]
        self.notes.sent[session_id] += notes
        acknowledged = await self._acknowledged(session_id, [_event(message) for message in messages])
        for note in notes:
            note.acknowledged = acknowledged

    async def _acknowledged(self, session_id: str, events: Sequence[Json]) -> bool:
        """Send events and tell whether they were acknowledged; if not, note why."""
        try:
            await self._of_session[session_id].send(session_id, events)
        except RefusedError as error:
            self.notes.refused.append((session_id, str(error)))
        except UnansweredError as error:
            self.notes.unanswered.append(str(error))
        else:
            return True
        return False


def _event(message: Message) -> Json:
    return {"type": "user.message", "content": [{"type": "text", "text": message.text}]}

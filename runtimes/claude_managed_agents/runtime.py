"""The adapter for providers of the Claude Managed Agents API."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import ClassVar, Literal

import httpx2
from anthropic import APIConnectionError, APIStatusError

from runtimes.base import (
    Absent,
    Agent,
    AskLostError,
    Connection,
    Failure,
    Found,
    Health,
    InterruptResult,
    Json,
    NativeEvent,
    Runtime,
    RuntimeOptions,
    Send,
    Session,
    Snapshot,
    Translation,
    Turn,
    Unknown,
)
from runtimes.capabilities import Capabilities
from runtimes.claude_managed_agents import failures, native_agents, sends, translate
from runtimes.claude_managed_agents.closing import close_session
from runtimes.claude_managed_agents.config import ClaudeManagedAgentsOptions, merge
from runtimes.claude_managed_agents.provider import Provider, UnexpectedAnswerError
from runtimes.claude_managed_agents.scope import Position, Scope, Start
from runtimes.claude_managed_agents.snapshot import take_snapshot

_INTERRUPT: Json = {"type": "user.interrupt"}
_REFUSALS = (400, 404, 409, 422)


class ClaudeManagedAgentsRuntime(Runtime):
    """Drives any server that speaks the API: Anthropic's, or a second Waystation."""

    kind: ClassVar[str] = "claude_managed_agents"
    capabilities: Capabilities = Capabilities(
        agents="create",
        resume="history_merge",
        reconcile="history",
        acceptance_delay_s=5.0,
        send_timeout_s=30.0,
        silence_limit_s=60.0,
        deltas=True,
        thinking=True,
        interrupt="native",
        approvals=True,
        answers="set",
        custom_tools=True,
        mcp_servers=True,
        skills="provider",
        usage="tokens",
        outlives_worker=True,
        system_messages=True,
        content=("text", "image", "document"),
    )
    options_type: ClassVar[type[RuntimeOptions]] = ClaudeManagedAgentsOptions

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._provider = Provider(connection)
        self._making = asyncio.Lock()

    async def close(self) -> None:
        await self._provider.close()

    async def check(self) -> Health:
        try:
            await self._provider.list_agents(limit=1)
        except (APIStatusError, APIConnectionError, UnexpectedAnswerError) as error:
            return Health(False, self.classify(error).message)
        return Health(True, f"Claude Managed Agents API at {self._provider.base_url}")

    async def upsert_agent(self, agent: Agent) -> Json:
        options = merge(self.connection.options, agent.options)
        # One at a time, so that agents made together do not each make an environment.
        async with self._making:
            return await native_agents.upsert_agent(self._provider, agent, options)

    async def open_session(self, session_id: str, agent: Agent, native_agent: Json | None) -> Json:
        native = native_agent or await self.upsert_agent(agent)
        options = merge(self.connection.options, agent.options)
        version = {"version": native["version"]} if native.get("version") is not None else {}
        body = {
            "agent": {"type": "agent", "id": native["agent_id"], **version},
            "environment_id": native["environment_id"],
            "metadata": {"waystation_session": session_id},
        }
        session = await self._provider.create_session({**options.session_extra, **body})
        return {"session_id": session["id"]}

    async def position(self, session: Session) -> str | None:
        newest = self._provider.list_events(_id(session), order="desc", limit=20)
        async with aclosing(newest):
            return (await Position.read(newest)).dump()

    async def start_turn(self, session: Session, send: Send) -> Json:
        if send.message is None:
            raise ValueError("a turn starts with a message")
        return await self._send(session, send, sends.message_events(send.message))

    async def respond(self, session: Session, send: Send) -> Json:
        events = [sends.answer_event(answer) for answer in send.answers]
        try:
            return await self._send(session, send, events)
        except APIStatusError as error:
            # The API has no word for it: what is waited for tells a lost ask from a bad answer.
            if error.status_code in _REFUSALS and not await self._are_pending(session, send):
                raise AskLostError("the provider no longer waits for what is answered") from error
            raise

    async def _are_pending(self, session: Session, send: Send) -> bool:
        return await sends.are_pending(self._provider, _id(session), send.answers)

    async def _send(self, session: Session, send: Send, events: Sequence[Json]) -> Json:
        async with asyncio.timeout(send.timeout_s):
            accepted = await self._provider.send(_id(session), events, send.timeout_s)
        return sends.native_turn(accepted, send.native_before)

    async def events(self, session: Session, turn: Turn) -> AsyncIterator[NativeEvent]:
        start = Start.of(turn)
        scope = Scope(turn.native["events"], start)
        # The stream first: what happens while the history is read is then in one of the two, or in both.
        async with self._provider.stream_events(_id(session)) as stream:
            async with aclosing(scope.admitted(self._history(session, start))) as history:
                async for native in history:
                    yield native
            try:
                async with aclosing(scope.admitted(stream)) as live:
                    async for native in live:
                        yield native
            except httpx2.TransportError:
                # It was open, and broke: that is the stream's end, and no failure of the turn.
                return

    def _history(self, session: Session, start: Start) -> AsyncIterator[Json]:
        return self._provider.list_events(_id(session), since=start.since)

    def translate(self, state: Json, native: NativeEvent) -> Translation:
        return translate.translate(state, native)

    async def snapshot(self, session: Session, turn: Turn) -> Snapshot:
        return await take_snapshot(self._provider, _id(session), turn)

    async def find_turn(self, session: Session, send: Send) -> Found | Absent | Unknown:
        return await sends.find_send(self._provider, _id(session), send)

    async def interrupt(self, session: Session, turn: Turn) -> InterruptResult:
        # An interrupt that comes after the end would hit whatever the session does next.
        if (await self.snapshot(session, turn)).status in ("ended", "lost"):
            return InterruptResult("already_done")
        await self._provider.send(_id(session), [_INTERRUPT])
        return InterruptResult("accepted")

    async def cancel_asks(self, session: Session, asks: Sequence[Json]) -> None:
        await self._provider.send(_id(session), [_INTERRUPT])

    async def close_session(self, session: Session, mode: Literal["stop", "archive", "delete"]) -> None:
        if session.native:
            await close_session(self._provider, _id(session), mode)

    def classify(self, error: Exception) -> Failure:
        return failures.classify(error)


def _id(session: Session) -> str:
    return str(session.native["session_id"])

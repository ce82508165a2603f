"""The adapter of the scripted runtime. Each call is one HTTP request, and nothing is retried underneath."""

from collections.abc import AsyncIterator, Sequence
from typing import Literal

import httpx2

from runtimes.base import (
    Absent,
    Agent,
    Answer,
    AskLostError,
    Connection,
    Failure,
    Found,
    Health,
    InterruptResult,
    Json,
    NativeEvent,
    Runtime,
    Send,
    Session,
    Snapshot,
    Translation,
    Turn,
    Unknown,
    UnsupportedCapabilityError,
)
from runtimes.scripted.client import Client
from runtimes.scripted.config import CAPABILITIES, ScriptedOptions
from runtimes.scripted.events import frames, native_event, seq_after
from runtimes.scripted.failures import classify, code_of
from runtimes.scripted.script import digest, said
from runtimes.scripted.translate import translate


class ScriptedRuntime(Runtime):
    """Drives `python -m runtimes.scripted`."""

    kind = "scripted"
    capabilities = CAPABILITIES
    options_type = ScriptedOptions

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._options = ScriptedOptions.model_validate(connection.options)
        self.capabilities = self._options.capabilities()
        credential = connection.credential
        self._client = Client(connection.base_url, credential.get_secret_value() if credential else None)

    async def close(self) -> None:
        """Close all connections, also the streams that nobody followed."""
        await self._client.close()

    async def check(self) -> Health:
        """Ask the server for its health."""
        try:
            health = await self._client.call("GET", "/health")
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            return Health(False, f"{self.connection.base_url}: {classify(error).message}")
        return Health(True, f"scripted runtime {health['version']} at {self.connection.base_url}")

    async def upsert_agent(self, agent: Agent) -> Json:
        """Make the agent; one that lives there already is used as it is."""
        if agent.native_id is not None:
            return {"agent_id": agent.native_id}
        made: Json = await self._client.call("POST", "/agents", {"id": agent.id, "version": agent.version})
        return made

    async def open_session(self, session_id: str, agent: Agent, native_agent: Json | None) -> Json:
        """Open a native session that knows ours by name, for the ledger."""
        body = {"agent": native_agent, "idless": self._options.idless, "client_tools": agent.client_tools}
        opened: Json = await self._client.call("POST", "/sessions", body, {"x-waystation-session": session_id})
        return opened

    async def position(self, session: Session) -> str | None:
        """Return the number of accepted sends; only where `find_turn` reads the history."""
        if self._options.mode != "history":
            return None
        return str((await self._client.call("GET", f"{path(session)}/position"))["position"])

    async def start_turn(self, session: Session, send: Send) -> Json:
        """Send the message; the answer is the turn's stream, kept for `events`."""
        assert send.message is not None
        return await self._send(f"{path(session)}/turns", send)

    async def respond(self, session: Session, send: Send) -> Json:
        """Send a complete set of answers; as `start_turn`."""
        try:
            return await self._send(f"{path(session)}/answers", send)
        except httpx2.HTTPStatusError as error:
            if code_of(error) == "asks_lost":
                raise AskLostError(str(error)) from error
            raise

    async def _send(self, to: str, send: Send) -> Json:
        headers = {"idempotency-key": send.turn_id} if self._options.mode == "key" else None
        response = await self._client.open("POST", to, body_of(send), headers, send.timeout_s)
        await self._client.keep(send.turn_id, response)
        return {"turn_id": response.headers["x-turn-id"]}

    async def events(self, session: Session, turn: Turn) -> AsyncIterator[NativeEvent]:
        """Follow the stream that the send left open, or open one: after the cursor, or from the start without one."""
        turn_id = turn.native["turn_id"]
        cursor = self.capabilities.resume == "cursor"
        response = self._client.take(turn.id)
        if response is None:
            after = seq_after(turn_id, turn.cursor) if cursor else 0
            response = await self._client.open("GET", f"{path(session)}/turns/{turn_id}/events?after={after}")
        try:
            async for data in frames(response.aiter_raw()):
                yield native_event(turn_id, data, cursor=cursor)
        finally:
            await response.aclose()

    def translate(self, state: Json, native: NativeEvent) -> Translation:
        """Return what a native event becomes."""
        return translate(state, native)

    async def snapshot(self, session: Session, turn: Turn) -> Snapshot:
        """Ask for the turn's status and all its events but deltas."""
        turn_id = turn.native["turn_id"]
        found = await self._client.call("GET", f"{path(session)}/turns/{turn_id}")
        cursor = self.capabilities.resume == "cursor"
        events = [native_event(turn_id, data, cursor=cursor) for data in found["events"]]
        return Snapshot(found["status"], events, found["detail"])

    async def find_turn(self, session: Session, send: Send) -> Found | Absent | Unknown:
        """Look for the send in the history: by its key, or by its text among the sends after the recorded position."""
        mode = self._options.mode
        if mode == "none":
            return Unknown("this runtime takes no key and shows no history")
        if mode == "history" and send.native_before is None:
            return Unknown("no position was recorded before the send")
        if mode == "key":
            found = await self._client.call("GET", f"{path(session)}/history?key={send.turn_id}")
            sends = found["sends"]
        else:
            found = await self._client.call("GET", f"{path(session)}/history?after={send.native_before}")
            sends = [sent for sent in found["sends"] if sent["hash"] == digest(said(body_of(send)))]
        if len(sends) > 1:
            return Unknown(f"{len(sends)} equal sends were accepted since")
        return Found({"turn_id": sends[0]["turn"]}) if sends else Absent()

    async def interrupt(self, session: Session, turn: Turn) -> InterruptResult:
        """Stop the turn; its end is among its events."""
        result = await self._client.call("POST", f"{path(session)}/turns/{turn.native['turn_id']}/interrupt")
        return InterruptResult(result["status"])

    async def cancel_asks(self, session: Session, asks: Sequence[Json]) -> None:
        """Withdraw everything that is asked."""
        await self._client.call("POST", f"{path(session)}/asks/cancel")

    async def close_session(self, session: Session, mode: Literal["stop", "archive", "delete"]) -> None:
        """Stop what runs and refuse what comes; with `delete`, forget the session. One that is gone is closed."""
        try:
            if mode == "delete":
                await self._client.call("DELETE", path(session))
            else:
                await self._client.call("POST", f"{path(session)}/close")
        except httpx2.HTTPStatusError as error:
            if code_of(error) != "no_session":
                raise

    def classify(self, error: Exception) -> Failure:
        """Tell of which kind an error is."""
        return classify(error)


def path(session: Session) -> str:
    """Return the path of a native session."""
    return f"/sessions/{session.native['session_id']}"


def body_of(send: Send) -> Json:
    """Return what is sent, the same again for the same send."""
    if send.message is None:
        return {"answers": [answer_body(answer) for answer in send.answers]}
    body = {"text": text_of(send.message.content)}
    if send.message.system:
        body["system"] = text_of(send.message.system)
    return body


def answer_body(answer: Answer) -> Json:
    """Return an answer in the server's shape."""
    return {
        "ask_id": answer.native["ask_id"],
        "allow": answer.allow,
        "deny_message": answer.deny_message,
        "text": text_of(answer.content),
        "is_error": answer.is_error,
        "ran": answer.kind == "tool_result",
    }


def text_of(content: Sequence[Json]) -> str:
    """Return the text of content blocks.

    Raises:
        UnsupportedCapabilityError: a block is no text.
    """
    for block in content:
        if block["type"] != "text":
            raise UnsupportedCapabilityError(ScriptedRuntime.kind, "content")
    return "".join(block["text"] for block in content)

"""The adapter for OpenCode: one running `opencode serve`, many sessions, a folder for each."""

import asyncio
import contextlib
import hashlib
import pathlib
import re
import shutil
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
    Message,
    NativeEvent,
    Resource,
    Runtime,
    Send,
    Session,
    Snapshot,
    Translation,
    Turn,
    Unknown,
    UnsupportedCapabilityError,
)
from runtimes.capabilities import Capabilities
from runtimes.opencode import failures
from runtimes.opencode.client import OpenCodeClient, StatusError
from runtimes.opencode.config import (
    KIND,
    VERSION,
    OpenCodeOptions,
    check_supported,
    model_of,
    permission_rules,
)
from runtimes.opencode.natives import TurnReader
from runtimes.opencode.translate import translate
from runtimes.opencode.watch import TurnWatch
from runtimes.opencode.workspace import Workspace, told_mounts

_SESSION_ID = re.compile(r"^[A-Za-z0-9_-]+$")
_LOW_BITS = (1 << 48) - 1


def message_id(session: Session, send: Send) -> str:
    """Return the id of the user message of a send: always the same, and just after the last message before it.

    OpenCode's ids are 48 bits that grow with time, in hexadecimal, and 14 characters of chance.
    """
    before = send.native_before or str(session.native["created"])
    suffix = hashlib.sha256(send.turn_id.encode()).hexdigest()[:14]
    return f"msg_{(int(before, 16) + 1) & _LOW_BITS:012x}{suffix}"


def _text_parts(message: Message) -> list[Json]:
    if any(block.get("type") != "text" for block in message.content):
        raise UnsupportedCapabilityError(KIND, "content")
    if message.system:
        raise UnsupportedCapabilityError(KIND, "system_messages")
    return [{"type": "text", "text": block["text"]} for block in message.content]


def _reply(answer: Answer) -> Json:
    if answer.kind != "confirmation":
        raise UnsupportedCapabilityError(KIND, "custom_tools")
    if answer.allow:
        return {"reply": "once"}
    return {"reply": "reject", **({"message": answer.deny_message} if answer.deny_message else {})}


class OpenCodeRuntime(Runtime):
    """Drives the first-generation HTTP API of OpenCode: see the README for what it can and cannot do."""

    kind = KIND
    options_type = OpenCodeOptions
    capabilities = Capabilities(
        agents="none",
        resume="history_merge",
        reconcile="history",
        # A request that waits in the socket of a starting server is still read after we have gone.
        acceptance_delay_s=15.0,
        send_timeout_s=30.0,
        # Its heartbeat comes every 10 s.
        silence_limit_s=35.0,
        deltas=True,
        thinking=True,
        interrupt="native",
        approvals=True,
        answers="single",
        custom_tools=False,
        usage="tokens_cost",
        files=True,
        repositories=True,
        skills="own",
        outlives_worker=True,
        host_bound=False,
        system_messages=False,
        content=("text",),
    )

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self.options = OpenCodeOptions.model_validate(connection.options)
        if not self.options.local_workspaces:
            apart = {"files": False, "repositories": False, "skills": "none"}
            self.capabilities = self.capabilities.model_copy(update=apart)
        password = connection.credential.get_secret_value() if connection.credential else None
        self._client = OpenCodeClient(connection.base_url, self.options.username, password)

    async def close(self) -> None:
        await self._client.close()

    async def check(self) -> Health:
        try:
            found = await self._client.health()
        except (StatusError, httpx2.HTTPError) as error:
            return Health(False, self.classify(error).message)
        version = found.get("version")
        note = "" if version == VERSION else f"; this adapter is tested with {VERSION}"
        return Health(True, f"OpenCode {version} at {self.connection.base_url}{note}")

    def _folder(self, session_id: str) -> str:
        if not _SESSION_ID.match(session_id):
            raise failures.WorkspaceError("the session's id cannot be a folder's name")
        return f"{self.options.workspaces_root.rstrip('/')}/{session_id}"

    async def _make_folder(self, folder: str) -> None:
        if not self.options.local_workspaces:
            return
        try:
            await asyncio.to_thread(pathlib.Path(folder).mkdir, parents=True, exist_ok=True)
        except OSError as error:
            raise failures.WorkspaceError(f"the folder {folder!r} cannot be made: {error.strerror}") from error

    async def open_session(self, session_id: str, agent: Agent, native_agent: Json | None) -> Json:
        check_supported(agent)
        folder = self._folder(session_id)
        model = model_of(agent, self.options)
        await self._make_folder(folder)
        body: Json = {
            # A title of our own also saves the model call that would find one.
            "title": f"Waystation {session_id}",
            "metadata": {"waystation_session": session_id},
            "permission": permission_rules(agent),
        }
        if agent.native_id is not None:
            body["agent"] = agent.native_id
        if model is not None:
            body["model"] = {"providerID": model[0], "id": model[1]}
        made = await self._client.create_session(folder, body)
        created = f"{(made['time']['created'] << 12) & _LOW_BITS:012x}"
        return {"session_id": made["id"], "directory": folder, "created": created}

    async def lay(self, session: Session, resources: Sequence[Resource]) -> None:
        if not self.options.local_workspaces:
            raise UnsupportedCapabilityError(KIND, "files")
        directory, _ = self._place(session)
        await Workspace(pathlib.Path(directory)).lay(resources)
        if any(resource.type == "skill" for resource in resources):
            # OpenCode looks for skills once for each folder it has in memory.
            await self._client.dispose(directory)

    @staticmethod
    def _place(session: Session) -> tuple[str, str]:
        return session.native["directory"], session.native["session_id"]

    async def position(self, session: Session) -> str | None:
        """Return the growing part of the last message's id, 12 hexadecimal digits."""
        last = await self._client.last_message(*self._place(session))
        return last["info"]["id"].removeprefix("msg_")[:12] if last else str(session.native["created"])

    async def start_turn(self, session: Session, send: Send) -> Json:
        if send.message is None:
            raise ValueError("a turn starts with a message")
        agent, message = session.agent, message_id(session, send)
        body: Json = {"messageID": message, "parts": _text_parts(send.message)}
        model = model_of(agent, self.options)
        if model is not None:
            body["model"] = {"providerID": model[0], "modelID": model[1]}
        if agent.native_id is not None:
            body["agent"] = agent.native_id
        else:
            system = [text for text in (agent.definition.get("system"), told_mounts(session.mounts)) if text]
            body |= {"system": "\n\n".join(system)} if system else {}
        await self._client.prompt(*self._place(session), body, send.timeout_s)
        return {"message_id": message}

    async def respond(self, session: Session, send: Send) -> Json:
        (answer,) = send.answers
        asked = answer.native["permission_id"]
        await self._answer(session.native["directory"], asked, _reply(answer), send.timeout_s)
        return {"message_id": answer.native["message_id"], "answered": asked}

    async def _answer(self, directory: str, asked: str, body: Json, timeout_s: float) -> None:
        try:
            await self._client.reply(directory, asked, body, timeout_s)
        except StatusError as error:
            if error.status == 404:
                raise AskLostError(f"OpenCode has no open request {asked!r}") from error
            raise

    def _watch(self, session: Session, turn: Json) -> TurnWatch:
        directory, native = self._place(session)
        reader = TurnReader(native, turn["message_id"], turn.get("answered"))
        return TurnWatch(self._client, directory, reader)

    def events(self, session: Session, turn: Turn) -> AsyncIterator[NativeEvent]:
        return self._watch(session, turn.native).events()

    def translate(self, state: Json, native: NativeEvent) -> Translation:
        return translate(state, native)

    async def snapshot(self, session: Session, turn: Turn) -> Snapshot:
        return await self._watch(session, turn.native).snapshot(self.options.lost_after_s)

    async def find_turn(self, session: Session, send: Send) -> Found | Absent | Unknown:
        """Look for the message by its id, or for the request by whether it is still open."""
        directory, native = self._place(session)
        if send.message is not None:
            message = message_id(session, send)
            found = await self._client.message(directory, native, message)
            return Found({"message_id": message}) if found else Absent()
        (answer,) = send.answers
        asked = answer.native["permission_id"]
        if any(request["id"] == asked for request in await self._client.permissions(directory, native)):
            return Absent()
        return Found({"message_id": answer.native["message_id"], "answered": asked})

    async def interrupt(self, session: Session, turn: Turn) -> InterruptResult:
        return await self._watch(session, turn.native).interrupt()

    async def cancel_asks(self, session: Session, asks: Sequence[Json]) -> None:
        directory, native = self._place(session)
        await self._client.abort(directory, native)
        # An abort leaves the requests it made void in OpenCode's list.
        for ask in asks:
            with contextlib.suppress(AskLostError):
                await self._answer(directory, ask["permission_id"], {"reply": "reject"}, 30.0)

    async def close_session(self, session: Session, mode: Literal["stop", "archive", "delete"]) -> None:
        directory, native = self._place(session)
        await self._client.abort(directory, native)
        if mode == "delete":
            await self._delete(directory, native)
        await self._client.dispose(directory)
        if mode == "delete" and self.options.local_workspaces:
            await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)

    async def _delete(self, directory: str, native: str) -> None:
        try:
            await self._client.delete_session(directory, native)
        except StatusError as error:
            if error.status != 404:
                raise

    def classify(self, error: Exception) -> Failure:
        return failures.classify(error)

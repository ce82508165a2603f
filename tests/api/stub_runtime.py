"""A runtime kind of the suite's own: it can do next to nothing, and its check answers what its options say."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Literal

from runtimes.base import (
    Agent,
    Failure,
    Health,
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


class StubOptions(RuntimeOptions):
    answer: Literal["ok", "refused", "raises", "hangs"] = "ok"
    capable: bool = False
    lays: bool = False


class StubRuntime(Runtime):
    kind = "stub"
    options_type = StubOptions
    capabilities = Capabilities(agents="none", resume="none", reconcile="none")

    def __init__(self, connection: Any) -> None:
        super().__init__(connection)
        if "refused" in connection.base_url:
            raise RuntimeError("no such address")
        self.options = StubOptions(**connection.options)
        if self.options.capable:
            able = {"custom_tools": True, "approvals": True, "mcp_servers": True, "skills": "provider"}
            self.capabilities = self.capabilities.model_copy(update=able)
        if self.options.lays:
            able = {"files": True, "repositories": True, "skills": "own"}
            self.capabilities = self.capabilities.model_copy(update=able)

    async def check(self) -> Health:
        if self.options.answer == "raises":
            raise ConnectionRefusedError
        if self.options.answer == "hangs":
            await asyncio.sleep(60)
        secret = self.connection.credential.get_secret_value() if self.connection.credential else "none"
        return Health(self.options.answer == "ok", f"credential of {len(secret)} characters")

    async def open_session(self, session_id: str, agent: Agent, native_agent: Any) -> Any:
        raise NotImplementedError

    async def start_turn(self, session: Session, send: Send) -> Any:
        raise NotImplementedError

    def events(self, session: Session, turn: Turn) -> AsyncIterator[NativeEvent]:
        raise NotImplementedError

    def translate(self, state: Any, native: NativeEvent) -> Translation:
        raise NotImplementedError

    async def snapshot(self, session: Session, turn: Turn) -> Snapshot:
        raise NotImplementedError

    async def find_turn(self, session: Session, send: Send) -> Unknown:
        raise NotImplementedError

    async def close_session(self, session: Session, mode: Any) -> None:
        raise NotImplementedError

    def classify(self, error: Exception) -> Failure:
        return Failure("retry", False, f"unreachable: {type(error).__name__}")

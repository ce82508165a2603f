"""The baseline's side: sessions of bare workflows, and bare activities that are held."""

import asyncio
import secrets
import socket
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx2
from temporalio.client import WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode

from benchmarks.baseline.messages import HOLD_WORKFLOW, WORKFLOW, WORKFLOWS_QUEUE, Holding, Talk
from benchmarks.baseline.processes import Baseline
from benchmarks.sides import Session, Side, in_turns
from runtimes.scripted.connections import tls

_AT_ONCE: Final = 16


class BareSide(Side):
    """Sessions of the baseline."""

    name = "baseline"

    def __init__(self, baseline: Baseline, told: Path) -> None:
        super().__init__(baseline.url, {})
        self.parts = {"api": baseline.api, "worker": baseline.worker}
        self._baseline = baseline
        self._told = told
        self._sessions: dict[str, Session] = {}
        self._held: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._scripted = httpx2.AsyncClient(base_url=baseline.stack.scripted.url, verify=tls(), trust_env=False)

    async def prepare(self) -> None:
        """Listen for ends."""
        self._temporal = await self._baseline.temporal()
        self._socket.setblocking(False)
        self._socket.bind(str(self._told))
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._readable)

    def _readable(self) -> None:
        while True:
            try:
                session = self._sessions[self._socket.recv(200).decode()]
            except BlockingIOError:
                return
            session.end(session.ended + 1)

    async def open(self) -> Session:
        opened = (await self._scripted.post("/sessions", json={})).raise_for_status().json()
        session = Session(f"bare-{secrets.token_hex(6)}", opened["session_id"])
        self._sessions[session.id] = session
        talk = Talk(session.id, session.native, self._baseline.stack.scripted.url, str(self._told))
        await self._temporal.start_workflow(WORKFLOW, talk, id=session.id, task_queue=WORKFLOWS_QUEUE)
        return session

    async def send(self, session: Session, text: str) -> None:
        answer = await self.http.post(f"/sessions/{session.id}/messages", json={"text": text})
        answer.raise_for_status()

    async def hold(self, count: int, seconds: float) -> None:
        """Begin so many activities that last, and return once all have begun."""
        begun = Session(f"hold-{secrets.token_hex(6)}")
        self._sessions[begun.id] = begun
        holding = Holding(seconds, begun.id, str(self._told))

        async def start(number: int) -> None:
            name = f"{begun.id}-{number}"
            await self._temporal.start_workflow(HOLD_WORKFLOW, holding, id=name, task_queue=WORKFLOWS_QUEUE)
            self._held.append(name)

        await in_turns([partial(start, number) for number in range(count)], _AT_ONCE)
        await begun.wait(count)

    async def let_go(self) -> None:
        """End the workflows of everything that is held."""
        held, self._held = self._held, []
        handles = [self._temporal.get_workflow_handle(name) for name in held]
        await in_turns([partial(_terminate, handle) for handle in handles], _AT_ONCE)

    async def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._socket.close()
        await self._scripted.aclose()
        await super().close()


async def _terminate(handle: WorkflowHandle[Any, Any]) -> None:
    """End a workflow; one that has ended by itself is left alone."""
    try:
        await handle.terminate()
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise

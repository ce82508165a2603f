"""Waking a session: signal-with-start of its workflow. A wake may be lost; the reconciler finds what it left."""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import structlog
from temporalio.client import Client
from temporalio.common import (
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.envconfig import ClientConfig
from temporalio.service import RPCError

from workflows.messages import (
    AGENT_ID,
    LOOK,
    RUNTIME_ALIAS,
    SESSION_STATE,
    SESSION_WORKFLOW,
    SESSIONS_QUEUE,
    WAKE,
    WORKSPACE_ID,
    SessionInput,
)

_log = structlog.get_logger()
_DEADLINE = timedelta(seconds=3)
_AT_ONCE = 64
_KNOWN = 10_000
_DEFAULT_ADDRESS = "localhost:7233"


async def connect(*, lazy: bool) -> Client:
    """Connect to the Temporal server that `temporalio.envconfig` names; with `lazy`, it may be away at first.

    Raises:
        RuntimeError: not lazy, and the server is away.
    """
    config = ClientConfig.load_client_connect_config()
    config.setdefault("target_host", _DEFAULT_ADDRESS)
    return await Client.connect(**config, lazy=lazy)


@dataclass(frozen=True, slots=True)
class Waking:
    """What the workflow of a session is started with, and shown as in Temporal's UI."""

    session_id: str
    workspace_id: str
    agent_id: str
    runtime_alias: str
    kind: str


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds a turn may wait for a worker, and a worker be silent."""

    schedule_to_start_s: float
    heartbeat_timeout_s: float


class Waker:
    """Wakes sessions in the background, each at most once at a time; a wake that fails is left to the reconciler."""

    def __init__(
        self, client: Client, limits: Limits, read: Callable[[Sequence[str]], Awaitable[Sequence[dict[str, str]]]]
    ) -> None:
        self._client = client
        self._limits = limits
        self._read = read
        self._pending: dict[str, bool] = {}
        self._known: OrderedDict[str, Waking] = OrderedDict()
        """Sessions woken lately: what their workflows are started with never changes."""
        self._poke = asyncio.Event()
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._running: set[asyncio.Task[None]] = set()
        self._loop_task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to work off wakes."""
        self._loop_task = asyncio.create_task(self._loop(), name="waker")

    async def close(self) -> None:
        """End; wakes under way are waited for within the RPC's deadline, others are left to the reconciler."""
        if self._loop_task is not None:
            self._poke.set()
            await asyncio.sleep(0)
            self._loop_task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._loop_task
        if self._running:
            await asyncio.wait(self._running, timeout=_DEADLINE.total_seconds())

    def wake(self, session_id: str, *, signal: bool = False) -> None:
        """Have the session looked at soon. Never waits, never fails."""
        self._pending[session_id] = self._pending.get(session_id, False) or signal
        self._poke.set()

    async def _loop(self) -> None:
        while True:
            await self._poke.wait()
            self._poke.clear()
            pending, self._pending = self._pending, {}
            for waking in await self._look_up(list(pending)):
                await self._slots.acquire()
                task = asyncio.create_task(self._send(waking, WAKE if pending[waking.session_id] else LOOK))
                self._running.add(task)
                task.add_done_callback(self._sent)

    async def _look_up(self, session_ids: Sequence[str]) -> list[Waking]:
        """Return what these sessions' workflows are started with; those that nobody knows are left out."""
        unknown = [session_id for session_id in session_ids if session_id not in self._known]
        try:
            rows = await self._read(unknown) if unknown else ()
        except Exception as error:  # noqa: BLE001 - a wake is a hint; whatever the database says, the loop goes on
            _log.warning("wake_unread", sessions=len(unknown), error=type(error).__name__)
            rows = ()
        self._known.update((row["session_id"], Waking(**row)) for row in rows)
        found = [self._known[session_id] for session_id in session_ids if session_id in self._known]
        while len(self._known) > _KNOWN:
            self._known.popitem(last=False)
        return found

    def _sent(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._slots.release()

    async def _send(self, waking: Waking, signal: str) -> None:
        try:
            await self.start_workflow(waking, signal)
        except (RPCError, RuntimeError) as error:
            _log.warning("wake_failed", session_id=waking.session_id, error=type(error).__name__)

    async def start_workflow(self, waking: Waking, signal: str | None) -> None:
        """Start the session's workflow unless it runs; with a `signal`, have a running one look again.

        Raises:
            RPCError: Temporal is away, or refuses.
        """
        await self._client.start_workflow(
            SESSION_WORKFLOW,
            SessionInput(
                waking.session_id, waking.kind, self._limits.schedule_to_start_s, self._limits.heartbeat_timeout_s
            ),
            id=waking.session_id,
            task_queue=SESSIONS_QUEUE,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            start_signal=signal,
            search_attributes=_attributes(waking),
            static_summary=f"{waking.runtime_alias}: session of {waking.agent_id}",
            rpc_timeout=_DEADLINE,
        )


_KEYS = {name: SearchAttributeKey.for_keyword(name) for name in (AGENT_ID, RUNTIME_ALIAS, SESSION_STATE, WORKSPACE_ID)}


def _attributes(waking: Waking) -> TypedSearchAttributes:
    values = {
        AGENT_ID: waking.agent_id,
        RUNTIME_ALIAS: waking.runtime_alias,
        SESSION_STATE: "running",
        WORKSPACE_ID: waking.workspace_id,
    }
    return TypedSearchAttributes([SearchAttributePair(_KEYS[name], value) for name, value in values.items()])

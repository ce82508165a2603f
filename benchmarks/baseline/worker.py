"""`python -m benchmarks.baseline.worker`: bare workflows and activities, with the options of the product's worker."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator
from datetime import timedelta

import httpx2
import uvloop
from temporalio import activity
from temporalio.client import Client
from temporalio.envconfig import ClientConfig
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from benchmarks.baseline.messages import CALL_RUNTIME, HOLD, TURNS_QUEUE, WORKFLOWS_QUEUE, Call, Holding
from benchmarks.baseline.workflow import BareHold, BareSession
from benchmarks.garbage import collect_on_signal
from runtimes.scripted.connections import Connections, tls

_BEAT_S = 8 / 3
_THROTTLE = timedelta(seconds=8 / 3)
_TURNS = 4000
_CACHED = 2000


@contextlib.asynccontextmanager
async def _heartbeats() -> AsyncIterator[None]:
    task = asyncio.create_task(_beat())
    try:
        yield
    finally:
        task.cancel()


async def _beat() -> None:
    while True:
        await asyncio.sleep(_BEAT_S)
        activity.heartbeat()


class BareActivities:
    """A call to the scripted runtime, read to its end; and a wait."""

    def __init__(self) -> None:
        self._http = httpx2.AsyncClient(transport=Connections(), verify=tls(), trust_env=False, timeout=None)
        self._out = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._out.setblocking(False)

    @activity.defn(name=CALL_RUNTIME)
    async def call_runtime(self, call: Call) -> None:
        """Send the message, read the turn's stream, and tell the client that it is over."""
        async with _heartbeats():
            address = f"{call.talk.url}/sessions/{call.talk.native}/turns"
            async with self._http.stream("POST", address, json={"text": call.text}) as answer:
                answer.raise_for_status()
                async for _ in answer.aiter_raw():
                    pass
        self._out.sendto(call.talk.name.encode(), call.talk.told)

    @activity.defn(name=HOLD)
    async def hold(self, holding: Holding) -> None:
        """Say that it has begun, and last."""
        self._out.sendto(holding.name.encode(), holding.told)
        async with _heartbeats():
            await asyncio.sleep(holding.seconds)


async def _run() -> None:
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    client = await Client.connect(**ClientConfig.load_client_connect_config())
    activities = BareActivities()
    restrictions = SandboxRestrictions.default.with_passthrough_modules("benchmarks")
    workflows = Worker(
        client,
        task_queue=WORKFLOWS_QUEUE,
        workflows=[BareSession, BareHold],
        workflow_runner=SandboxedWorkflowRunner(restrictions=restrictions),
        max_cached_workflows=_CACHED,
        sticky_queue_schedule_to_start_timeout=timedelta(seconds=2),
    )
    turns = Worker(
        client,
        task_queue=TURNS_QUEUE,
        activities=[activities.call_runtime, activities.hold],
        max_concurrent_activities=_TURNS,
        max_heartbeat_throttle_interval=_THROTTLE,
        default_heartbeat_throttle_interval=_THROTTLE,
    )
    async with workflows, turns:
        print("ready", flush=True)
        await stopping.wait()


if __name__ == "__main__":
    collect_on_signal()
    uvloop.run(_run())

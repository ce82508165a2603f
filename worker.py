"""The worker: runs sessions' workflows, their turns and intents, and the reconciler. Start any number of them."""

import asyncio
import contextlib
import gc
import signal
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial

import structlog
import uvloop
from temporalio.client import Client
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from activities.adapters import Adapters
from activities.blob_sweep import BlobSweep
from activities.holding import Holding
from activities.intents import IntentActivities
from activities.laying import Layer
from activities.reconciler import Reconciler
from activities.turns import TurnActivities
from protocol.logging import configure_logging
from runtimes.registry import KINDS, adapter
from security.vault import open_vault
from settings import Settings
from store import owed
from store.blobs import open_blobs
from store.engine import Store, open_store
from store.live import open_live
from temporal_client.search_attributes import ensure_search_attributes
from temporal_client.waking import Limits, Waker, connect
from workflows.messages import CONTROL_QUEUE, SESSIONS_QUEUE, turn_queue
from workflows.session import SessionWorkflow

_log = structlog.get_logger()
_CONTROL_SLOTS = 200
_CACHED_WORKFLOWS = 2000
_CONNECT_RETRY_S = 1.0


async def run(settings: Settings, *, wrap: Callable[[Store], Store] = lambda store: store) -> None:
    """Run until SIGTERM or SIGINT, then give turns back and end. `wrap` lets tests stand before the database."""
    kinds = _kinds(settings)
    stopping = _stop_on_signals()
    client = await _connected(stopping)
    if client is None:
        return
    store = wrap(open_store(settings.database_url))
    secret = settings.master_key.get_secret_value() if settings.master_key else None
    vault = open_vault(secret, settings.state_dir)
    adapters = Adapters(store, vault)
    live = open_live(store, settings.state_dir)
    holding = Holding(store)
    limits = Limits(settings.schedule_to_start_s, settings.heartbeat_timeout_s)
    waker = Waker(client, limits, lambda ids: store.read(partial(owed.shown, session_ids=ids)))
    reconciler = Reconciler(
        store, waker, adapters, interval_s=settings.reconcile_interval_s, after_s=settings.reconcile_after_s
    )
    blobs = open_blobs(settings.blobs_url, settings.blobs_endpoint, settings.state_dir)
    sweep = BlobSweep(store, blobs)
    turn_activities = TurnActivities(store, adapters, live, holding, Layer(store, blobs, vault))
    intent_activities = IntentActivities(store, adapters, live, stop_bound_s=settings.stop_bound_s)
    await live.start()
    for part in (holding, waker, reconciler, sweep):
        part.start()
    async with contextlib.AsyncExitStack() as running:
        for worker in _workers(client, settings, kinds, turn_activities, intent_activities):
            await running.enter_async_context(worker)
        # What was made so far lives as long as the process: the collector need not walk it again and again.
        gc.freeze()
        _log.info("worker_ready", kinds=kinds)
        await stopping.wait()
        _log.info("worker_stopping")
        holding.begin_shutdown()
    await sweep.close()
    await reconciler.close()
    await waker.close()
    await holding.close()
    await adapters.close()
    await live.close()
    await store.close()


def _workers(
    client: Client,
    settings: Settings,
    kinds: Sequence[str],
    turn_activities: TurnActivities,
    intent_activities: IntentActivities,
) -> Sequence[Worker]:
    grace = timedelta(seconds=settings.shutdown_limit_s)
    throttle = timedelta(seconds=min(settings.heartbeat_timeout_s / 3, 3.0))
    # The sandbox would import the workflow anew for each run; it imports nothing that could be impure.
    restrictions = SandboxRestrictions.default.with_passthrough_modules("workflows", "protocol")
    sessions = Worker(
        client,
        task_queue=SESSIONS_QUEUE,
        workflows=[SessionWorkflow],
        workflow_runner=SandboxedWorkflowRunner(restrictions=restrictions),
        max_cached_workflows=_CACHED_WORKFLOWS,
        sticky_queue_schedule_to_start_timeout=timedelta(seconds=2),
    )
    control = Worker(
        client,
        task_queue=CONTROL_QUEUE,
        activities=[intent_activities.handle_intents, intent_activities.tell_no_worker],
        max_concurrent_activities=_CONTROL_SLOTS,
        max_heartbeat_throttle_interval=throttle,
        default_heartbeat_throttle_interval=throttle,
        graceful_shutdown_timeout=grace,
    )
    turns = [
        Worker(
            client,
            task_queue=turn_queue(kind),
            activities=[turn_activities.run_turn],
            max_concurrent_activities=settings.max_concurrent_turns,
            max_heartbeat_throttle_interval=throttle,
            default_heartbeat_throttle_interval=throttle,
            graceful_shutdown_timeout=grace,
        )
        for kind in kinds
    ]
    return [sessions, control, *turns]


def _kinds(settings: Settings) -> Sequence[str]:
    """Return the kinds whose turns are taken, with their adapters imported: later that would hold up every turn."""
    chosen = [kind.strip() for kind in settings.worker_kinds.split(",") if kind.strip()]
    unknown = [kind for kind in chosen if kind not in KINDS]
    if unknown:
        sys.exit(f"WAYSTATION_WORKER_KINDS names unknown kinds {unknown}; known are {', '.join(sorted(KINDS))}")
    return [kind for kind in chosen or sorted(KINDS) if _importable(kind)]


def _importable(kind: str) -> bool:
    try:
        adapter(kind)
    except ImportError as error:
        _log.warning("runtime_kind_not_installed", kind=kind, missing=error.name, hint=KINDS[kind].hint)
        return False
    return True


async def _connected(stopping: asyncio.Event) -> Client | None:
    """Return a client once Temporal answers and knows our search attributes; None when told to end before."""
    while not stopping.is_set():
        try:
            client = await connect(lazy=False)
            if await ensure_search_attributes(client):
                return client
        except RuntimeError as error:
            _log.warning("temporal_away", error=str(error).splitlines()[0][:200])
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CONNECT_RETRY_S):
                await stopping.wait()
    return None


def _stop_on_signals() -> asyncio.Event:
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    return stopping


def main() -> None:
    """Start a worker with the settings of the environment."""
    settings = Settings()
    configure_logging(settings.log_level)
    uvloop.run(run(settings))


if __name__ == "__main__":
    main()

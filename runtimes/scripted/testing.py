"""The scripted server as a process of its own, for tests, chaos and benchmarks."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2

from runtimes.scripted.connections import tls

ROOT = Path(__file__).resolve().parents[2]
START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 5.0
ANNOUNCEMENT = "listening on "


class ScriptedServer:
    """Starts, kills and restarts the server. It keeps its port and its state directory over restarts.

    `async with ScriptedServer(tmp_path) as server: ...`
    """

    def __init__(self, state: Path, *, token: str | None = None, heartbeat_s: float = 1.0, port: int = 0) -> None:
        self._state = state
        self._token = token
        self._heartbeat_s = heartbeat_s
        self._port = port
        self._process: asyncio.subprocess.Process | None = None
        self.url = ""
        """Where it listens, once it was started."""

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self._process and self._process.returncode is None else None

    async def start(self) -> None:
        """Start it, and return when it listens.

        Raises:
            RuntimeError: it did not start; what it printed is on stderr.
        """
        self._process = await asyncio.create_subprocess_exec(
            *self._command(), cwd=ROOT, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(ROOT)}
        )
        assert self._process.stdout is not None
        async with asyncio.timeout(START_TIMEOUT_S):
            line = (await self._process.stdout.readline()).decode().strip()
        if ANNOUNCEMENT not in line:
            await self._end(signal.SIGKILL)
            raise RuntimeError(f"the scripted runtime did not start: {line!r}")
        self.url = line.partition(ANNOUNCEMENT)[2]
        self._port = int(self.url.rpartition(":")[2])

    def _command(self) -> list[str]:
        options = ["--port", str(self._port), "--state", str(self._state), "--heartbeat", str(self._heartbeat_s)]
        if self._token:
            options += ["--token", self._token]
        return [sys.executable, "-m", "runtimes.scripted", *options]

    async def stop(self) -> None:
        """Ask it to end, and kill it if it does not."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """Kill it as a crash would: nothing is written any more."""
        await self._end(signal.SIGKILL)

    async def restart(self) -> None:
        """Kill it if it runs, and start it on the same port and state."""
        await self.kill()
        await self.start()

    async def wait_exit(self) -> int:
        """Wait until it has ended by itself, and return its exit code."""
        assert self._process is not None
        async with asyncio.timeout(STOP_TIMEOUT_S):
            return await self._process.wait()

    async def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        if self._process.returncode is None:
            self._process.send_signal(number)
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        # The pipe's transport would otherwise be closed by the garbage collector, with a warning.
        transport = getattr(self._process, "_transport", None)
        if transport is not None:
            transport.close()
        self._process = None

    async def get(self, path: str) -> Any:
        """Return the JSON that a path of the server answers with."""
        headers = {"authorization": f"Bearer {self._token}"} if self._token else {}
        async with httpx2.AsyncClient(base_url=self.url, headers=headers, verify=tls(), trust_env=False) as client:
            response = await client.get(path)
            response.raise_for_status()
            return response.json()

    async def ledger(self, session: str | None = None, call: str | None = None) -> list[dict[str, Any]]:
        """Return the calls that reached it, in order: all, or of a session (its native id or ours), or of one name."""
        wanted = {"session": session, "call": call}
        query = "&".join(f"{key}={value}" for key, value in wanted.items() if value is not None)
        entries: list[dict[str, Any]] = (await self.get(f"/ledger?{query}"))["entries"]
        return entries

    async def summary(self) -> dict[str, Any]:
        """Return the counts of the ledger, and how many sessions and turns there are."""
        summary: dict[str, Any] = await self.get("/ledger/summary")
        return summary

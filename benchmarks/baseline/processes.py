"""The baseline as processes of its own, beside a stack: on its Temporal server, and calling its scripted runtime."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
from temporalio.client import Client

from tests.stack import Part, Stack, free_port

_START_S = 60.0
_LOOK_S = 0.05


class Baseline:
    """The route and the worker."""

    def __init__(self, stack: Stack, database_url: str) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.stack = stack
        api = [sys.executable, "-m", "benchmarks.baseline.api", str(port), database_url]
        worker = [sys.executable, "-m", "benchmarks.baseline.worker"]
        self.api = Part("bare api", api, stack.env, stack.folder / "bare-api.log")
        self.worker = Part("bare worker", worker, stack.env, stack.folder / "bare-worker.log")
        self.parts = [self.api, self.worker]

    async def start(self) -> None:
        """Start both, and return when they work.

        Raises:
            TimeoutError: one of them does not.
        """
        for part in self.parts:
            part.start()
        give_up = time.monotonic() + _START_S
        while "ready" not in self.worker.tail() or not await self._answers():
            if time.monotonic() > give_up:
                raise TimeoutError("\n".join(part.tail() for part in self.parts))
            await asyncio.sleep(_LOOK_S)

    async def _answers(self) -> bool:
        try:
            async with httpx2.AsyncClient(timeout=2) as client:
                return (await client.post(f"{self.url}/notes")).status_code == 200
        except httpx2.HTTPError:
            return False

    async def temporal(self) -> Client:
        """Return a client of the Temporal server."""
        return await Client.connect(f"127.0.0.1:{self.stack.temporal_port}")

    def stop(self) -> None:
        """Stop both."""
        for part in self.parts:
            part.stop(5.0)


@asynccontextmanager
async def running(stack: Stack, database_url: str) -> AsyncIterator[Baseline]:
    """Run a baseline for the length of the block."""
    baseline = Baseline(stack, database_url)
    try:
        await baseline.start()
        yield baseline
    finally:
        baseline.stop()

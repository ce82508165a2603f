"""The processes that are struck, and when each is whole again."""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence

from benchmarks.chaos.plan import WORKERS
from tests.stack import Part, Stack

_START_S = 60.0
_LOOK_S = 0.1
_READY = b"worker_ready"


class Watched:
    """A part that is started again whenever it was struck."""

    def __init__(self, part: Part, wait: Callable[["Watched"], Awaitable[None]]) -> None:
        self.part = part
        self._wait = wait
        self._log_before = 0

    @property
    def name(self) -> str:
        """The part's name."""
        return self.part.name

    def start(self) -> None:
        """Start it."""
        self._log_before = self.part.log.stat().st_size if self.part.log.exists() else 0
        self.part.start()

    def said(self, words: bytes) -> bool:
        """Tell whether its log has these words since it was started."""
        with self.part.log.open("rb") as log:
            log.seek(self._log_before)
            return words in log.read()

    async def ready(self) -> None:
        """Wait until it does its work.

        Raises:
            TimeoutError: it does not come up; its last words are in the message.
        """
        await self._wait(self)


class Parts:
    """All of them by name."""

    def __init__(self, stack: Stack, more: Iterable[Part]) -> None:
        self._of: dict[str, Watched] = {
            "api": Watched(stack.api, lambda _part: stack.wait_for_api()),
            "temporal": Watched(stack.temporal, lambda _part: stack.wait_for_temporal()),
            **{part.name: Watched(part, _worker_ready) for part in (stack.worker, *more)},
        }
        self.ended_alone: list[str] = []
        """Name and exit code of what ended without being struck."""
        self.last_start = time.monotonic()

    def __getitem__(self, name: str) -> Watched:
        return self._of[name]

    def start(self, names: Sequence[str]) -> None:
        """Start parts."""
        for name in names:
            self._of[name].start()
        self.last_start = time.monotonic()

    def kill(self, names: Sequence[str]) -> None:
        """Kill parts at one moment."""
        for name in names:
            self._of[name].part.signal(signal.SIGKILL)
        for name in names:
            self._of[name].part.kill()

    def revive(self) -> None:
        """Start what has ended by itself, and note it."""
        for name, watched in self._of.items():
            process = watched.part.process
            if process is not None and (code := process.poll()) is not None:
                self.ended_alone.append(f"{name} ended with {code}: {watched.part.tail(3)}")
                self.start([name])

    async def ready(self, names: Sequence[str] | None = None) -> None:
        """Wait until parts, or all, do their work."""
        for name in names if names is not None else list(self._of):
            await self._of[name].ready()

    def count_in_logs(self, words: str, names: Sequence[str] = WORKERS) -> int:
        """Count the lines of parts' logs that have these words."""
        logs = [self._of[name].part.log.read_text(errors="replace") for name in names]
        return sum(words in line for log in logs for line in log.splitlines())


async def _worker_ready(worker: Watched) -> None:
    give_up = time.monotonic() + _START_S
    while not worker.said(_READY):
        if time.monotonic() > give_up:
            raise TimeoutError(f"{worker.name} is not ready after {_START_S:g} s\n{worker.part.tail()}")
        await asyncio.sleep(_LOOK_S)

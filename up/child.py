"""One child process: started in a group of its own, with a log file, and ended with all it started."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The checkout; every child runs in it."""

MAX_LOG_BYTES = 10 * 1024 * 1024
"""A log that is larger when a child starts is set aside as `<name>.log.1`."""

TETHER = Path(__file__).with_name("tether.py")


@dataclass(frozen=True, slots=True)
class Service:
    """What to run and how to see that it is ready.

    Attributes:
        ready: asked again and again, answers within a second; None: a task, ready when it has exited with 0.
        start_within: seconds until it must be ready.
        stop_within: seconds between SIGTERM and SIGKILL.
    """

    name: str
    command: tuple[str, ...]
    ready: Callable[[], bool] | None
    start_within: float = 60.0
    stop_within: float = 10.0


@dataclass(slots=True)
class Child:
    """A service that was started. `started` is in seconds of the monotonic clock."""

    service: Service
    log: Path
    log_start: int
    process: subprocess.Popen[bytes]
    started: float = field(default_factory=time.monotonic)

    @classmethod
    def start(cls, service: Service, logs: Path, environment: Mapping[str, str]) -> "Child":
        """Start the program in its own session, its output appended to `logs/<name>.log`."""
        log = logs / f"{service.name}.log"
        if log.exists() and log.stat().st_size > MAX_LOG_BYTES:
            log.replace(log.with_suffix(".log.1"))
        tied = (sys.executable, "-I", "-S", str(TETHER), str(os.getpid()), *service.command)
        with log.open("ab") as output:
            process = subprocess.Popen(
                tied,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env=dict(environment),
                start_new_session=True,  # a Ctrl-C in the terminal reaches the launcher only
            )
            return cls(service, log, output.tell(), process)

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    @property
    def why_ended(self) -> str:
        """How it ended, for a person: `exit code 3` or `SIGKILL`."""
        code = self.process.poll()
        return signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"

    @property
    def last_line(self) -> str:
        """The last line that it wrote since it was started."""
        with self.log.open("rb") as written:
            written.seek(max(self.log_start, self.log.stat().st_size - 4096))
            lines = written.read().decode(errors="replace").strip().splitlines()
        return lines[-1].strip() if lines else "it wrote nothing"

    def signal_group(self, number: signal.Signals) -> None:
        """Send a signal to it and to all that it started; nothing left to signal is fine."""
        with suppress(ProcessLookupError, PermissionError):  # macOS answers EPERM for a group of zombies
            os.killpg(self.process.pid, number)

    def stop(self, hurry: Callable[[], bool]) -> None:
        """End it: SIGTERM, then SIGKILL after its bound or once `hurry()` says so."""
        self.signal_group(signal.SIGTERM)
        deadline = time.monotonic() + self.service.stop_within
        while not self.ended and time.monotonic() < deadline and not hurry():
            time.sleep(0.02)
        self.signal_group(signal.SIGKILL)
        self.process.wait()

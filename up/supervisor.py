"""Starts the children in order, keeps them running, ends them in reverse."""

import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from up.child import Child, Service
from up.errors import StartError
from up.signals import Signals

FIRST_DELAY = 1.0
LONGEST_DELAY = 30.0
"""Seconds between a child's end and its next start: doubled each time, up to this."""

SETTLED_AFTER = 60.0
"""Seconds a child must have lived for its next end to count as the first."""

LOOK_EVERY = 0.05
"""Seconds between two looks at a child that is starting."""


class Supervisor:
    """All children of one launch. `say` takes one line for the person; `look_every` is in seconds."""

    def __init__(
        self, services: Sequence[Service], logs: Path, environment: Mapping[str, str], say: Callable[[str], None]
    ) -> None:
        self._services = services
        self._logs = logs
        self._environment = environment
        self._say = say
        self._signals = Signals()
        self._children: dict[str, Child] = {}
        self._delays: dict[str, float] = {}
        self._due: dict[str, float] = {}

    def pid(self, name: str) -> int:
        return self._children[name].process.pid

    def start(self) -> bool:
        """Start every service and wait for each to be ready before the next.

        Returns:
            False when a signal asked for the end meanwhile.

        Raises:
            StartError: a child ended or was not ready in time; its last line is in the message.
        """
        for service in self._services:
            child = Child.start(service, self._logs, self._environment)
            self._children[service.name] = child
            if not self._become_ready(child):
                return False
            if service.ready is None:
                del self._children[service.name]
        return not self._signals.stopping

    def _become_ready(self, child: Child) -> bool:
        service = child.service
        deadline = child.started + service.start_within
        while not self._signals.stopping:
            if child.ended:
                if service.ready is None and child.process.returncode == 0:
                    return True
                raise _failure(child, f"ended with {child.why_ended} before it was ready")
            if service.ready is not None and service.ready():
                return True
            if time.monotonic() > deadline:
                raise _failure(child, f"was not ready within {service.start_within:.0f} s")
            self._signals.wait(LOOK_EVERY)
        return False

    def watch(self) -> None:
        """Start again whatever ends, until a signal asks for the end."""
        while not self._signals.stopping:
            now = time.monotonic()
            for child in list(self._children.values()):
                name = child.service.name
                if child.ended and name not in self._due:
                    self._plan(child, now)
                elif self._due.get(name, now + 1) <= now:
                    self._start_again(child.service)
            next_due = min(self._due.values(), default=now + 1.0)
            self._signals.wait(min(1.0, max(0.0, next_due - time.monotonic())))

    def _plan(self, child: Child, now: float) -> None:
        name = child.service.name
        child.signal_group(signal.SIGKILL)  # what it started must not hold its port
        before = self._delays.get(name, 0.0) if now - child.started < SETTLED_AFTER else 0.0
        delay = min(LONGEST_DELAY, before * 2 or FIRST_DELAY)
        self._delays[name], self._due[name] = delay, now + delay
        # One that was killed had no last words: its last line would mislead.
        words = "" if child.process.returncode < 0 else f": {child.last_line}"
        self._say(
            f"{name} (pid {child.process.pid}) ended with {child.why_ended}, starting it again in {delay:.0f} s{words}"
        )

    def _start_again(self, service: Service) -> None:
        del self._due[service.name]
        child = Child.start(service, self._logs, self._environment)
        self._children[service.name] = child
        self._say(f"{service.name} was started again (pid {child.process.pid})")

    def stop(self) -> None:
        """End every child, the last started first. A second signal cuts the patience short."""
        for child in reversed(list(self._children.values())):
            child.stop(self._signals.hurry)


def _failure(child: Child, what: str) -> StartError:
    return StartError(f"{child.service.name} {what}: {child.last_line} (log: {child.log})", code=1)

"""One launch from beginning to end, whatever its services are."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from up.child import Service
from up.supervisor import Supervisor


def say(line: str) -> None:
    """One line for the person, at once."""
    sys.stdout.write(f"waystation: {line}\n")
    sys.stdout.flush()


def launch(
    services: Sequence[Service], logs: Path, environment: Mapping[str, str], greet: Callable[[Supervisor], str]
) -> None:
    """Start the services, greet, keep them running, and end them all however this ends.

    Raises:
        StartError: a service did not start; what had been started is ended first.
    """
    supervisor = Supervisor(services, logs, environment, say)
    try:
        if supervisor.start():
            sys.stdout.write(greet(supervisor))
            sys.stdout.flush()
            supervisor.watch()
    finally:
        supervisor.stop()
    say("everything has ended")

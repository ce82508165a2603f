"""Run `launch` with stand-in services: `stand_in.py LOGS NAME=CODE ...`; each is a Python program, ready at once.

A program whose name begins with `task` must exit with 0; one that begins with `never` is never ready.
"""

import os
import sys
from pathlib import Path

from up.child import Service
from up.errors import StartError
from up.launch import launch


def service(name: str, code: str) -> Service:
    ready = None if name.startswith("task") else lambda: not name.startswith("never")
    return Service(name, (sys.executable, "-c", code), ready, start_within=0.5, stop_within=1.0)


def main() -> int:
    logs, *programs = sys.argv[1:]
    services = [service(*program.split("=", 1)) for program in programs]
    try:
        launch(services, Path(logs), os.environ, lambda _supervisor: "standing\n")
    except StartError as error:
        sys.stderr.write(f"{error}\n")
        return error.code
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Starts the server: `python -m runtimes.scripted --port 8701 --state state/scripted`."""

import argparse
import os
import resource
import socket
import sys
from pathlib import Path

import uvicorn

from runtimes.scripted.server import application
from runtimes.scripted.sessions import Book
from runtimes.scripted.stream import Protocol


class AnnouncingServer(uvicorn.Server):
    """Reads the journal before it listens, and says where it listens."""

    def __init__(self, config: uvicorn.Config, book: Book) -> None:
        super().__init__(config)
        self._book = book

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._book.restore()
        await super().startup(sockets)
        for listener in sockets or ():
            host, port = listener.getsockname()[:2]
            print(f"scripted runtime listening on http://{host}:{port}", flush=True)  # noqa: T201


def arguments(given: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m runtimes.scripted", description="A runtime driven by scripts.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one and prints it")
    parser.add_argument("--state", type=Path, required=True, help="directory of the journal")
    parser.add_argument(
        "--token", default=os.environ.get("SCRIPTED_TOKEN"), help="required as a bearer token, if given"
    )
    parser.add_argument("--heartbeat", type=float, default=1.0, help="seconds between heartbeats of a silent turn")
    return parser.parse_args(given)


def allow_many_connections() -> None:
    """Take as many open files as this user may have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main() -> None:
    """Serve until told to end."""
    options = arguments(sys.argv[1:])
    allow_many_connections()
    book = Book(options.state)
    config = uvicorn.Config(
        application(book, token=options.token, heartbeat_s=options.heartbeat),
        http=Protocol,
        ws="none",
        loop="uvloop",
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
        backlog=4096,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=1,
    )
    listener = socket.create_server((options.host, options.port), backlog=4096)
    try:
        AnnouncingServer(config, book).run(sockets=[listener])
    finally:
        book.journal.close()


if __name__ == "__main__":
    main()

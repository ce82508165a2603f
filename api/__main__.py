"""`python -m api`: serve until SIGTERM or SIGINT, then end in order. Composition root of the API; nobody imports it."""

import asyncio
import contextlib
import gc
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Final

import structlog
import uvicorn
import uvloop

from api.app import create_app, new_state
from api.deps import AppState
from api.temporal_status import temporal_status
from protocol.logging import configure_logging
from security.vault import MasterKeyError
from settings import Settings
from store import owed
from store.engine import open_store
from store.live import open_live
from temporal_client.waking import Limits, Waker, connect

_BACKLOG: Final = 2048
_SHUTDOWN_LIMIT_S: Final = 10
"""Seconds that requests have to finish; open streams are ended at once."""
_log = structlog.get_logger()


class _Server(uvicorn.Server):
    """Ends open streams first, which would otherwise hold the shutdown up, and leaves with code 0."""

    def __init__(self, config: uvicorn.Config, state: AppState) -> None:
        super().__init__(config)
        self._state = state

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._state.closing.set()
        await super().shutdown(sockets)


async def compose(settings: Settings) -> AppState:
    """Return the state of an API that wakes sessions and shows them live; nothing runs yet."""
    store = open_store(settings.database_url)
    client = await connect(lazy=True)
    live = open_live(store, settings.state_dir)
    limits = Limits(settings.schedule_to_start_s, settings.heartbeat_timeout_s)
    waker = Waker(client, limits, lambda ids: store.read(partial(owed.shown, session_ids=ids)))

    @contextlib.asynccontextmanager
    async def running() -> AsyncIterator[None]:
        await live.start()
        waker.start()
        try:
            yield
        finally:
            await waker.close()
            await live.close()

    state = new_state(settings, store)
    state.live, state.waker, state.running = live, waker, running
    state.engine_status = partial(temporal_status, client, store)
    return state


async def _serve(settings: Settings, listening: socket.socket) -> None:
    state = await compose(settings)
    config = uvicorn.Config(
        create_app(state),
        http="httptools",
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=_SHUTDOWN_LIMIT_S,
        server_header=False,
    )
    # What was made so far lives as long as the process: the collector need not walk it again and again.
    gc.freeze()
    _log.info("api_ready", host=settings.host, port=listening.getsockname()[1])
    await _Server(config, state).serve([listening])


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((host, port))
    listening.listen(_BACKLOG)
    listening.setblocking(False)
    return listening


def main() -> int:
    """Serve, and return the exit code: 2 if the address cannot be had or the configuration is wrong."""
    settings = Settings()
    configure_logging(settings.log_level)
    try:
        listening = _listen(settings.host, settings.port)
    except OSError as error:
        sys.stderr.write(f"cannot listen on {settings.host}:{settings.port}: {error.strerror or error}\n")
        return 2
    try:
        uvloop.run(_serve(settings, listening))
    except MasterKeyError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

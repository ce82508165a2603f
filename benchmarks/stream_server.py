"""A server of its own process: `python -m benchmarks.stream_server ours|bare URL FOLDER`. It prints its port.

`ours` is the whole application; `bare` the least that Starlette needs for a stream. Both tell their memory.
"""

import asyncio
import gc
import pathlib
import socket
import sys
from collections.abc import AsyncIterator
from typing import Any

import psutil
import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route


async def memory(_request: Request) -> JSONResponse:
    """Tell the bytes this process occupies, after a collection."""
    gc.collect()
    return JSONResponse(psutil.Process().memory_info().rss)


def bare_app(items: "asyncio.Queue[bytes]") -> Starlette:
    """Return an application whose one stream sends what is put into `items`."""

    async def follow() -> AsyncIterator[bytes]:
        yield b"retry: 1000\n\n"
        while True:
            yield await items.get()

    async def stream(_request: Request) -> StreamingResponse:
        return StreamingResponse(follow(), media_type="text/event-stream")

    return Starlette(routes=[Route("/memory", memory), Route("/{path:path}", stream)])


def our_app(url: str, folder: str) -> Any:
    """Return the API with its streams, and its live bus, to be started."""
    from api.app import create_app, new_state
    from settings import Settings
    from store.live import open_live

    state = new_state(Settings(state_dir=pathlib.Path(folder), database_url=url))
    state.live = open_live(state.store, pathlib.Path(folder))
    app = create_app(state)
    app.add_route("/memory", memory)
    return app


def server_of(app: Any, port: int) -> uvicorn.Server:
    """Return a server that gives its streams a moment to end."""
    config = uvicorn.Config(app, port=port, access_log=False, log_config=None, timeout_graceful_shutdown=1)
    return uvicorn.Server(config)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def main(kind: str, url: str, folder: str) -> None:
    port = free_port()
    if kind == "bare":
        app = bare_app(asyncio.Queue())
    else:
        app = our_app(url, folder)
        await app.state.waystation.live.start()
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    await server_of(app, port).serve()


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))

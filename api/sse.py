"""A session's log as a response that stays open: server-sent events, and nothing held but a viewer."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from protocol.frames import PING, RETRY
from store.viewers import Viewer

PING_S: Final = 15.0
"""Seconds of silence after which a ping is sent."""


class EventStream(Response):
    """Opens a viewer when it is sent, and so can still answer with an error; closes it however the stream ends."""

    media_type = "text/event-stream"

    def __init__(self, open_viewer: Callable[[], Awaitable[Viewer]], *, ping_s: float = PING_S) -> None:
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._open_viewer = open_viewer
        self._ping_s = ping_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the session is deleted, the client leaves or the process ends."""
        viewer = await self._open_viewer()
        # Its end frees everything at once, also while nothing is sent that would find out.
        gone = asyncio.create_task(_disconnected(receive))
        gone.add_done_callback(lambda _: viewer.close())
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            data: bytes | None = RETRY
            while data is not None:
                await send({"type": "http.response.body", "body": data or PING, "more_body": True})
                data = await viewer.next(self._ping_s)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            viewer.close()
            gone.cancel()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass

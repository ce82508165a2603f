"""A native turn as a stream of server-sent events, and the ways in which an answer can fail to arrive."""

import asyncio
from typing import Any, cast

from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from runtimes.scripted.journal import Journal
from runtimes.scripted.turns import Frame, NativeTurn

HEARTBEAT = b'event: heartbeat\ndata: {"type":"heartbeat"}\n\n'
TRANSPORT = "scripted.transport"
SPLIT_PAUSE_S = 0.002
"""Enough for the two halves of a split character to be two reads at the other end."""


class Protocol(HttpToolsProtocol):
    """uvicorn's own, which also gives the application the connection, so that it can be cut on purpose."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        scope: dict[str, Any] = cast("dict[str, Any]", self.scope)
        scope[TRANSPORT] = self.transport


async def drop(scope: Scope, receive: Receive) -> None:
    """Close the connection without another byte, and wait until it is closed."""
    scope[TRANSPORT].close()
    await gone(receive)


async def gone(receive: Receive) -> None:
    """Wait until the client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


class NoAnswer(Response):
    """Nothing is answered: the connection is dropped at once, or stays silent until the client goes."""

    def __init__(self, *, at_once: bool) -> None:
        super().__init__()
        self._at_once = at_once

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._at_once:
            await drop(scope, receive)
        else:
            await gone(receive)


class TurnStream(Response):
    """The events of a turn after a seq, then those to come. Its end is clean whether or not the turn has ended."""

    def __init__(self, turn: NativeTurn, journal: Journal, heartbeat_s: float, after: int = 0) -> None:
        super().__init__()
        self._turn = turn
        self._journal = journal
        self._heartbeat_s = heartbeat_s
        self._after = after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._journal.flush()
        await send({"type": "http.response.start", "status": 200, "headers": headers(self._turn)})
        self._turn.join()
        try:
            await self._follow(scope, receive, send)
        finally:
            self._turn.leave()

    async def _follow(self, scope: Scope, receive: Receive, send: Send) -> None:
        transport: asyncio.Transport = scope[TRANSPORT]
        while not transport.is_closing():
            over = self._turn.status != "running"
            frames, cut = self._turn.read(self._after)
            if frames:
                self._after = frames[-1].seq
                self._journal.flush()
                await write(frames, send)
            if cut:
                await drop(scope, receive)
                return
            if over:
                await send({"type": "http.response.body", "body": b""})
                return
            if not await self._turn.changed(self._heartbeat_s) and not self._turn.quiet:
                await send(part(HEARTBEAT))
        await gone(receive)


async def write(frames: list[Frame], send: Send) -> None:
    """Send frames, together where none of them is to be split."""
    if not any(frame.split for frame in frames):
        await send(part(b"".join(frame.wire for frame in frames)))
        return
    for frame in frames:
        at = middle(frame.wire) if frame.split else len(frame.wire)
        await send(part(frame.wire[:at]))
        if at < len(frame.wire):
            await asyncio.sleep(SPLIT_PAUSE_S)
            await send(part(frame.wire[at:]))


def middle(wire: bytes) -> int:
    """Return a place within the first character of several bytes, or within the middle of a text that has none."""
    for at, byte in enumerate(wire):
        if byte >= 0x80:
            return at + 1
    return len(wire) // 2


def part(body: bytes) -> dict[str, Any]:
    """Return an ASGI message with a piece of the body."""
    return {"type": "http.response.body", "body": body, "more_body": True}


def headers(turn: NativeTurn) -> list[tuple[bytes, bytes]]:
    """Return the acknowledgement of a send."""
    return [
        (b"content-type", b"text/event-stream; charset=utf-8"),
        (b"cache-control", b"no-store"),
        (b"x-turn-id", turn.id.encode()),
    ]

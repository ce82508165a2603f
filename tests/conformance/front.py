"""What stands between the SDK's tests and the server: it gives requests live ids and hands answers back as they are."""

import asyncio
import json
from collections import defaultdict
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import httpx2

from tests.conformance.objects import UnpreparedError
from tests.conformance.rewrite import Rewriter, Sent, parse_target

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

BEGIN = "/-/begin"
"""Tells the name of the test to which the requests that follow belong."""
_BETWEEN_NEIGHBOURS = {"connection", "content-length", "host", "keep-alive", "transfer-encoding"}
_SHOWN_BYTES = 2000


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request of a test and how it was answered. `error` is the answer's `error.type`, with its message."""

    request: str
    status: int
    error: str = ""
    message: str = ""
    unprepared: str = ""


class Front:
    """An ASGI application. `seen` are the exchanges by test."""

    def __init__(self, server: httpx2.AsyncClient, rewriter: Rewriter) -> None:
        self._server = server
        self._rewriter = rewriter
        self._test = ""
        self.seen: dict[str, list[Exchange]] = defaultdict(list)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http", scope["type"]
        body = await _read(receive)
        if scope["path"] == BEGIN:
            self._test = body.decode()
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body"})
            return
        query = scope["query_string"].decode()
        path, parameters = parse_target(f"{scope['path']}?{query}")
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        sent = self._rewriter.in_workspace(Sent(scope["method"], path, parameters, headers, body))
        await self._answer(sent, receive, send)

    async def _answer(self, sent: Sent, receive: Receive, send: Send) -> None:
        unprepared = ""
        try:
            live = await self._rewriter.rewrite(sent)
        except UnpreparedError as error:
            live, unprepared = sent, str(error)  # it goes to the server all the same, whose answer counts
        headers = {name: value for name, value in live.headers.items() if name not in _BETWEEN_NEIGHBOURS}
        request = self._server.build_request(live.method, live.target, content=live.body, headers=headers)
        response = await self._server.send(request, stream=True)
        try:
            error = b"".join([chunk async for chunk in response.aiter_raw()]) if response.is_error else None
            self._note(sent, response.status_code, error or b"", unprepared)
            await _hand_back(response, error, receive, send)
        finally:
            await response.aclose()

    def _note(self, sent: Sent, status: int, body: bytes, unprepared: str) -> None:
        error: dict[str, Any] = {}
        with suppress(ValueError, AttributeError):
            error = json.loads(body).get("error", {})
        kind, message = str(error.get("type", "")), str(error.get("message", ""))[:_SHOWN_BYTES]
        exchange = Exchange(f"{sent.method} {sent.path}", status, kind, message, unprepared)
        self.seen[self._test].append(exchange)


async def _read(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


async def _hand_back(response: httpx2.Response, read: bytes | None, receive: Receive, send: Send) -> None:
    """Pass an answer on until it ends or its reader goes away; `read` is its body, if that was read already."""
    headers = [
        (name.lower().encode(), value.encode())
        for name, value in response.headers.multi_items()
        if name.lower() not in _BETWEEN_NEIGHBOURS
    ]
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    passing = asyncio.create_task(_pass_on(response, read, send))
    gone = asyncio.create_task(receive())
    await asyncio.wait({passing, gone}, return_when=asyncio.FIRST_COMPLETED)
    for task in (passing, gone):
        task.cancel()
    await asyncio.gather(passing, gone, return_exceptions=True)


async def _pass_on(response: httpx2.Response, read: bytes | None, send: Send) -> None:
    if read is not None:
        await send({"type": "http.response.body", "body": read})
        return
    async for chunk in response.aiter_raw():
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body"})

"""Connections to one server, taken and given back at a cost that does not grow with their number.

httpx2's own pool looks at all its connections with each request: with 2,000 streams open that takes longer than the
request itself. Here each connection is a pool of its own, and the idle ones are a stack.
"""

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from functools import cache

import httpx2

IDLE_LIMIT = 256
KEEP_ALIVE_S = 30.0
"""Well below the server's, so that no request is written to a connection that is being closed."""


@cache
def tls() -> ssl.SSLContext:
    """Return the process's one TLS context: reading the certificates takes longer than a whole turn."""
    return httpx2.create_ssl_context(trust_env=False)


class Connections(httpx2.AsyncBaseTransport):
    """As many connections as there are requests under way."""

    def __init__(self) -> None:
        self._idle: list[httpx2.AsyncHTTPTransport] = []
        self._limits = httpx2.Limits(max_connections=1, keepalive_expiry=KEEP_ALIVE_S)
        self._closed = False

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Make a request on an idle connection, or on a new one; it is given back with the end of the answer."""
        connection = self._idle.pop() if self._idle else self._new()
        async with AsyncExitStack() as on_failure:
            on_failure.push_async_callback(connection.aclose)
            response = await connection.handle_async_request(request)
            on_failure.pop_all()
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        response.stream = Body(response.stream, lambda: self._give_back(connection))
        return response

    def _new(self) -> httpx2.AsyncHTTPTransport:
        return httpx2.AsyncHTTPTransport(verify=tls(), trust_env=False, limits=self._limits)

    def _give_back(self, connection: httpx2.AsyncHTTPTransport) -> httpx2.AsyncHTTPTransport | None:
        """Keep a connection; one that is too many is returned instead, to be closed."""
        if self._closed or len(self._idle) >= IDLE_LIMIT:
            return connection
        self._idle.append(connection)
        return None

    async def aclose(self) -> None:
        """Close the idle connections; others are closed with the end of their answers."""
        self._closed = True
        while self._idle:
            await self._idle.pop().aclose()


class Body(httpx2.AsyncByteStream):
    """The body of an answer, whose end frees its connection."""

    def __init__(self, stream: httpx2.AsyncByteStream, free: Callable[[], httpx2.AsyncHTTPTransport | None]) -> None:
        self._stream = stream
        self._free = free
        self._open = True

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            yield chunk

    async def aclose(self) -> None:
        if not self._open:
            return
        self._open = False
        await self._stream.aclose()
        surplus = self._free()
        if surplus is not None:
            await surplus.aclose()

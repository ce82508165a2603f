"""The HTTP side of the adapter: single calls, streaming requests, and the streams that wait to be followed."""

import asyncio
from typing import Any

import httpx2

from runtimes.base import Json
from runtimes.scripted.connections import Connections

CALL_TIMEOUT_S = 10.0
CONNECT_SHARE = 0.9
"""Of the time for a send: a connection that is not made gives up first, as that is a failure without ambiguity."""
UNTAKEN_S = 120.0
"""Seconds after which a stream that nobody has come to follow is closed; its turn can still be resumed."""


class Client:
    """The calls to one server."""

    def __init__(self, base_url: str, token: str | None) -> None:
        self._client = httpx2.AsyncClient(
            base_url=base_url,
            headers={"authorization": f"Bearer {token}"} if token else {},
            timeout=CALL_TIMEOUT_S,
            transport=Connections(),
            trust_env=False,
        )
        self._streams: dict[str, tuple[httpx2.Response, float]] = {}

    async def close(self) -> None:
        """Close everything, also the streams that nobody followed."""
        for turn_id in list(self._streams):
            await self._drop(turn_id)
        await self._client.aclose()

    async def call(
        self, method: str, path: str, body: Json | None = None, headers: dict[str, str] | None = None
    ) -> Any:
        """Make a call and return the JSON that it is answered with.

        Raises:
            httpx2.HTTPStatusError: it was refused.
            httpx2.TransportError: its answer did not arrive.
        """
        response = await self._client.request(method, path, json=body, headers=headers)
        response.raise_for_status()
        return response.json()

    async def open(
        self,
        method: str,
        path: str,
        body: Json | None = None,
        headers: dict[str, str] | None = None,
        timeout_s: float = CALL_TIMEOUT_S,
    ) -> httpx2.Response:
        """Make a request and return its answer with the body still to come; `timeout_s` ends with the headers.

        Raises:
            TimeoutError: no headers in time.
            httpx2.HTTPStatusError: it was refused.
            httpx2.TransportError: the connection was not made, or was lost.
        """
        timeout = httpx2.Timeout(None, connect=timeout_s * CONNECT_SHARE)
        request = self._client.build_request(method, path, json=body, headers=headers, timeout=timeout)
        async with asyncio.timeout(timeout_s):
            response = await self._client.send(request, stream=True)
            if response.is_error:
                await response.aread()
        response.raise_for_status()
        return response

    async def keep(self, turn_id: str, response: httpx2.Response) -> None:
        """Keep a stream until someone follows the turn, and drop what was kept too long."""
        now = asyncio.get_running_loop().time()
        await self._drop(turn_id)
        for other, (_, since) in list(self._streams.items()):
            # In the order of their age: the first young one ends the search.
            if now - since < UNTAKEN_S:
                break
            await self._drop(other)
        self._streams[turn_id] = (response, now)

    def take(self, turn_id: str) -> httpx2.Response | None:
        """Hand over the stream that the turn's send left open, once."""
        kept = self._streams.pop(turn_id, None)
        return kept[0] if kept else None

    async def _drop(self, turn_id: str) -> None:
        if response := self.take(turn_id):
            await response.aclose()

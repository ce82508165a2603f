"""Trying a token on an MCP server: the calls that any client begins with, over streamable HTTP."""

import asyncio
import contextlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

import httpx2
from pydantic_core import from_json, to_json

from protocol.version import VERSION
from security.addresses import AddressRefusedError
from security.captured import Captured, capture

Json = dict[str, Any]

_PROTOCOL: Final = "2025-06-18"
_MAX_REPLY: Final = 1024 * 1024
_MAX_REDIRECTS: Final = 3
_CLOSE_S: Final = 1.0
_REDIRECTS: Final = (307, 308)
_INITIALIZE: Final[Json] = {
    "protocolVersion": _PROTOCOL,
    "capabilities": {},
    "clientInfo": {"name": "waystation", "version": VERSION},
}


@dataclass(frozen=True, slots=True)
class FailedStep:
    """The call that failed; `response` is None where no answer came."""

    method: str
    response: Captured | None = None

    @property
    def refused(self) -> bool:
        """Whether the server does not take the token."""
        return self.response is not None and self.response.status_code in (401, 403)

    def json(self) -> Json:
        """Return the API's probe."""
        return {"method": self.method, "http_response": self.response.json() if self.response else None}


class _StepError(Exception):
    def __init__(self, response: Captured) -> None:
        super().__init__(response.status_code)
        self.response = response


async def probe(
    client: httpx2.AsyncClient, url: str, token: str, secrets: Collection[str], deadline: float
) -> FailedStep | None:
    """Make an MCP connection with a bearer token until `deadline`, on the loop's clock; return what failed, or None.

    Raises:
        AddressRefusedError: the server's address is not one to connect to.
    """
    connection = _Connection(client, url, token, secrets)
    try:
        async with asyncio.timeout_at(deadline):
            await connection.walk()
        await connection.close()
        return None
    except AddressRefusedError:
        raise
    except _StepError as error:
        return FailedStep(connection.method, error.response)
    except (httpx2.HTTPError, httpx2.InvalidURL, TimeoutError):
        return FailedStep(connection.method)


class _Connection:
    """One MCP connection; `method` is the call it has come to."""

    def __init__(self, client: httpx2.AsyncClient, url: str, token: str, secrets: Collection[str]) -> None:
        self.method = "initialize"
        self._client = client
        self._url = url
        self._secrets = secrets
        self._headers = {
            "authorization": f"Bearer {token}",
            "accept": "application/json, text/event-stream",
            "content-type": "application/json",
        }

    async def walk(self) -> None:
        """Initialise, and list the tools if there are any.

        Raises:
            _StepError: the server answered `method` with an error.
        """
        reply = await self._call("initialize", _INITIALIZE)
        result = reply.get("result")
        capabilities = result.get("capabilities") if isinstance(result, dict) else None
        self._headers["mcp-protocol-version"] = _PROTOCOL
        await self._send("notifications/initialized")
        if isinstance(capabilities, dict) and "tools" in capabilities:
            await self._call("tools/list", {})

    async def close(self) -> None:
        """Tell the server that its session is over, if it made one; whether it listens does not matter."""
        if "mcp-session-id" in self._headers:
            with contextlib.suppress(httpx2.HTTPError, TimeoutError):
                async with asyncio.timeout(_CLOSE_S), self._client.stream("DELETE", self._url, headers=self._headers):
                    pass

    async def _call(self, method: str, params: Json) -> Json:
        response, body, reply = await self._send(method, {"id": 1, "params": params})
        if reply is None and len(body) > _MAX_REPLY:
            return {}  # no error is that long
        if reply is None or "error" in reply:
            raise _StepError(capture(response, body, self._secrets))
        return reply

    async def _send(self, method: str, more: Json | None = None) -> tuple[httpx2.Response, bytes, Json | None]:
        self.method = method
        content = to_json({"jsonrpc": "2.0", "method": method, **(more or {})})
        for _ in range(_MAX_REDIRECTS):
            async with self._client.stream("POST", self._url, content=content, headers=self._headers) as response:
                body, reply = await _read_reply(response)
            target = self._redirected(response)
            if target is None:
                break
            self._url = target
        if not response.is_success:
            raise _StepError(capture(response, body, self._secrets))
        session_id = response.headers.get("mcp-session-id", "")
        if session_id and session_id.isascii() and session_id.isprintable():
            self._headers["mcp-session-id"] = session_id
        return response, body, reply

    def _redirected(self, response: httpx2.Response) -> str | None:
        """Return where a redirect leads, if the token may go there: to the same scheme, host and port."""
        if response.status_code not in _REDIRECTS:
            return None
        here = httpx2.URL(self._url)
        target = here.join(response.headers.get("location", ""))
        same = (target.scheme, target.host, target.port) == (here.scheme, here.host, here.port)
        return str(target) if same else None


async def _read_reply(response: httpx2.Response) -> tuple[bytes, Json | None]:
    """Return what was read, and the JSON-RPC reply in it; a stream of events is read until there is one."""
    streamed = response.headers.get("content-type", "").startswith("text/event-stream")
    body, begun = bytearray(), 0
    async for chunk in response.aiter_bytes():
        body += chunk
        if streamed and b"\n" in chunk:
            end = body.rindex(b"\n") + 1
            reply = _reply_in_events(bytes(body[begun:end]))
            begun = end
            if reply is not None:
                return bytes(body), reply
        if len(body) > _MAX_REPLY:
            break
    return bytes(body), None if streamed else _reply_in(bytes(body))


def _reply_in_events(lines: bytes) -> Json | None:
    replies = (_reply_in(line.removeprefix(b"data:")) for line in lines.splitlines() if line.startswith(b"data:"))
    return next((reply for reply in replies if reply is not None), None)


def _reply_in(text: bytes) -> Json | None:
    try:
        message = from_json(text)
    except ValueError:
        return None
    return message if isinstance(message, dict) and message.keys() & {"result", "error"} else None

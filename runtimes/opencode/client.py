"""The calls of OpenCode's first-generation HTTP API that the adapter makes, one method each, and nothing retried."""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import httpx2

from runtimes.base import Json

_CALL_S = 30.0
_STREAM_SILENCE_S = 45.0
"""OpenCode sends a heartbeat every 10 s; a stream silent for longer than this is dead."""
_PAGE = 100
_EVENT_BYTES = 64 * 1024 * 1024
"""A tool's whole output comes in one event."""


class StatusError(Exception):
    """The server answered with an error. Its text is left out: it may repeat what was sent."""

    def __init__(self, method: str, path: str, status: int, name: str) -> None:
        super().__init__(f"OpenCode answered {status} ({name}) to {method} {path}")
        self.method = method
        self.status = status


def _name(response: httpx2.Response) -> str:
    try:
        body = response.json()
    except json.JSONDecodeError:
        return "no detail"
    return str(body.get("name") or body.get("_tag") or "no detail") if isinstance(body, dict) else "no detail"


def _check(response: httpx2.Response) -> httpx2.Response:
    if response.is_success:
        return response
    request = response.request
    raise StatusError(request.method, request.url.path, response.status_code, _name(response))


class OpenCodeClient:
    """A client of one server, for all its sessions. Every call may raise `StatusError` or an `httpx2` error."""

    def __init__(self, base_url: str, username: str, password: str | None) -> None:
        auth = httpx2.BasicAuth(username, password) if password is not None else None
        # Each session being followed holds a connection, so their number has no limit here.
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=20)
        self._http = httpx2.AsyncClient(base_url=base_url.rstrip("/"), auth=auth, timeout=_CALL_S, limits=limits)

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def _call(self, method: str, path: str, directory: str | None, **arguments: Any) -> httpx2.Response:
        params = {**arguments.pop("params", {}), **({"directory": directory} if directory else {})}
        return _check(await self._http.request(method, path, params=params, **arguments))

    async def health(self) -> Json:
        """Return `{"healthy", "version"}`."""
        found: Json = (await self._call("GET", "/global/health", None, timeout=10.0)).json()
        return found

    async def create_session(self, directory: str, body: Json) -> Json:
        """Create a session that works in a directory; return it."""
        made: Json = (await self._call("POST", "/session", directory, json=body)).json()
        return made

    async def retrieve_session(self, directory: str, session: str) -> Json:
        """Return a session."""
        found: Json = (await self._call("GET", f"/session/{session}", directory)).json()
        return found

    async def delete_session(self, directory: str, session: str) -> None:
        """Delete a session with all its messages."""
        await self._call("DELETE", f"/session/{session}", directory)

    async def prompt(self, directory: str, session: str, body: Json, timeout_s: float) -> None:
        """Hand in a message; OpenCode acknowledges it before it stores it.

        Raises:
            TimeoutError: no answer in time.
        """
        async with asyncio.timeout(timeout_s):
            await self._call("POST", f"/session/{session}/prompt_async", directory, json=body, timeout=timeout_s)

    async def reply(self, directory: str, permission: str, body: Json, timeout_s: float = _CALL_S) -> None:
        """Answer a permission request.

        Raises:
            TimeoutError: no answer in time.
        """
        async with asyncio.timeout(timeout_s):
            await self._call("POST", f"/permission/{permission}/reply", directory, json=body, timeout=timeout_s)

    async def abort(self, directory: str, session: str) -> None:
        """Cancel what runs in a session; succeeds too when nothing runs, or there is no such session."""
        await self._call("POST", f"/session/{session}/abort", directory)

    async def dispose(self, directory: str) -> None:
        """Release what the server holds in memory for a directory."""
        await self._call("POST", "/instance/dispose", directory)

    async def status(self, directory: str, session: str) -> Json | None:
        """Return a session's status, `{"type": "busy" | "retry", ...}`; None when it is idle."""
        found: dict[str, Json] = (await self._call("GET", "/session/status", directory)).json()
        status = found.get(session)
        return None if status is None or status["type"] == "idle" else status

    async def permissions(self, directory: str, session: str) -> list[Json]:
        """Return a session's open permission requests; OpenCode forgets to remove those of an aborted turn."""
        found: list[Json] = (await self._call("GET", "/permission", directory)).json()
        return [permission for permission in found if permission["sessionID"] == session]

    async def message(self, directory: str, session: str, message: str) -> Json | None:
        """Return a message, `{"info", "parts"}`; None if the session, which must exist, has no such message."""
        try:
            found: Json = (await self._call("GET", f"/session/{session}/message/{message}", directory)).json()
        except StatusError as error:
            if error.status != 404:
                raise
            await self.retrieve_session(directory, session)
            return None
        return found

    async def last_message(self, directory: str, session: str) -> Json | None:
        """Return the newest message, or None."""
        response = await self._call("GET", f"/session/{session}/message", directory, params={"limit": 1})
        found: list[Json] = response.json()
        return found[-1] if found else None

    async def messages_from(self, directory: str, session: str, message: str) -> list[Json]:
        """Return a message and all after it, oldest first; empty if there is no such message."""
        if await self.message(directory, session, message) is None:
            return []
        found: list[Json] = []
        cursor: str | None = None
        while True:
            params = {"limit": _PAGE, **({"before": cursor} if cursor else {})}
            response = await self._call("GET", f"/session/{session}/message", directory, params=params)
            found = [*response.json(), *found]
            index = next((n for n, item in enumerate(found) if item["info"]["id"] == message), None)
            cursor = response.headers.get("x-next-cursor")
            if index is not None:
                return found[index:]
            if cursor is None:
                return []

    async def events(self, directory: str) -> AsyncGenerator[Json, None]:
        """Yield the events of a directory from now on, first `server.connected`; there is no replay."""
        timeout = httpx2.Timeout(_CALL_S, read=_STREAM_SILENCE_S)
        async with self._http.stream("GET", "/event", params={"directory": directory}, timeout=timeout) as response:
            if not response.is_success:
                await response.aread()
            async for event in httpx2.EventSource(_check(response), max_event_size=_EVENT_BYTES):
                if event.data:
                    yield json.loads(event.data)

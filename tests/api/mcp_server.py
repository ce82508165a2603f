"""An MCP server with its token endpoint, for tests: it takes what is set, and notes what it was asked."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from tests.conftest import free_port


@dataclass
class McpServer:
    """What it takes and answers; every field may be changed while it runs."""

    url: str
    good_tokens: set[str]
    refreshed: list[dict[str, Any]] = field(default_factory=list)
    """Answers of the token endpoint, in their order; then it refuses."""
    refusal: Response | None = None
    """What the token endpoint refuses with."""
    answers: dict[str, Response] = field(default_factory=dict)
    """By MCP method, instead of the usual one."""
    capabilities: dict[str, Any] = field(default_factory=lambda: {"tools": {}})
    streamed: bool = False
    delay_s: float = 0.0
    calls: list[tuple[str, str]] = field(default_factory=list)
    """MCP methods with the `Authorization` they came with."""
    hosts: list[str] = field(default_factory=list)
    forms: list[dict[str, str]] = field(default_factory=list)
    """What the token endpoint was sent, with its `Authorization` as `authorization`."""

    async def mcp(self, request: Request) -> Response:
        if request.method == "DELETE":
            self.calls.append(("DELETE", request.headers["mcp-session-id"]))
            return Response(status_code=204)
        message = await request.json()
        method, authorization = message["method"], request.headers.get("authorization", "")
        self.calls.append((method, authorization))
        self.hosts.append(request.headers["host"])
        await asyncio.sleep(self.delay_s)
        if method in self.answers:
            return self.answers[method]
        if authorization.removeprefix("Bearer ") not in self.good_tokens:
            return JSONResponse({"error": "invalid_token", "sent": authorization}, 401)
        if method == "notifications/initialized":
            return Response(status_code=202)
        result = {"capabilities": self.capabilities} if method == "initialize" else {"tools": []}
        return self._reply({"jsonrpc": "2.0", "id": message["id"], "result": result})

    def _reply(self, message: dict[str, Any]) -> Response:
        headers = {"mcp-session-id": "s1"}
        if not self.streamed:
            return JSONResponse(message, headers=headers)
        text = JSONResponse(message).body.decode()
        events = f': hello\n\nevent: message\ndata: {{"method": "notifications/x"}}\n\ndata: {text}\n\n'
        return PlainTextResponse(events, headers=headers, media_type="text/event-stream")

    async def token(self, request: Request) -> Response:
        form = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
        self.forms.append(form | {"authorization": request.headers.get("authorization", "")})
        await asyncio.sleep(self.delay_s)
        if self.refreshed:
            return JSONResponse(self.refreshed.pop(0))
        return self.refusal or JSONResponse({"error": "invalid_grant"}, 400)


@asynccontextmanager
async def running_mcp_server() -> AsyncIterator[McpServer]:
    port = free_port()
    server = McpServer(f"http://127.0.0.1:{port}", {"good"})

    async def moved(_request: Request) -> Response:
        return RedirectResponse(f"http://127.0.0.1:{port}/mcp")

    async def away(_request: Request) -> Response:
        return RedirectResponse(f"http://localhost:{port}/mcp")

    routes = [
        Route("/mcp", server.mcp, methods=["POST", "DELETE"]),
        Route("/moved", moved, methods=["POST"]),
        Route("/away", away, methods=["POST"]),
        Route("/token", server.token, methods=["POST"]),
    ]
    serving = uvicorn.Server(
        uvicorn.Config(Starlette(routes=routes), port=port, access_log=False, log_config=None, lifespan="off")
    )
    task = asyncio.create_task(serving.serve())
    while not serving.started:  # noqa: ASYNC110 - uvicorn tells it by this flag alone
        await asyncio.sleep(0.01)
    yield server
    serving.should_exit = True
    await task

"""The outermost layer: gives each request its id, writes one line about it, and answers what nobody caught.

The line holds method, path, status, milliseconds, request id and workspace id; never content, query values or secrets.
"""

import time

import structlog
from pydantic_core import to_json
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from protocol.ids import new_id

_INFO = "waystation.request"
_log = structlog.stdlib.get_logger("api")


class RequestInfo:
    """What is known of a request so far."""

    __slots__ = ("arrived", "id", "status", "workspace_id")

    def __init__(self) -> None:
        self.arrived = time.monotonic()
        self.id = new_id("req")
        self.workspace_id: str | None = None
        self.status = 0


def request_info(scope: Scope) -> RequestInfo:
    """Return what is known of a request."""
    info: RequestInfo = scope[_INFO]
    return info


class RequestLog:
    """ASGI middleware: request id on the response and in every log line, one line per request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        info = scope[_INFO] = RequestInfo()
        structlog.contextvars.bind_contextvars(request_id=info.id)
        try:
            await self._answered(scope, receive, _with_request_id(send, info), info)
        finally:
            _log.info(
                "request",
                method=scope["method"],
                path=scope["path"],
                status=info.status,
                ms=round((time.monotonic() - info.arrived) * 1000, 2),
                workspace_id=info.workspace_id,
            )
            structlog.contextvars.unbind_contextvars("request_id")

    async def _answered(self, scope: Scope, receive: Receive, send: Send, info: RequestInfo) -> None:
        try:
            await self._app(scope, receive, send)
        except Exception:
            _log.exception("unexpected error", path=scope["path"])
            if info.status:  # the answer has begun: only breaking it off tells the client
                raise
            await _send_internal_error(send, info.id)


def _with_request_id(send: Send, info: RequestInfo) -> Send:
    async def send_with_id(message: Message) -> None:
        if message["type"] == "http.response.start":
            info.status = message["status"]
            message["headers"] = [*message["headers"], (b"request-id", info.id.encode())]
        await send(message)

    return send_with_id


async def _send_internal_error(send: Send, request_id: str) -> None:
    error = {"type": "api_error", "message": "internal error; it was logged under this request id"}
    body = to_json({"type": "error", "error": error, "request_id": request_id})
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 500, "headers": headers})
    await send({"type": "http.response.body", "body": body})

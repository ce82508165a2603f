"""Request bodies: bounded in memory, and parsed as strictly as everything behind expects."""

import asyncio
import contextlib
import re
from collections.abc import Callable, Coroutine, Sequence
from json import JSONDecodeError
from typing import Any, Final

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic_core import from_json
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import ERROR_RESPONSES, error_response
from api.request_log import request_info
from protocol.errors import InvalidRequestError, NotFoundError, RequestTooLargeError

_DRAIN_LIMIT_S: Final = 2.0


Uploads = Sequence[tuple[re.Pattern[str], int]]
"""Addresses of uploads, each with the limit in bytes of a POST there."""


class BodyLimit:
    """ASGI middleware: refuses bodies over the limit, told or chunked, and NUL characters in addresses."""

    def __init__(self, app: ASGIApp, max_bytes: int, uploads: Uploads = ()) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._uploads = uploads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        max_bytes = self._limit(scope)
        refusal = _refusal(scope, max_bytes)
        if refusal is not None:
            if isinstance(refusal, RequestTooLargeError):
                await _drain(receive, max_bytes)
            await error_response(refusal, request_info(scope).id)(scope, receive, send)
            return
        bounded = receive if scope["method"] == "GET" else _bounded(receive, max_bytes)
        await self._app(scope, bounded, send)

    def _limit(self, scope: Scope) -> int:
        if scope["method"] == "POST":
            for address, max_bytes in self._uploads:
                if address.fullmatch(scope["path"]):
                    return max_bytes
        return self._max_bytes


def too_large(max_bytes: int) -> RequestTooLargeError:
    """Return the error of a body over the limit."""
    return RequestTooLargeError(f"the body may be {max_bytes} bytes at most", error_code="request_too_large")


def _refusal(scope: Scope, max_bytes: int) -> InvalidRequestError | NotFoundError | RequestTooLargeError | None:
    """Return why a request is refused before any of its body is read."""
    if "\x00" in scope["path"]:
        return NotFoundError("nothing has this address")
    if b"%00" in scope["query_string"]:
        return InvalidRequestError("query values must not contain NUL characters")
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and int(value) > max_bytes:
            return too_large(max_bytes)
    return None


def _bounded(receive: Receive, max_bytes: int) -> Receive:
    size = 0

    async def receive_bounded() -> Message:
        nonlocal size
        message = await receive()
        if message["type"] == "http.request":
            size += len(message.get("body", b""))
            if size > max_bytes:
                await _drain(receive, max_bytes)
                # FastAPI lets only this kind of error through while it reads a body.
                raise HTTPException(413, str(too_large(max_bytes)))
        return message

    return receive_bounded


async def _drain(receive: Receive, max_bytes: int) -> None:
    """Drop what still comes, within bounds: a client that is cut off while it sends may never read the answer."""
    dropped, more = 0, True
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_DRAIN_LIMIT_S):
            while more and dropped < max_bytes:
                message = await receive()
                dropped += len(message.get("body", b""))
                more = message.get("more_body", False)


class JsonRequest(Request):
    """A request whose JSON is parsed with bounded depth, and without lone surrogates, NaN or NUL characters."""

    async def json(self) -> Any:
        raw = await self.body()
        try:
            value = from_json(raw, allow_inf_nan=False)
        except ValueError as error:
            raise JSONDecodeError(str(error), "", 0) from error
        if b"\\u0000" in raw and _has_nul(value):
            raise HTTPException(400, "strings must not contain NUL characters (\\u0000): remove them")
        return value


def _has_nul(value: Any) -> bool:
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            if "\x00" in item:
                return True
        elif isinstance(item, dict):
            pending.extend(item)
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)
    return False


class JsonRoute(APIRoute):
    """The route class of every router: bodies are read by `JsonRequest`, and the errors are those of the API.

    A route is complete by itself, so the application takes it as it is: including routers would build each anew, at
    the cost of half a second at the first request.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        options["responses"] = {**ERROR_RESPONSES, **options["responses"]}
        options["generate_unique_id_function"] = lambda route: route.name
        options["strict_content_type"] = False
        super().__init__(path, endpoint, **options)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_json(request: Request) -> Response:
            return await handle(JsonRequest(request.scope, request.receive))

        return handle_json

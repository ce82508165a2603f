"""Errors on the wire: the API's envelope for everything that goes wrong, whoever raised it."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import sqlalchemy as sa
import structlog
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.routing import Route

from api.request_log import request_info
from protocol.errors import (
    ApiError,
    InvalidRequestError,
    NotFoundError,
    OverloadedError,
    RequestTooLargeError,
)

_log = structlog.stdlib.get_logger("api")
_MAX_TOLD = 5
_MAX_LOCATION = 200


class ErrorDetails(BaseModel):
    """Stable words a program can test for."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    error_code: str
    current_state: dict[str, Any] | None = None
    """Of a refused heartbeat: the lease as it stands."""


class ErrorBody(BaseModel):
    """What went wrong, and what to do."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    type: str
    """`invalid_request_error`, `authentication_error`, `permission_error`, `not_found_error`, `conflict_error`, …"""
    message: str
    details: ErrorDetails | None = None


class ErrorEnvelope(BaseModel):
    """The body of every answer that is not a success."""

    type: Literal["error"]
    error: ErrorBody
    request_id: str


ERROR_RESPONSES: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorEnvelope, "description": "The request cannot be carried out"},
    "5XX": {"model": ErrorEnvelope, "description": "The server failed, or cannot take the request now"},
}


class WrongMethodError(InvalidRequestError):
    """The address is known, but not with this method."""

    status = 405


def error_response(error: ApiError, request_id: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return the envelope of an error."""
    body: dict[str, Any] = {"type": error.type, "message": error.message}
    if error.error_code is not None:
        body["details"] = {"error_code": error.error_code, **error.details}
    sent = dict(headers or {})
    if error.retryable is not None:
        sent["x-should-retry"] = str(error.retryable).lower()
    if error.status == RequestTooLargeError.status:
        sent["connection"] = "close"
    content = to_json({"type": "error", "error": body, "request_id": request_id})
    return Response(content, status_code=error.status, headers=sent, media_type="application/json")


def install(app: FastAPI, routers: Sequence[APIRouter]) -> None:
    """Answer every error that a route can raise with the envelope."""
    app.state.routes = [route for router in routers for route in router.routes if isinstance(route, Route)]
    for kind, handler in (
        (ApiError, _on_api_error),
        (RequestValidationError, _on_invalid),
        (HTTPException, _on_http_error),
        (sa.exc.DBAPIError, _on_database_error),
        (sa.exc.TimeoutError, _on_unavailable),
        (OSError, _on_unavailable),
    ):
        app.add_exception_handler(kind, handler)


async def _on_api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return error_response(error, request_info(request.scope).id)


async def _on_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return await _on_api_error(request, InvalidRequestError(describe(error.errors())))


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    request_id = request_info(request.scope).id
    method, path = request.method, request.url.path
    told: ApiError
    if error.status_code == NotFoundError.status:
        told = NotFoundError(f"nothing has the address {path!r}")
    elif error.status_code == WrongMethodError.status:
        told = WrongMethodError(f"{method} is not offered at {path!r}")
        return error_response(told, request_id, {"allow": ", ".join(_allowed(request))})
    elif error.status_code == RequestTooLargeError.status:
        told = RequestTooLargeError(str(error.detail), error_code="request_too_large")
    else:
        told = InvalidRequestError(str(error.detail))
    return error_response(told, request_id, error.headers)


def _allowed(request: Request) -> Sequence[str]:
    """Return the methods of every route with this path; the framework knows only of the first."""
    routes: Sequence[Route] = request.app.state.routes
    return sorted({m for route in routes if route.path_regex.match(request.url.path) for m in route.methods or ()})


async def _on_database_error(request: Request, error: Exception) -> Response:
    """A database that is away or too busy is no fault of ours; any other error of it is."""
    assert isinstance(error, sa.exc.DBAPIError)
    if isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError) or error.connection_invalidated:
        return await _on_unavailable(request, error)
    raise error


async def _on_unavailable(request: Request, error: Exception) -> Response:
    _log.warning("database unavailable", error=type(error).__name__)
    return await _on_api_error(request, OverloadedError("the database is not available now; try again"))


def describe(errors: Sequence[Mapping[str, Any]]) -> str:
    """Return one line for people that names each field and what to do; never the values that were sent."""
    told = [_describe_one(error) for error in errors[:_MAX_TOLD]]
    if len(errors) > _MAX_TOLD:
        told.append(f"and {len(errors) - _MAX_TOLD} more")
    return "; ".join(told)


def _describe_one(error: Mapping[str, Any]) -> str:
    location = [str(part) for part in error["loc"]]
    where = location.pop(0) if location and location[0] in ("body", "query", "path", "header") else "body"
    name = ".".join(location)[:_MAX_LOCATION]
    kind, message = error["type"], str(error["msg"]).removeprefix("Value error, ")
    if kind == "json_invalid":
        return f"the body is not valid JSON: {error.get('ctx', {}).get('error', message)}"
    if not name:
        return _describe_whole(where, kind, message)
    if kind == "missing":
        return f"`{name}`: required, but missing"
    if kind == "extra_forbidden":
        return f"`{name}`: unknown field; remove it"
    return f"`{name}`: {message}"


def _describe_whole(where: str, kind: str, message: str) -> str:
    if kind in ("missing", "model_attributes_type", "dict_type", "model_type"):
        return f"the {where} must be a JSON object, sent with `content-type: application/json`"
    return f"{where}: {message}"

"""Errors of the public API: each carries the type and status that the envelope answers with."""

from collections.abc import Mapping
from typing import Any, ClassVar


class ApiError(Exception):
    """Base of every error that a client is told.

    `error_code` is a stable word a program can test for; `details` are told beside it.
    """

    status: ClassVar[int] = 500
    type: ClassVar[str] = "api_error"
    retryable: ClassVar[bool | None] = None

    def __init__(
        self, message: str, *, error_code: str | None = None, details: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.error_code = error_code
        self.details = details or {}


class InvalidRequestError(ApiError):
    """The request cannot be carried out as it was sent."""

    status = 400
    type = "invalid_request_error"


class AuthenticationError(ApiError):
    """No key, or one that is unknown or revoked."""

    status = 401
    type = "authentication_error"


class PermissionDeniedError(ApiError):
    """A valid key that may not do this."""

    status = 403
    type = "permission_error"


class NotFoundError(ApiError):
    """Nothing by that id in the caller's workspace."""

    status = 404
    type = "not_found_error"


class ConflictError(ApiError):
    """The object changed, or the name is taken; the same request would fail again."""

    status = 409
    type = "conflict_error"
    retryable = False


class RequestTooLargeError(ApiError):
    """The body is over the configured limit."""

    status = 413
    type = "invalid_request_error"


class OverloadedError(ApiError):
    """The server cannot take this now; nothing was stored."""

    status = 529
    type = "overloaded_error"
    retryable = True

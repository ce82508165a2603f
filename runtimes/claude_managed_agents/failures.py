"""Of which of the three kinds an error of the provider is, and whether it may have accepted all the same."""

from typing import Literal

import httpx2
from anthropic import APIConnectionError, APIStatusError
from pydantic import ValidationError

from runtimes.base import Failure
from runtimes.claude_managed_agents.provider import StreamRefusedError, UnexpectedAnswerError

Kind = Literal["retry", "needs_person", "terminal"]

_NEVER_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.UnsupportedProtocol)
_PERHAPS_ACCEPTED = frozenset({408, 500, 502, 504})
_NEEDS_PERSON = {401: "check its API key", 402: "check its billing", 403: "check the permissions of its API key"}
_CODES_FOR_PERSON = frozenset(
    {
        "contract_spend_limit_reached",
        "enforced_spend_limit_reached",
        "environment_archived",
        "environment_not_found",
        "organization_not_enrolled_in_beta",
    }
)
_BILLING_CODES = frozenset({"contract_spend_limit_reached", "enforced_spend_limit_reached"})
_STREAM_STATUS = {
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "rate_limit_error": 429,
    "overloaded_error": 529,
}


class StillRunningError(Exception):
    """The provider's session did not come to rest in time, and cannot be closed before."""


def classify(error: Exception) -> Failure:
    """Return the failure; an error that is none of the provider's is raised again."""
    if isinstance(error, APIStatusError):
        return _of_status(error)
    if isinstance(error, APIConnectionError | httpx2.TransportError):
        return _of_connection(error)
    if isinstance(error, TimeoutError):
        return Failure("retry", ambiguous=True, message="The provider did not answer in time.")
    if isinstance(error, StillRunningError):
        return Failure("retry", ambiguous=False, message="The provider's session still runs.")
    return _of_ours(error)


def _of_ours(error: Exception) -> Failure:
    if isinstance(error, UnexpectedAnswerError):
        return Failure("needs_person", ambiguous=True, message=str(error))
    if isinstance(error, ValidationError):
        fields = ", ".join(".".join(map(str, item["loc"])) for item in error.errors())
        return Failure("needs_person", ambiguous=False, message=f"The agent's runtime options are not valid: {fields}")
    if isinstance(error, StreamRefusedError):
        status = _STREAM_STATUS.get(error.error_type, 500)
        return Failure(_kind(status, None), False, str(error), error_type=_error_type(status, None))
    raise error


def _of_connection(error: APIConnectionError | httpx2.TransportError) -> Failure:
    cause = error.__cause__ if isinstance(error, APIConnectionError) else error
    if isinstance(cause, _NEVER_SENT):
        return Failure("retry", ambiguous=False, message="The provider could not be reached.")
    name = type(cause or error).__name__
    return Failure("retry", ambiguous=True, message=f"The connection to the provider broke ({name}).")


def _of_status(error: APIStatusError) -> Failure:
    status, headers = error.status_code, error.response.headers
    return Failure(
        _kind(status, error.error_code, headers.get("x-should-retry")),
        ambiguous=status in _PERHAPS_ACCEPTED,
        message=_message(error),
        retry_after_s=_retry_after(headers),
        error_type=_error_type(status, error.error_code),
    )


def _kind(status: int, code: str | None, should_retry: str | None = None) -> Kind:
    if status in _NEEDS_PERSON or code in _CODES_FOR_PERSON:
        return "needs_person"
    if should_retry in ("true", "false"):
        return "retry" if should_retry == "true" else "terminal"
    return "retry" if status in (408, 409, 429) or status >= 500 else "terminal"


def _error_type(status: int, code: str | None) -> str:
    if status == 402 or code in _BILLING_CODES:
        return "billing_error"
    if status == 429:
        return "model_rate_limited_error"
    return "model_overloaded_error" if status in (503, 529) else "model_request_failed_error"


def _message(error: APIStatusError) -> str:
    status, said = error.status_code, error.api_message
    parts = [f"The provider answered {status} {error.type or ''}".rstrip()]
    # What is wrong with events may quote them, and content has no place in a message for people.
    if isinstance(said, str) and not error.request.url.path.endswith("/events"):
        parts.append(" ".join(said.split())[:200].rstrip("."))
    parts.extend(part for part in (error.error_code, _NEEDS_PERSON.get(status)) if part)
    request = f" (request {error.request_id})" if error.request_id else ""
    return ": ".join(parts) + request + "."


def _retry_after(headers: httpx2.Headers) -> float | None:
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            return max(0.0, float(headers[name]) / unit)
        except (KeyError, ValueError):
            # Absent, or a date: the engine's own delay does.
            continue
    return None

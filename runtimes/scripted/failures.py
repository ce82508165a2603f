"""Of which kind an error is that the server or the way to it gave."""

import json

import httpx2

from runtimes.base import Failure

UNSENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)
"""Nothing was written yet, so nothing can have been accepted."""


def classify(error: Exception) -> Failure:
    """Tell of which kind an error is; one that is not known is raised again."""
    if isinstance(error, httpx2.HTTPStatusError):
        return of_status(error)
    if isinstance(error, UNSENT):
        return Failure("retry", ambiguous=False, message=f"the runtime cannot be reached: {type(error).__name__}")
    if isinstance(error, httpx2.UnsupportedProtocol | httpx2.InvalidURL):
        return Failure("needs_person", ambiguous=False, message=f"the runtime's address is wrong: {error}")
    if isinstance(error, TimeoutError | httpx2.TransportError | json.JSONDecodeError):
        return Failure("retry", ambiguous=True, message=f"the runtime's answer was lost: {type(error).__name__}")
    raise error


def of_status(error: httpx2.HTTPStatusError) -> Failure:
    """Classify a refusal. This server accepts nothing that it answers with an error, so none is ambiguous."""
    status = error.response.status_code
    message = f"the runtime refused with {status} ({code_of(error)})"
    if status in (401, 403):
        return Failure("needs_person", ambiguous=False, message=message)
    if status == 429 or status >= 500 or code_of(error) == "busy":
        error_type = "model_rate_limited_error" if status == 429 else "unknown_error"
        return Failure("retry", False, message, retry_after(error.response), error_type)
    return Failure("terminal", ambiguous=False, message=message)


def code_of(error: httpx2.HTTPStatusError) -> str:
    """Return the server's word for a refusal; empty where something else has answered."""
    try:
        code = error.response.json()["error"]["code"]
    except (ValueError, KeyError, TypeError):
        return ""
    return str(code)


def retry_after(response: httpx2.Response) -> float | None:
    """Return the seconds that the server wants to be left alone."""
    try:
        return max(0.0, float(response.headers["retry-after"]))
    except (KeyError, ValueError):
        return None

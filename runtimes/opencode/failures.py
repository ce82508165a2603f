"""Of which kind an error of a call to OpenCode is."""

import httpx2
from pydantic import ValidationError

from runtimes.base import ContentError, Failure, UnsupportedCapabilityError
from runtimes.opencode.client import StatusError

_UNSENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)
_RETRY_S = 2.0
"""A restarted server answers after some seconds."""


class WorkspaceError(Exception):
    """A session's folder cannot be made, or not be given what belongs there."""


def classify(error: Exception) -> Failure:
    """Return the failure that an error of a call is; other errors are re-raised."""
    if isinstance(error, StatusError):
        return _status(error)
    if isinstance(error, _UNSENT):
        return Failure("retry", False, "OpenCode cannot be reached", _RETRY_S)
    if isinstance(error, httpx2.TransportError):
        ambiguous = error.request.method != "GET"
        return Failure("retry", ambiguous, f"the connection to OpenCode broke ({type(error).__name__})", _RETRY_S)
    if isinstance(error, httpx2.SSEError):
        return Failure("retry", False, "OpenCode's event stream cannot be read", _RETRY_S)
    if isinstance(error, ContentError):
        return Failure("retry", False, str(error))
    if isinstance(error, TimeoutError):
        return Failure("retry", True, "OpenCode did not acknowledge in time", _RETRY_S)
    if isinstance(error, WorkspaceError | UnsupportedCapabilityError):
        return Failure("needs_person", False, str(error))
    if isinstance(error, ValidationError):
        fields = ", ".join(".".join(str(part) for part in item["loc"]) for item in error.errors())
        return Failure("needs_person", False, f"the agent's options for OpenCode are not valid: {fields}")
    raise error


def _status(error: StatusError) -> Failure:
    if error.status in (401, 403):
        return Failure("needs_person", False, f"{error}: check the runtime's credential, the server's password")
    if error.status in (408, 429):
        return Failure("retry", False, str(error), _RETRY_S)
    if error.status >= 500:
        return Failure("retry", error.method != "GET", str(error), _RETRY_S)
    return Failure("terminal", False, str(error))

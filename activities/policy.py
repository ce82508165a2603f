"""How long and how often: delays, bounds, and what a session is told of a failure."""

from typing import Any

from runtimes.base import Failure

Json = dict[str, Any]

LONGEST_DELAY_S = 60.0
NEEDS_PERSON_DELAY_S = 60.0
MOST_FAILURES = {"retry": 30, "lost_sight": 400, "unexpected": 5}
"""Failures of a kind before a turn ends: refused sends; a runtime out of reach in mid-turn (over 6 hours); defects."""
RECONNECTS_HELD = 5
"""Times a dropped stream is taken up again without giving the activity's slot back."""
END_AFTER_INTERRUPT_S = 10.0
"""Seconds after a native interrupt within which the turn's end is expected."""
LINGER_S = 10.0
"""Seconds for which the workflow of a session is kept whose messages follow one another: a start and an end cost the
Temporal server more than a turn does."""
CLOSE_ATTEMPTS = 60
"""Native closes of an ended session that are tried before it is left as an orphan."""


def backoff_s(failures: int, retry_after_s: float | None = None) -> float:
    """Return the seconds to wait after the n-th failure: the runtime's own wish, else doubling from half a second."""
    if retry_after_s is not None:
        return min(max(retry_after_s, 0.0), 3600.0)
    return min(float(0.5 * 2 ** min(max(failures - 1, 0), 10)), LONGEST_DELAY_S)


def error_payload(error_type: str, message: str, retry_status: str) -> Json:
    """Return the `error` of a `session.error` event; `retry_status` is `retrying`, `exhausted` or `terminal`."""
    return {"type": error_type, "message": message, "retry_status": {"type": retry_status}}


def told(failure: Failure, retry_status: str) -> Json:
    """Return what a session is told of a failure."""
    return error_payload(failure.error_type, failure.message, retry_status)

"""Time on the wire is RFC 3339 in UTC; in the store it is an integer of microseconds since 1970."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_rfc3339(micros: int) -> str:
    """Return `2026-11-22T13:51:00.123456Z` for microseconds since 1970."""
    moment = _EPOCH + timedelta(microseconds=micros)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f") + "Z"


def from_rfc3339(text: str) -> int:
    """Return microseconds since 1970; a time without a zone is taken as UTC.

    Raises:
        ValueError: the text is not an RFC 3339 time.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(microseconds=1)

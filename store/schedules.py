"""Cron schedules: which are accepted, and when they match. Reads the IANA database of the machine."""

import re
from datetime import UTC, datetime, tzinfo
from functools import cache, lru_cache
from itertools import islice
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError
from cronsim.cronsim import SYMBOLIC_DAYS, SYMBOLIC_MONTHS

from protocol.errors import InvalidRequestError

UPCOMING: Final = 5
_MINUTE_US: Final = 60_000_000
_FIELDS: Final = 5
_SHORTCUTS: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_CHARACTERS: Final = re.compile(r"[0-9A-Za-z*,/ -]+")
_NAMES: Final[tuple[set[str], ...]] = (set(), set(), set(), set(SYMBOLIC_MONTHS), set(SYMBOLIC_DAYS))
_EXPECTED: Final = (
    "send five fields (minute, hour, day of month, month, day of week) of numbers, `*`, `,`, `-`, `/` "
    "and names such as MON-FRI, for example `0 9 * * 1-5`, or a shortcut such as `@daily`"
)


def check_schedule(expression: str, timezone: str) -> None:
    """Refuse a schedule that could not be kept.

    Raises:
        InvalidRequestError: the zone is unknown, the expression is not one, or it never matches.
    """
    if timezone not in _zones():
        raise InvalidRequestError(
            f"`schedule.timezone`: {timezone!r} is not in the IANA time zone database; "
            "send a name such as `Europe/Berlin` or `UTC`"
        )
    try:
        matches = _simulate(expression, timezone, 0)
    except CronSimError as error:
        raise InvalidRequestError(f"`schedule.expression`: {error}; {_EXPECTED}") from None
    if next(matches, None) is None:
        raise InvalidRequestError("`schedule.expression`: it never matches; name a day that exists")


def upcoming_runs(expression: str, timezone: str, now: int) -> tuple[int, ...]:
    """Return the next 5 matches after `now`, in microseconds since 1970."""
    return _upcoming(expression, timezone, now // _MINUTE_US)


@lru_cache(maxsize=1024)
def _upcoming(expression: str, timezone: str, minute: int) -> tuple[int, ...]:
    matches = _simulate(expression, timezone, minute * 60)
    return tuple(int(match.timestamp()) * 1_000_000 for match in islice(matches, UPCOMING))


def _simulate(expression: str, timezone: str, seconds: int) -> CronSim:
    """Return what iterates over the matches after a time.

    Raises:
        CronSimError: the expression is not one.
    """
    plain = _SHORTCUTS.get(expression.strip().lower(), expression).upper()
    if not _CHARACTERS.fullmatch(plain):
        raise CronSimError("unknown shortcut or character")
    fields = plain.split()
    if len(fields) != _FIELDS:
        raise CronSimError(f"{len(fields)} fields where {_FIELDS} are expected")
    for field, names in zip(fields, _NAMES, strict=True):
        unknown = set(re.findall("[A-Z]+", field)) - names
        if unknown:
            raise CronSimError(f"{min(unknown)} is not a name for that field")
    return CronSim(plain, datetime.fromtimestamp(seconds, UTC).astimezone(_zone(timezone)))


def _zone(timezone: str) -> tzinfo:
    return UTC if timezone == "UTC" else ZoneInfo(timezone)  # what it counts in UTC, it counts faster


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones() - {"localtime"})

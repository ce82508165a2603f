"""Lists: bounded pages and opaque cursors. A cursor holds a position and is bound to the filters it was made with."""

import base64
import binascii
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import Depends, Query
from pydantic_core import from_json, to_json
from sqlalchemy import RowMapping

from protocol.errors import InvalidRequestError

DEFAULT_LIMIT: Final = 20
MAX_LIMIT: Final = 100
_MAX_CURSOR: Final = 2048
_MAX_INT: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class PageParams:
    """Which page of a list is asked for."""

    limit: int
    page: str | None


async def page_params(
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Items per page.")] = DEFAULT_LIMIT,
    page: Annotated[str | None, Query(description="`next_page` of the page before.")] = None,
) -> PageParams:
    """Read `limit` and `page`."""
    return PageParams(limit, page or None)


PageDep = Annotated[PageParams, Depends(page_params)]


def _binding(filters: Sequence[object]) -> str:
    return hashlib.sha256(to_json(filters)).hexdigest()[:12]


def encode_cursor(filters: Sequence[object], position: Sequence[int | str]) -> str:
    """Return the cursor of a position within the list that `filters` (the list's name first) select."""
    return base64.urlsafe_b64encode(to_json([_binding(filters), *position])).decode().rstrip("=")


def decode_cursor(text: str, filters: Sequence[object], shape: Sequence[type]) -> tuple[Any, ...]:
    """Return the position in a cursor; `shape` are the types of its parts.

    Raises:
        InvalidRequestError: not a cursor, or one of another list or other filters.
    """
    refused = InvalidRequestError(
        "`page` is not a cursor of this list with these filters: send `next_page` of the page before, unchanged"
    )
    if len(text) > _MAX_CURSOR:
        raise refused
    try:
        parts = from_json(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError) as error:
        raise refused from error
    if not isinstance(parts, list) or len(parts) != len(shape) + 1 or parts[0] != _binding(filters):
        raise refused
    if not all(_fits(part, kind) for part, kind in zip(parts[1:], shape, strict=True)):
        raise refused
    return tuple(parts[1:])


def _fits(part: object, kind: type) -> bool:
    if type(part) is not kind:
        return False
    if isinstance(part, int):
        return -_MAX_INT <= part <= _MAX_INT
    return not isinstance(part, str) or "\x00" not in part


def keyset(params: PageParams, filters: Sequence[object]) -> tuple[int, str] | None:
    """Return the `(created_at, id)` after which the page begins, or None for the first."""
    if params.page is None:
        return None
    created_at, item_id = decode_cursor(params.page, filters, (int, str))
    return created_at, item_id


def next_cursor(rows: Sequence[RowMapping], params: PageParams, filters: Sequence[object]) -> str | None:
    """Return the cursor after the last row of the page, where `rows` were read with one more than the limit."""
    if len(rows) <= params.limit:
        return None
    last = rows[params.limit - 1]
    return encode_cursor(filters, (last["created_at"], last["id"]))

"""Lists whose cursors are ids: `after_id` and `before_id`."""

from collections.abc import Sequence
from typing import Any

from protocol.errors import InvalidRequestError


def one_side(after_id: str | None, before_id: str | None) -> None:
    """Refuse two cursors at once.

    Raises:
        InvalidRequestError: both were sent.
    """
    if after_id is not None and before_id is not None:
        raise InvalidRequestError("`after_id` and `before_id` cannot be combined: send one of them")


def id_page(data: Sequence[dict[str, Any]], *, more: bool) -> dict[str, Any]:
    """Return a page; `more` tells whether the list goes on in the direction asked for."""
    first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    return {"data": data, "has_more": more, "first_id": first, "last_id": last}

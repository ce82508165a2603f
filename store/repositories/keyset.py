"""Keyset pagination: a page goes on after the last row's `(created_at, id)`, however the list changes meanwhile."""

from operator import ge, gt, le, lt
from typing import Any

import sqlalchemy as sa

from store.event_pages import CreatedAt

Position = tuple[int, str]


def newest_first(statement: sa.Select[Any], table: sa.Table, limit: int, after: Position | None) -> sa.Select[Any]:
    """Order a selection by `created_at` and `id`, newest first, and bound it to one more than the limit."""
    columns = (table.c.created_at, table.c.id)
    if after is not None:
        created_at, item_id = after
        position = sa.tuple_(sa.literal(created_at, sa.BigInteger()), sa.literal(item_id))
        statement = statement.where(sa.tuple_(*columns) < position)
    return statement.order_by(*(column.desc() for column in columns)).limit(limit + 1)


def created_within(table: sa.Table, bounds: CreatedAt) -> list[sa.ColumnElement[bool]]:
    """Return bounds on `created_at` as SQL."""
    column = table.c.created_at
    given = ((bounds.gt, gt), (bounds.gte, ge), (bounds.lt, lt), (bounds.lte, le))
    return [compare(column, value) for value, compare in given if value is not None]

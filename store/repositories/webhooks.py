"""Webhook endpoints, in the database. They belong to the organization: callers are admins, of whatever workspace."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, RowMapping

from protocol.errors import InvalidRequestError, NotFoundError
from store.clock import read_now
from store.tables import webhooks

Json = dict[str, Any]


def create_webhook(db: Connection, values: Json) -> RowMapping:
    """Create an endpoint; `values` are its columns but the times."""
    now = read_now(db)
    stored = {**values, "created_at": now, "updated_at": now}
    return db.execute(sa.insert(webhooks).values(stored).returning(webhooks)).mappings().one()


def get_webhook(db: Connection, webhook_id: str, *, lock: bool = False) -> RowMapping:
    """Return an endpoint; with `lock`, nobody else changes it until the transaction ends.

    Raises:
        NotFoundError: there is none by that id.
    """
    row = _find(db, webhook_id, lock=lock)
    if row is None:
        raise NotFoundError(f"no webhook endpoint {webhook_id!r}")
    return row


def update_webhook(db: Connection, webhook_id: str, values: Json) -> RowMapping:
    """Set those columns of an endpoint that get another value; without any, nothing changes.

    Raises:
        NotFoundError: there is none by that id.
    """
    current = get_webhook(db, webhook_id, lock=True)
    changed = {column: value for column, value in values.items() if value != current[column]}
    if not changed:
        return current
    statement = sa.update(webhooks).where(webhooks.c.id == webhook_id).returning(webhooks)
    return db.execute(statement.values({**changed, "updated_at": read_now(db)})).mappings().one()


def delete_webhook(db: Connection, webhook_id: str) -> None:
    """Delete an endpoint with its secret.

    Raises:
        NotFoundError: there is none by that id.
    """
    get_webhook(db, webhook_id, lock=True)
    db.execute(sa.delete(webhooks).where(webhooks.c.id == webhook_id))


def list_webhooks(
    db: Connection, *, ascending: bool, limit: int, after_id: str | None, before_id: str | None
) -> Sequence[RowMapping]:
    """Return the first endpoints after one, or before one, by `created_at`; one more than the limit if there are more.

    Raises:
        InvalidRequestError: the endpoint to begin at is unknown.
    """
    key = (webhooks.c.created_at, webhooks.c.id)
    statement = sa.select(webhooks)
    for name, other_id in (("after_id", after_id), ("before_id", before_id)):
        if other_id is None:
            continue
        other = _find(db, other_id)
        if other is None:
            raise InvalidRequestError(f"`{name}`: no webhook endpoint {other_id!r}; send an id that a page has shown")
        bound = sa.tuple_(sa.literal(other["created_at"], sa.BigInteger()), sa.literal(other["id"]))
        later = ascending is (name == "after_id")
        statement = statement.where(sa.tuple_(*key) > bound if later else sa.tuple_(*key) < bound)
    ordered = statement.order_by(*(column.asc() if ascending else column.desc() for column in key))
    return db.execute(ordered.limit(limit + 1)).mappings().all()


def _find(db: Connection, webhook_id: str, *, lock: bool = False) -> RowMapping | None:
    statement = sa.select(webhooks).where(webhooks.c.id == webhook_id)
    return db.execute(statement.with_for_update() if lock else statement).mappings().first()

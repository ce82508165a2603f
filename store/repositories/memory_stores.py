"""Memory stores, in the database."""

from collections.abc import Sequence
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy import Connection, RowMapping

from protocol.errors import InvalidRequestError, NotFoundError
from protocol.ids import new_id
from store.clock import now_us, read_now
from store.event_pages import CreatedAt
from store.repositories.keyset import Position, created_within, newest_first
from store.tables import memories, memory_stores, memory_versions, stored_answers

Json = dict[str, Any]
Lock = Literal["shared", "exclusive"]


def create_memory_store(db: Connection, workspace_id: str, values: Json) -> RowMapping:
    """Create a store of `name`, `description` and `metadata`."""
    now = read_now(db)
    stored = {"id": new_id("memstore"), "workspace_id": workspace_id, "created_at": now, "updated_at": now, **values}
    return db.execute(sa.insert(memory_stores).values(stored).returning(memory_stores)).mappings().one()


def get_memory_store(db: Connection, workspace_id: str, memory_store_id: str, lock: Lock | None = None) -> RowMapping:
    """Return a store. Who changes a memory locks its store first: `exclusive` to add, move or archive, else `shared`.

    Raises:
        NotFoundError: there is no such store in the workspace.
    """
    statement = sa.select(memory_stores).where(
        memory_stores.c.workspace_id == workspace_id, memory_stores.c.id == memory_store_id
    )
    if lock is not None:
        statement = statement.with_for_update(read=lock == "shared")
    row = db.execute(statement).mappings().first()
    if row is None:
        raise NotFoundError(f"no memory store {memory_store_id!r}", error_code="memory_store_not_found")
    return row


def get_writable_store(db: Connection, workspace_id: str, memory_store_id: str, lock: Lock) -> RowMapping:
    """Return a store that is locked and not archived.

    Raises:
        NotFoundError: there is no such store in the workspace.
        InvalidRequestError: it is archived.
    """
    store = get_memory_store(db, workspace_id, memory_store_id, lock)
    if store["archived_at"] is not None:
        raise InvalidRequestError(
            f"memory store {memory_store_id!r} is archived and read-only", error_code="memory_store_archived"
        )
    return store


def list_memory_stores(
    db: Connection,
    workspace_id: str,
    *,
    include_archived: bool,
    created_at: CreatedAt,
    limit: int,
    after: Position | None,
) -> Sequence[RowMapping]:
    """Return stores, newest first, and one more than the limit if there are more."""
    statement = sa.select(memory_stores).where(
        memory_stores.c.workspace_id == workspace_id, *created_within(memory_stores, created_at)
    )
    if not include_archived:
        statement = statement.where(memory_stores.c.archived_at.is_(None))
    return db.execute(newest_first(statement, memory_stores, limit, after)).mappings().all()


def update_memory_store(db: Connection, workspace_id: str, memory_store_id: str, values: Json) -> RowMapping:
    """Set columns of a store that the caller has locked."""
    return (
        db.execute(
            sa.update(memory_stores)
            .where(memory_stores.c.workspace_id == workspace_id, memory_stores.c.id == memory_store_id)
            .values({**values, "updated_at": now_us()})
            .returning(memory_stores)
        )
        .mappings()
        .one()
    )


def archive_memory_store(db: Connection, workspace_id: str, memory_store_id: str) -> RowMapping:
    """Archive a store, for good: it becomes read-only. Archiving it again changes nothing.

    Raises:
        NotFoundError: there is no such store in the workspace.
    """
    store = get_memory_store(db, workspace_id, memory_store_id, "exclusive")
    if store["archived_at"] is not None:
        return store
    return update_memory_store(db, workspace_id, memory_store_id, {"archived_at": now_us()})


def delete_memory_store(db: Connection, workspace_id: str, memory_store_id: str) -> None:
    """Erase a store with every memory and version, and the answers kept that tell of them.

    Raises:
        NotFoundError: there is no such store in the workspace.
    """
    get_memory_store(db, workspace_id, memory_store_id, "exclusive")
    versions = sa.select(memory_versions.c.id).where(memory_versions.c.memory_store_id == memory_store_id)
    db.execute(sa.delete(stored_answers).where(stored_answers.c.session_id.in_(versions)))
    for table in (memories, memory_versions):
        db.execute(sa.delete(table).where(table.c.memory_store_id == memory_store_id))
    db.execute(
        sa.delete(memory_stores).where(
            memory_stores.c.workspace_id == workspace_id, memory_stores.c.id == memory_store_id
        )
    )

"""Versions of memories, in the database: reading them, and redacting one for good."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy import Connection, RowMapping

from protocol.errors import InvalidRequestError, NotFoundError
from protocol.memory_stores import Operation
from store.clock import now_us
from store.event_pages import CreatedAt
from store.repositories.keyset import Position, created_within, newest_first
from store.repositories.memory_stores import get_memory_store
from store.tables import memories, memory_versions, stored_answers

_BASIC = sa.select(*(column for column in memory_versions.c if column.name != "content"))


@dataclass(frozen=True, slots=True)
class VersionFilters:
    """Which versions a list holds."""

    memory_id: str | None = None
    operation: Operation | None = None
    api_key_id: str | None = None
    session_id: str | None = None
    created: CreatedAt = field(default_factory=CreatedAt)

    def conditions(self) -> list[sa.ColumnElement[bool]]:
        """Return the filters as SQL."""
        given = [(self.memory_id, memory_versions.c.memory_id), (self.operation, memory_versions.c.operation)]
        conditions = [column == value for value, column in given if value is not None]
        for author_id, kind in ((self.api_key_id, "api_actor"), (self.session_id, "session_actor")):
            if author_id is not None:
                conditions += [memory_versions.c.author_id == author_id, memory_versions.c.author_type == kind]
        return conditions + created_within(memory_versions, self.created)


def get_memory_version(db: Connection, workspace_id: str, memory_store_id: str, version_id: str) -> RowMapping:
    """Return a version without its content.

    Raises:
        NotFoundError: there is no such store in the workspace, or no such version in it.
    """
    get_memory_store(db, workspace_id, memory_store_id)
    return _get(db, memory_store_id, version_id)


def list_memory_versions(
    db: Connection, memory_store_id: str, filters: VersionFilters, *, limit: int, after: Position | None
) -> Sequence[RowMapping]:
    """Return versions without contents, newest first, and one more than the limit if there are more."""
    statement = _BASIC.where(memory_versions.c.memory_store_id == memory_store_id, *filters.conditions())
    return db.execute(newest_first(statement, memory_versions, limit, after)).mappings().all()


def redact_memory_version(
    db: Connection, workspace_id: str, memory_store_id: str, version_id: str, *, api_key_id: str
) -> RowMapping:
    """Erase what a version held, and the answer kept that tells of it; redacting it again changes nothing.

    Raises:
        NotFoundError: there is no such store in the workspace, or no such version in it.
        InvalidRequestError: a memory points to this version, so what it holds is in use.
    """
    get_memory_store(db, workspace_id, memory_store_id, "shared")
    version = _get(db, memory_store_id, version_id, lock=True)
    if version["redacted_at"] is not None:
        return version
    if db.execute(sa.select(memories.c.id).where(memories.c.version_id == version_id)).first() is not None:
        raise InvalidRequestError(
            f"version {version_id!r} is what memory {version['memory_id']!r} holds now: update or delete the memory "
            "first, then redact this version"
        )
    erased = {"path": None, "content": None, "content_sha256": None, "content_size_bytes": None}
    db.execute(
        sa.update(memory_versions)
        .where(memory_versions.c.memory_store_id == memory_store_id, memory_versions.c.id == version_id)
        .values(**erased, redacted_at=now_us(), redacted_by=api_key_id)
    )
    db.execute(sa.delete(stored_answers).where(stored_answers.c.session_id == version_id))
    return _get(db, memory_store_id, version_id)


def _get(db: Connection, memory_store_id: str, version_id: str, *, lock: bool = False) -> RowMapping:
    statement = _BASIC.where(memory_versions.c.memory_store_id == memory_store_id, memory_versions.c.id == version_id)
    row = db.execute(statement.with_for_update() if lock else statement).mappings().first()
    if row is None:
        raise NotFoundError(f"no memory version {version_id!r}", error_code="memory_version_not_found")
    return row

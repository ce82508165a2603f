"""Files, in the database."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, RowMapping

from protocol.errors import NotFoundError
from protocol.ids import new_id
from store.blobs import Stored
from store.clock import now_us
from store.repositories.blobs import claim_blob, release_blob
from store.repositories.keyset import Position, newest_first
from store.tables import files

Json = dict[str, Any]

_NEVER_US = 2**62
_VISIBLE = sa.select(*files.c, now_us().label("now")).where(files.c.deleted_at.is_(None))


def create_file(
    db: Connection, workspace_id: str, blob_id: str, stored: Stored, values: Json, *, lifetime_us: int | None = None
) -> RowMapping:
    """Create a file of a stored blob; `values` are `filename`, `mime_type`, and `scope_id` and `downloadable` if any.

    Raises:
        OverloadedError: the blob has waited too long.
    """
    claim_blob(db, blob_id)
    now = db.execute(sa.select(now_us())).scalar_one()
    row = {
        "id": new_id("file"),
        "workspace_id": workspace_id,
        "blob_id": blob_id,
        "size_bytes": stored.size,
        "sha256": stored.sha256,
        "scope_id": None,
        "downloadable": False,
        "created_at": now,
        "expires_at": None if lifetime_us is None else now + lifetime_us,
        **values,
    }
    return db.execute(sa.insert(files).values(row).returning(files)).mappings().one()


def get_file(db: Connection, workspace_id: str, file_id: str, *, lock: bool = False) -> RowMapping:
    """Return a file, with `now`; with `lock`, nobody deletes it until the transaction ends.

    Raises:
        NotFoundError: there is no such file in the workspace.
    """
    statement = _VISIBLE.where(files.c.workspace_id == workspace_id, files.c.id == file_id)
    row = db.execute(statement.with_for_update() if lock else statement).mappings().first()
    if row is None:
        raise NotFoundError(f"no file {file_id!r}")
    return row


def has_expired(file: RowMapping) -> bool:
    """Return whether a file's time is over, by the `now` it was read with."""
    return bool((file["expires_at"] or _NEVER_US) <= file["now"])


def list_files(
    db: Connection, workspace_id: str, *, scope_id: str | None, limit: int, after: Position | None
) -> Sequence[RowMapping]:
    """Return files, newest first, and one more than the limit if there are more."""
    return db.execute(newest_first(_listed(workspace_id, scope_id), files, limit, after)).mappings().all()


def list_files_before(
    db: Connection, workspace_id: str, *, scope_id: str | None, limit: int, before: Position
) -> Sequence[RowMapping]:
    """Return the files just before a position, nearest first, and one more than the limit if there are more."""
    columns = (files.c.created_at, files.c.id)
    position = sa.tuple_(sa.literal(before[0], sa.BigInteger()), sa.literal(before[1]))
    statement = _listed(workspace_id, scope_id).where(sa.tuple_(*columns) > position)
    return db.execute(statement.order_by(*(column.asc() for column in columns)).limit(limit + 1)).mappings().all()


def _listed(workspace_id: str, scope_id: str | None) -> sa.Select[Any]:
    statement = _VISIBLE.where(files.c.workspace_id == workspace_id)
    return statement if scope_id is None else statement.where(files.c.scope_id == scope_id)


def find_files(db: Connection, workspace_id: str, file_ids: Sequence[str]) -> Sequence[RowMapping]:
    """Return those of the files that the workspace has, newest first."""
    statement = _VISIBLE.where(files.c.workspace_id == workspace_id, files.c.id.in_(file_ids))
    return db.execute(newest_first(statement, files, len(file_ids), None)).mappings().all()


def delete_file(db: Connection, workspace_id: str, file_id: str) -> None:
    """Delete a file; sessions into which it was mounted keep it.

    Raises:
        NotFoundError: there is no such file in the workspace.
    """
    file = get_file(db, workspace_id, file_id, lock=True)
    db.execute(
        sa.update(files).where(files.c.id == file_id).values(deleted_at=now_us(), blob_id=None, filename="", sha256="")
    )
    release_blob(db, file["blob_id"])

"""Vaults, in the database."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, RowMapping

from protocol.errors import InvalidRequestError, NotFoundError
from protocol.ids import new_id
from store.clock import now_us, read_now
from store.repositories.keyset import Position, newest_first
from store.tables import credentials, vaults

Json = dict[str, Any]


def create_vault(db: Connection, workspace_id: str, values: Json) -> RowMapping:
    """Create a vault of `display_name` and `metadata`."""
    now = read_now(db)
    stored = {"id": new_id("vlt"), "workspace_id": workspace_id, "created_at": now, "updated_at": now, **values}
    return db.execute(sa.insert(vaults).values(stored).returning(vaults)).mappings().one()


def get_vault(db: Connection, workspace_id: str, vault_id: str, *, lock: bool = False) -> RowMapping:
    """Return a vault. Who changes a credential locks its vault first; nobody else changes either until the end.

    Raises:
        NotFoundError: there is no such vault in the workspace.
    """
    statement = sa.select(vaults).where(vaults.c.workspace_id == workspace_id, vaults.c.id == vault_id)
    row = db.execute(statement.with_for_update() if lock else statement).mappings().first()
    if row is None:
        raise NotFoundError(f"no vault {vault_id!r}", error_code="vault_not_found")
    return row


def get_writable_vault(db: Connection, workspace_id: str, vault_id: str) -> RowMapping:
    """Return a vault that is locked and not archived.

    Raises:
        NotFoundError: there is no such vault in the workspace.
        InvalidRequestError: it is archived.
    """
    vault = get_vault(db, workspace_id, vault_id, lock=True)
    if vault["archived_at"] is not None:
        raise InvalidRequestError(f"vault {vault_id!r} is archived and read-only", error_code="vault_archived")
    return vault


def list_vaults(
    db: Connection, workspace_id: str, *, include_archived: bool, limit: int, after: Position | None
) -> Sequence[RowMapping]:
    """Return vaults, newest first, and one more than the limit if there are more."""
    statement = sa.select(vaults).where(vaults.c.workspace_id == workspace_id)
    if not include_archived:
        statement = statement.where(vaults.c.archived_at.is_(None))
    return db.execute(newest_first(statement, vaults, limit, after)).mappings().all()


def update_vault(db: Connection, workspace_id: str, vault_id: str, values: Json) -> RowMapping:
    """Set columns of a vault that the caller has locked."""
    return (
        db.execute(
            sa.update(vaults)
            .where(vaults.c.workspace_id == workspace_id, vaults.c.id == vault_id)
            .values({**values, "updated_at": now_us()})
            .returning(vaults)
        )
        .mappings()
        .one()
    )


def archive_vault(db: Connection, workspace_id: str, vault_id: str) -> RowMapping:
    """Archive a vault with its credentials, and erase their secrets. Archiving it again changes nothing.

    Raises:
        NotFoundError: there is no such vault in the workspace.
    """
    vault = get_vault(db, workspace_id, vault_id, lock=True)
    if vault["archived_at"] is not None:
        return vault
    db.execute(
        sa.update(credentials)
        .where(credentials.c.vault_id == vault_id, credentials.c.archived_at.is_(None))
        .values(archived_at=now_us(), updated_at=now_us(), secrets={})
    )
    return update_vault(db, workspace_id, vault_id, {"archived_at": now_us()})


def delete_vault(db: Connection, workspace_id: str, vault_id: str) -> None:
    """Erase a vault with its credentials.

    Raises:
        NotFoundError: there is no such vault in the workspace.
    """
    get_vault(db, workspace_id, vault_id, lock=True)
    db.execute(sa.delete(credentials).where(credentials.c.vault_id == vault_id))
    db.execute(sa.delete(vaults).where(vaults.c.workspace_id == workspace_id, vaults.c.id == vault_id))

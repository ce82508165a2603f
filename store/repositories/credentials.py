"""Credentials of vaults, in the database. Their secrets come sealed and leave sealed.

A caller has its vault from `get_vault` in the same transaction, which is what keeps workspaces apart.
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, RowMapping

from protocol.credentials import MAX_CREDENTIALS
from protocol.errors import ConflictError, InvalidRequestError, NotFoundError
from store.clock import now_us, read_now
from store.repositories.keyset import Position, newest_first
from store.repositories.vaults import get_vault, get_writable_vault
from store.tables import credentials

Json = dict[str, Any]


def create_credential(db: Connection, workspace_id: str, vault_id: str, values: Json) -> RowMapping:
    """Create a credential of every column but the times.

    Raises:
        NotFoundError: there is no such vault in the workspace.
        InvalidRequestError: the vault is archived, or full.
        ConflictError: the vault has an active credential for the same target.
    """
    get_writable_vault(db, workspace_id, vault_id)
    active = db.execute(
        sa.select(credentials.c.id, credentials.c.target).where(
            credentials.c.vault_id == vault_id, credentials.c.archived_at.is_(None)
        )
    ).all()
    for row in active:
        if row.target == values["target"]:
            raise ConflictError(
                f"credential {row.id!r} of this vault is for {values['target']!r} already: update or archive that one"
            )
    if len(active) >= MAX_CREDENTIALS:
        raise InvalidRequestError(
            f"a vault may have {MAX_CREDENTIALS} active credentials: archive one, or use another vault"
        )
    now = read_now(db)
    stored = {**values, "vault_id": vault_id, "created_at": now, "updated_at": now}
    return db.execute(sa.insert(credentials).values(stored).returning(credentials)).mappings().one()


def get_credential(db: Connection, workspace_id: str, vault_id: str, credential_id: str) -> RowMapping:
    """Return a credential.

    Raises:
        NotFoundError: there is no such vault in the workspace, or no such credential in it.
    """
    get_vault(db, workspace_id, vault_id)
    return _get(db, vault_id, credential_id)


def get_writable_credential(db: Connection, workspace_id: str, vault_id: str, credential_id: str) -> RowMapping:
    """Return a credential that is not archived, and lock its vault.

    Raises:
        NotFoundError: there is no such vault in the workspace, or no such credential in it.
        InvalidRequestError: it is archived.
    """
    get_vault(db, workspace_id, vault_id, lock=True)
    credential = _get(db, vault_id, credential_id)
    refuse_archived(credential)
    return credential


def refuse_archived(credential: RowMapping) -> None:
    """Refuse a credential whose secrets are gone.

    Raises:
        InvalidRequestError: it is archived.
    """
    if credential["archived_at"] is not None:
        raise InvalidRequestError(
            f"credential {credential['id']!r} is archived and read-only", error_code="credential_archived"
        )


def list_credentials(
    db: Connection, vault_id: str, *, include_archived: bool, limit: int, after: Position | None
) -> Sequence[RowMapping]:
    """Return credentials, newest first, and one more than the limit if there are more."""
    statement = sa.select(credentials).where(credentials.c.vault_id == vault_id)
    if not include_archived:
        statement = statement.where(credentials.c.archived_at.is_(None))
    return db.execute(newest_first(statement, credentials, limit, after)).mappings().all()


def update_credential(db: Connection, vault_id: str, credential_id: str, values: Json) -> RowMapping:
    """Set columns of a credential whose vault the caller has locked; new secrets make a new revision."""
    changed = {**values, "updated_at": now_us()}
    if "secrets" in values:
        changed["revision"] = credentials.c.revision + 1
    return (
        db.execute(
            sa.update(credentials)
            .where(credentials.c.vault_id == vault_id, credentials.c.id == credential_id)
            .values(changed)
            .returning(credentials)
        )
        .mappings()
        .one()
    )


def archive_credential(db: Connection, workspace_id: str, vault_id: str, credential_id: str) -> RowMapping:
    """Archive a credential and erase its secrets. Archiving it again changes nothing.

    Raises:
        NotFoundError: there is no such vault in the workspace, or no such credential in it.
    """
    get_vault(db, workspace_id, vault_id, lock=True)
    credential = _get(db, vault_id, credential_id)
    if credential["archived_at"] is not None:
        return credential
    return update_credential(db, vault_id, credential_id, {"archived_at": now_us(), "secrets": {}})


def delete_credential(db: Connection, workspace_id: str, vault_id: str, credential_id: str) -> None:
    """Erase a credential.

    Raises:
        NotFoundError: there is no such vault in the workspace, or no such credential in it.
    """
    get_vault(db, workspace_id, vault_id, lock=True)
    _get(db, vault_id, credential_id)
    db.execute(sa.delete(credentials).where(credentials.c.vault_id == vault_id, credentials.c.id == credential_id))


def _get(db: Connection, vault_id: str, credential_id: str) -> RowMapping:
    statement = sa.select(credentials).where(credentials.c.vault_id == vault_id, credentials.c.id == credential_id)
    row = db.execute(statement).mappings().first()
    if row is None:
        raise NotFoundError(f"no credential {credential_id!r}", error_code="credential_not_found")
    return row

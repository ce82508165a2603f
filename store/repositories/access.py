"""Workspaces and API keys, in the database."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, RowMapping

from protocol.errors import InvalidRequestError, NotFoundError
from protocol.ids import new_id
from security.keys import hash_key, key_hint
from store.clock import now_us
from store.repositories.environments import check_self_hosted, insert_default_environment
from store.repositories.keyset import Position, newest_first
from store.tables import api_keys, workspaces

_BY_HASH = sa.select(api_keys.c.id, api_keys.c.workspace_id, api_keys.c.scope, api_keys.c.environment_id).where(
    api_keys.c.hash == sa.bindparam("key_hash"), api_keys.c.revoked_at.is_(None)
)


def find_api_key(db: Connection, key_hash: str) -> RowMapping | None:
    """Return `id`, `workspace_id`, `scope` and `environment_id` of a key that is not revoked."""
    return db.execute(_BY_HASH, {"key_hash": key_hash}).mappings().first()


def create_workspace(db: Connection, name: str) -> RowMapping:
    """Create a workspace with its default environment."""
    row = db.execute(
        sa.insert(workspaces).values(id=new_id("wrkspc"), name=name, created_at=now_us()).returning(workspaces)
    )
    workspace = row.mappings().one()
    insert_default_environment(db, workspace["id"])
    return workspace


def get_workspace(db: Connection, workspace_id: str) -> RowMapping:
    """Return a workspace.

    Raises:
        NotFoundError: there is none by that id.
    """
    row = db.execute(sa.select(workspaces).where(workspaces.c.id == workspace_id)).mappings().first()
    if row is None:
        raise NotFoundError(f"no workspace {workspace_id!r}")
    return row


def list_workspaces(db: Connection, limit: int, after: Position | None) -> Sequence[RowMapping]:
    """Return workspaces, newest first, and one more than the limit if there are more."""
    return db.execute(newest_first(sa.select(workspaces), workspaces, limit, after)).mappings().all()


def create_api_key(
    db: Connection, *, workspace_id: str, name: str, scope: str, key: str, environment_id: str | None = None
) -> RowMapping:
    """Store a key of a workspace, or of one self-hosted environment in it.

    Raises:
        NotFoundError: there is no such workspace or environment.
        InvalidRequestError: the environment is not self-hosted.
    """
    get_workspace(db, workspace_id)
    if environment_id is not None:
        check_self_hosted(db, workspace_id, environment_id)
    values: dict[str, Any] = {
        "id": new_id("apikey"),
        "workspace_id": workspace_id,
        "name": name,
        "hash": hash_key(key),
        "hint": key_hint(key),
        "scope": scope,
        "environment_id": environment_id,
        "created_at": now_us(),
    }
    return db.execute(sa.insert(api_keys).values(**values).returning(api_keys)).mappings().one()


def list_api_keys(db: Connection, workspace_id: str | None, limit: int, after: Position | None) -> Sequence[RowMapping]:
    """Return keys of one workspace, or of all, newest first, and one more than the limit if there are more."""
    statement = sa.select(api_keys)
    if workspace_id is not None:
        statement = statement.where(api_keys.c.workspace_id == workspace_id)
    return db.execute(newest_first(statement, api_keys, limit, after)).mappings().all()


def revoke_api_key(db: Connection, api_key_id: str) -> RowMapping:
    """Revoke a key, at once and for good; revoking it again changes nothing.

    Raises:
        NotFoundError: there is no such key.
        InvalidRequestError: it is the last admin key.
    """
    admins = db.execute(
        sa.select(api_keys.c.id)
        .where(api_keys.c.scope == "admin", api_keys.c.revoked_at.is_(None))
        .order_by(api_keys.c.id)
        .with_for_update()
    )
    if admins.scalars().all() == [api_key_id]:
        raise InvalidRequestError("this is the last admin key: create another before revoking it")
    db.execute(
        sa.update(api_keys)
        .where(api_keys.c.id == api_key_id, api_keys.c.revoked_at.is_(None))
        .values(revoked_at=now_us())
    )
    row = db.execute(sa.select(api_keys).where(api_keys.c.id == api_key_id)).mappings().first()
    if row is None:
        raise NotFoundError(f"no API key {api_key_id!r}")
    return row

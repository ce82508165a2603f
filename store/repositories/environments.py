"""Environments, in the database."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, RowMapping

from protocol.errors import InvalidRequestError, NotFoundError
from protocol.ids import new_id
from store.clock import now_us
from store.repositories.keyset import Position, newest_first
from store.tables import environments, sessions

Json = dict[str, Any]

DEFAULT_CONFIG: Json = {
    "type": "cloud",
    "networking": {"type": "unrestricted"},
    "packages": {"type": "packages", "apt": [], "cargo": [], "gem": [], "go": [], "npm": [], "pip": []},
}


def insert_default_environment(db: Connection, workspace_id: str) -> RowMapping:
    """Create the environment that a workspace always has."""
    values = {"name": "default", "description": None, "config": DEFAULT_CONFIG, "metadata": {}}
    return create_environment(db, workspace_id, values, is_default=True)


def create_environment(db: Connection, workspace_id: str, values: Json, *, is_default: bool = False) -> RowMapping:
    """Create an environment of `name`, `description`, `config` and `metadata`."""
    now = db.execute(sa.select(now_us())).scalar_one()
    stored = {
        "id": new_id("env"),
        "workspace_id": workspace_id,
        "scope": "organization",
        "is_default": is_default,
        "created_at": now,
        "updated_at": now,
        **values,
    }
    return db.execute(sa.insert(environments).values(stored).returning(environments)).mappings().one()


def get_environment(db: Connection, workspace_id: str, environment_id: str, *, lock: bool = False) -> RowMapping:
    """Return an environment; with `lock`, nobody else changes it until the transaction ends.

    Raises:
        NotFoundError: there is no such environment in the workspace.
    """
    statement = sa.select(environments).where(
        environments.c.workspace_id == workspace_id, environments.c.id == environment_id
    )
    row = db.execute(statement.with_for_update() if lock else statement).mappings().first()
    if row is None:
        raise NotFoundError(f"no environment {environment_id!r}", error_code="environment_not_found")
    return row


def check_self_hosted(db: Connection, workspace_id: str, environment_id: str) -> None:
    """Refuse an environment that no workers of a client serve.

    Raises:
        NotFoundError: there is no such environment in the workspace.
        InvalidRequestError: it is not self-hosted.
    """
    kind = get_environment(db, workspace_id, environment_id)["config"]["type"]
    if kind != "self_hosted":
        raise InvalidRequestError(
            f"environment {environment_id!r} is of type {kind!r} and is not served by "
            "workers of yours: only a `self_hosted` one is"
        )


def list_environments(
    db: Connection, workspace_id: str, *, include_archived: bool, limit: int, after: Position | None
) -> Sequence[RowMapping]:
    """Return environments, newest first, and one more than the limit if there are more."""
    statement = sa.select(environments).where(environments.c.workspace_id == workspace_id)
    if not include_archived:
        statement = statement.where(environments.c.archived_at.is_(None))
    return db.execute(newest_first(statement, environments, limit, after)).mappings().all()


def update_environment(db: Connection, workspace_id: str, environment_id: str, values: Json) -> RowMapping:
    """Set columns of an environment that the caller has locked."""
    return (
        db.execute(
            sa.update(environments)
            .where(environments.c.workspace_id == workspace_id, environments.c.id == environment_id)
            .values({**values, "updated_at": now_us()})
            .returning(environments)
        )
        .mappings()
        .one()
    )


def archive_environment(db: Connection, workspace_id: str, environment_id: str) -> RowMapping:
    """Archive an environment: no new session gets it. Archiving it again changes nothing.

    Raises:
        NotFoundError: there is no such environment in the workspace.
        InvalidRequestError: it is the default one.
    """
    environment = get_environment(db, workspace_id, environment_id, lock=True)
    _refuse_default(environment, "archived")
    if environment["archived_at"] is not None:
        return environment
    return update_environment(db, workspace_id, environment_id, {"archived_at": now_us()})


def delete_environment(db: Connection, workspace_id: str, environment_id: str) -> None:
    """Delete an environment that no session refers to.

    Raises:
        NotFoundError: there is no such environment in the workspace.
        InvalidRequestError: it is the default one, or sessions refer to it.
    """
    environment = get_environment(db, workspace_id, environment_id, lock=True)
    _refuse_default(environment, "deleted")
    referring = sa.select(sessions.c.id).where(
        sessions.c.workspace_id == workspace_id,
        sessions.c.environment_id == environment_id,
        sessions.c.deleted_at.is_(None),
    )
    if db.execute(referring.limit(1)).first() is not None:
        raise InvalidRequestError("sessions refer to this environment: delete them first, or archive the environment")
    db.execute(
        sa.delete(environments).where(environments.c.workspace_id == workspace_id, environments.c.id == environment_id)
    )


def _refuse_default(environment: RowMapping, done: str) -> None:
    if environment["is_default"]:
        raise InvalidRequestError(f"the workspace's default environment cannot be {done}")

"""Deployments and the records of their runs, in the database."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import eq, ge, gt, le, lt
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, RowMapping

from protocol.errors import InvalidRequestError, NotFoundError
from protocol.ids import new_id
from store.clock import now_us, read_now
from store.event_pages import CreatedAt
from store.repositories.keyset import Position, newest_first
from store.tables import deployment_runs, deployments

Json = dict[str, Any]

# Found from the newest on, along the index that keeps a fire from being recorded twice; manual runs are not in its way.
_LAST_RUN = (
    sa.select(deployment_runs.c.created_at)
    .where(deployment_runs.c.deployment_id == deployments.c.id)
    .where(deployment_runs.c.scheduled_at.is_not(None), deployment_runs.c.session_id.is_not(None))
    .order_by(deployment_runs.c.scheduled_at.desc())
    .limit(1)
    .scalar_subquery()
    .label("last_run_at")
)
_SHOWN = sa.select(*deployments.c, now_us().label("now"), _LAST_RUN)


def create_deployment(db: Connection, workspace_id: str, values: Json) -> RowMapping:
    """Create a deployment; `values` are its columns but ids and times."""
    deployment_id, now = new_id("depl"), read_now(db)
    stored = {"id": deployment_id, "workspace_id": workspace_id, "created_at": now, "updated_at": now, **values}
    db.execute(sa.insert(deployments).values(stored))
    return get_deployment(db, workspace_id, deployment_id)


def get_deployment(db: Connection, workspace_id: str, deployment_id: str, *, lock: bool = False) -> RowMapping:
    """Return a deployment's columns with `now` and `last_run_at`; with `lock`, nobody else changes it meanwhile.

    Raises:
        NotFoundError: there is no such deployment in the workspace.
    """
    statement = _SHOWN.where(deployments.c.workspace_id == workspace_id, deployments.c.id == deployment_id)
    row = db.execute(statement.with_for_update(of=deployments) if lock else statement).mappings().first()
    if row is None:
        raise NotFoundError(f"no deployment {deployment_id!r}")
    return row


def lock_writable(db: Connection, workspace_id: str, deployment_id: str) -> RowMapping:
    """Return a deployment that nobody else changes until the transaction ends.

    Raises:
        NotFoundError: there is no such deployment in the workspace.
        InvalidRequestError: it is archived.
    """
    row = get_deployment(db, workspace_id, deployment_id, lock=True)
    if row["archived_at"] is not None:
        raise InvalidRequestError(f"deployment {deployment_id!r} is archived: it is read-only and runs no more")
    return row


def update_deployment(db: Connection, current: RowMapping, values: Json) -> RowMapping:
    """Set those columns of a locked deployment that get another value; without any, nothing changes."""
    changed = {column: value for column, value in values.items() if value != current[column]}
    if changed:
        statement = sa.update(deployments).where(deployments.c.id == current["id"])
        db.execute(statement.values({**changed, "updated_at": current["now"]}))
    return get_deployment(db, current["workspace_id"], current["id"])


def archive_deployment(db: Connection, workspace_id: str, deployment_id: str) -> RowMapping:
    """Make a deployment read-only, for good; archiving it again changes nothing.

    Raises:
        NotFoundError: there is no such deployment in the workspace.
    """
    row = get_deployment(db, workspace_id, deployment_id, lock=True)
    if row["archived_at"] is not None:
        return row
    return update_deployment(db, row, {"archived_at": row["now"], "paused_reason": None})


@dataclass(frozen=True, slots=True)
class DeploymentFilters:
    """Which deployments a list holds; the bounds are inclusive."""

    agent_id: str | None = None
    created_from: int | None = None
    created_to: int | None = None
    status: str | None = None
    include_archived: bool = False

    def conditions(self) -> list[sa.ColumnElement[bool]]:
        """Return the filters as SQL."""
        given: list[tuple[Any, Callable[[Any, Any], Any], sa.Column[Any]]] = [
            (self.agent_id, eq, deployments.c.agent_id),
            (self.created_from, ge, deployments.c.created_at),
            (self.created_to, le, deployments.c.created_at),
        ]
        conditions = [compare(column, value) for value, compare, column in given if value is not None]
        if self.status is not None:
            paused = deployments.c.paused_reason.is_not(None)
            conditions.append(paused if self.status == "paused" else ~paused)
        if not self.include_archived:
            conditions.append(deployments.c.archived_at.is_(None))
        return conditions


def list_deployments(
    db: Connection, workspace_id: str, filters: DeploymentFilters, *, limit: int, after: Position | None
) -> Sequence[RowMapping]:
    """Return deployments, newest first, and one more than the limit if there are more."""
    statement = _SHOWN.where(deployments.c.workspace_id == workspace_id, *filters.conditions())
    return db.execute(newest_first(statement, deployments, limit, after)).mappings().all()


def add_run(
    db: Connection, deployment: RowMapping, *, session_id: str | None = None, error: Json | None = None
) -> RowMapping:
    """Record a manual run of a deployment: the session it made, or why it made none."""
    values = {
        "id": new_id("drun"),
        "workspace_id": deployment["workspace_id"],
        "deployment_id": deployment["id"],
        "agent_id": deployment["agent_id"],
        "agent_version": deployment["agent_version"],
        "trigger_type": "manual",
        "session_id": session_id,
        "error": error,
        "created_at": deployment["now"],
    }
    return db.execute(sa.insert(deployment_runs).values(values).returning(deployment_runs)).mappings().one()


def get_run(db: Connection, workspace_id: str, run_id: str) -> RowMapping:
    """Return the record of a run.

    Raises:
        NotFoundError: there is no such run in the workspace.
    """
    statement = sa.select(deployment_runs).where(
        deployment_runs.c.workspace_id == workspace_id, deployment_runs.c.id == run_id
    )
    row = db.execute(statement).mappings().first()
    if row is None:
        raise NotFoundError(f"no deployment run {run_id!r}")
    return row


@dataclass(frozen=True, slots=True)
class RunFilters:
    """Which runs a list holds; `created` bounds their `created_at`."""

    deployment_id: str | None = None
    trigger_type: str | None = None
    has_error: bool | None = None
    created: CreatedAt = field(default_factory=CreatedAt)

    def conditions(self) -> list[sa.ColumnElement[bool]]:
        """Return the filters as SQL."""
        given: list[tuple[Any, Callable[[Any, Any], Any], sa.Column[Any]]] = [
            (self.deployment_id, eq, deployment_runs.c.deployment_id),
            (self.trigger_type, eq, deployment_runs.c.trigger_type),
            (self.created.gt, gt, deployment_runs.c.created_at),
            (self.created.gte, ge, deployment_runs.c.created_at),
            (self.created.lt, lt, deployment_runs.c.created_at),
            (self.created.lte, le, deployment_runs.c.created_at),
        ]
        conditions = [compare(column, value) for value, compare, column in given if value is not None]
        if self.has_error is not None:
            made = deployment_runs.c.session_id
            conditions.append(made.is_(None) if self.has_error else made.is_not(None))
        return conditions


def list_runs(
    db: Connection, workspace_id: str, filters: RunFilters, *, limit: int, after: Position | None
) -> Sequence[RowMapping]:
    """Return runs, newest first, and one more than the limit if there are more."""
    statement = sa.select(deployment_runs).where(deployment_runs.c.workspace_id == workspace_id, *filters.conditions())
    return db.execute(newest_first(statement, deployment_runs, limit, after)).mappings().all()

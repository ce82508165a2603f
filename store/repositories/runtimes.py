"""Registered runtimes, in the database."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, RowMapping

from protocol.errors import ConflictError, InvalidRequestError, NotFoundError
from store.clock import now_us
from store.repositories.keyset import Position, newest_first
from store.tables import agent_versions, agents, native_agents, orphans, runtimes, sessions

Json = dict[str, Any]

DEFAULT_ALIAS = "default"
_TOLD_ALIASES = 20
_IN_WORKSPACE = sa.select(runtimes).where(runtimes.c.workspace_id == sa.bindparam("workspace"))
# What is to refer to a runtime keeps it from being deleted meanwhile.
_CHOSEN = _IN_WORKSPACE.with_for_update(read=True, key_share=True)
_BY_ALIAS = _CHOSEN.where(runtimes.c.alias == sa.bindparam("alias"))
_FIRST_TWO = _CHOSEN.limit(2)


def create_runtime(db: Connection, workspace_id: str, runtime_id: str, values: Json) -> RowMapping:
    """Register a runtime of `alias`, `kind`, `base_url`, `credential` (sealed) and `options`.

    Raises:
        ConflictError: the alias is taken.
    """
    now = db.execute(sa.select(now_us())).scalar_one()
    stored = {
        "id": runtime_id,
        "workspace_id": workspace_id,
        "revision": 1,
        "created_at": now,
        "updated_at": now,
        **values,
    }
    try:
        return db.execute(sa.insert(runtimes).values(stored).returning(runtimes)).mappings().one()
    except sa.exc.IntegrityError as error:
        alias = values["alias"]
        raise ConflictError(f"alias {alias!r} is taken: choose another, or update that runtime") from error


def find_runtime(db: Connection, workspace_id: str, name: str, *, lock: bool = False) -> RowMapping | None:
    """Return the runtime with that id or alias."""
    statement = sa.select(runtimes).where(
        runtimes.c.workspace_id == workspace_id, sa.or_(runtimes.c.id == name, runtimes.c.alias == name)
    )
    return db.execute(statement.with_for_update() if lock else statement).mappings().first()


def get_runtime(db: Connection, workspace_id: str, name: str, *, lock: bool = False) -> RowMapping:
    """Return the runtime with that id or alias; with `lock`, nobody else changes it until the transaction ends.

    Raises:
        NotFoundError: there is no such runtime in the workspace.
    """
    row = find_runtime(db, workspace_id, name, lock=lock)
    if row is None:
        raise NotFoundError(f"no runtime {name!r}", error_code="runtime_not_found")
    return row


def choose_runtime(db: Connection, workspace_id: str, alias: str | None) -> RowMapping:
    """Return the runtime by that alias, or without one, the workspace's only runtime or the one named `default`.

    Raises:
        InvalidRequestError: no such alias, or no runtime stands out; the message tells the aliases there are.
    """
    if alias is not None:
        found = db.execute(_BY_ALIAS, {"workspace": workspace_id, "alias": alias}).mappings().first()
    else:
        candidates = db.execute(_FIRST_TWO, {"workspace": workspace_id}).mappings().all()
        found = candidates[0] if len(candidates) == 1 else None
        if found is None:
            found = db.execute(_BY_ALIAS, {"workspace": workspace_id, "alias": DEFAULT_ALIAS}).mappings().first()
    if found is None:
        raise _no_runtime(db, workspace_id, alias)
    return found


def _no_runtime(db: Connection, workspace_id: str, alias: str | None) -> InvalidRequestError:
    known = db.execute(
        sa.select(runtimes.c.alias)
        .where(runtimes.c.workspace_id == workspace_id)
        .order_by(runtimes.c.alias)
        .limit(_TOLD_ALIASES)
    )
    aliases = ", ".join(known.scalars()) or "none: register one with POST /v1/runtimes"
    problem = "several runtimes are registered, and none is named `default`" if alias is None else f"no {alias!r}"
    return InvalidRequestError(f"`runtime`: {problem}; aliases are: {aliases}", error_code="runtime_not_found")


def list_runtimes(db: Connection, workspace_id: str, *, limit: int, after: Position | None) -> Sequence[RowMapping]:
    """Return runtimes, newest first, and one more than the limit if there are more."""
    statement = sa.select(runtimes).where(runtimes.c.workspace_id == workspace_id)
    return db.execute(newest_first(statement, runtimes, limit, after)).mappings().all()


def update_runtime(db: Connection, workspace_id: str, runtime_id: str, values: Json) -> RowMapping:
    """Set columns of a runtime that the caller has locked; what was checked before holds no more."""
    return (
        db.execute(
            sa.update(runtimes)
            .where(runtimes.c.workspace_id == workspace_id, runtimes.c.id == runtime_id)
            .values({**values, "revision": runtimes.c.revision + 1, "updated_at": now_us(), "health": None})
            .values(checked_at=None)
            .returning(runtimes)
        )
        .mappings()
        .one()
    )


def store_health(db: Connection, runtime_id: str, revision: int, health: Json) -> None:
    """Store the result of a check, unless the runtime was changed since it began."""
    db.execute(
        sa.update(runtimes)
        .where(runtimes.c.id == runtime_id, runtimes.c.revision == revision)
        .values(health=health, checked_at=now_us())
    )


def release_held(db: Connection, runtime_id: str) -> list[str]:
    """Let the sessions of a runtime go on that waited for a person; return their ids, to be woken."""
    released = db.execute(
        sa.update(sessions)
        .where(sessions.c.runtime_id == runtime_id, sessions.c.held.is_not(None))
        .values(held=None)
        .returning(sessions.c.id)
    )
    return list(released.scalars())


def delete_runtime(db: Connection, workspace_id: str, name: str) -> str:
    """Forget a runtime and return its id.

    Raises:
        NotFoundError: there is no such runtime in the workspace.
        InvalidRequestError: an agent that is not archived, or a session, needs it.
    """
    runtime = get_runtime(db, workspace_id, name, lock=True)
    _refuse_used_by_agents(db, workspace_id, runtime["alias"])
    _refuse_used_by_sessions(db, workspace_id, runtime["id"])
    db.execute(sa.delete(native_agents).where(native_agents.c.runtime_id == runtime["id"]))
    db.execute(sa.delete(orphans).where(orphans.c.runtime_id == runtime["id"]))
    db.execute(sa.delete(runtimes).where(runtimes.c.workspace_id == workspace_id, runtimes.c.id == runtime["id"]))
    runtime_id: str = runtime["id"]
    return runtime_id


def _refuse_used_by_agents(db: Connection, workspace_id: str, alias: str) -> None:
    latest = (agent_versions.c.agent_id == agents.c.id) & (agent_versions.c.version == agents.c.version)
    using = (
        sa.select(agents.c.id)
        .join_from(agents, agent_versions, latest)
        .where(agents.c.workspace_id == workspace_id, agents.c.archived_at.is_(None))
        .where(agent_versions.c.definition["runtime"]["alias"].as_string() == alias)
    )
    agent_id = db.execute(using.limit(1)).scalar()
    if agent_id is not None:
        raise InvalidRequestError(f"agent {agent_id!r} uses this runtime: archive or update it first")


def _refuse_used_by_sessions(db: Connection, workspace_id: str, runtime_id: str) -> None:
    """Every session keeps its runtime: what it left there may still have to be closed or erased."""
    using = sa.select(sessions.c.id, sessions.c.ended_at, sessions.c.deleted_at).where(
        sessions.c.workspace_id == workspace_id, sessions.c.runtime_id == runtime_id
    )
    found = db.execute(using.order_by(sessions.c.deleted_at.is_not(None)).limit(1)).first()
    if found is None:
        return
    if found.deleted_at is not None:
        raise InvalidRequestError("sessions that were deleted ran there, and are still on record")
    remedy = "delete it first" if found.ended_at is not None else "stop or archive it, then delete it"
    raise InvalidRequestError(f"session {found.id!r} belongs to this runtime: {remedy}")

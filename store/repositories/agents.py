"""Agents and their versions, in the database."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, RowMapping

from protocol.errors import ConflictError, InvalidRequestError, NotFoundError
from protocol.ids import new_id
from store.clock import now_us
from store.repositories.keyset import Position, newest_first
from store.tables import agent_versions, agents

Json = dict[str, Any]

# An agent's row carries its creation; each version its own time, which is when the agent was last updated.
_COLUMNS = (
    agents.c.id,
    agents.c.archived_at,
    agents.c.created_at,
    agent_versions.c.created_at.label("updated_at"),
    agent_versions.c.version,
    agent_versions.c.definition,
)
_LATEST = sa.select(*_COLUMNS).join_from(
    agents, agent_versions, (agent_versions.c.agent_id == agents.c.id) & (agent_versions.c.version == agents.c.version)
)
_EVERY = sa.select(*_COLUMNS).join_from(agents, agent_versions, agent_versions.c.agent_id == agents.c.id)
# Built once: every session that is created reads its agent, and building a statement costs more than running it.
_ONE = (agents.c.workspace_id == sa.bindparam("workspace_id"), agents.c.id == sa.bindparam("agent_id"))
_GET_LATEST = _LATEST.where(*_ONE)
_LOCK = sa.select(agents.c.id).where(*_ONE).with_for_update()
_GET_VERSION = _EVERY.where(*_ONE, agent_versions.c.version == sa.bindparam("version"))


def create_agent(db: Connection, workspace_id: str, definition: Json) -> RowMapping:
    """Create an agent at version 1."""
    agent_id = new_id("agent")
    now = db.execute(sa.select(now_us())).scalar_one()
    values = {"id": agent_id, "workspace_id": workspace_id, "version": 1, "created_at": now, "updated_at": now}
    db.execute(sa.insert(agents).values(**values))
    _insert_version(db, agent_id, 1, definition, now)
    return get_agent(db, workspace_id, agent_id)


def get_agent(db: Connection, workspace_id: str, agent_id: str, version: int | None = None) -> RowMapping:
    """Return an agent, at its latest version or the one named.

    Raises:
        NotFoundError: there is no such agent in the workspace, or no such version of it.
    """
    wanted: Json = {"workspace_id": workspace_id, "agent_id": agent_id}
    if version is None:
        row = db.execute(_GET_LATEST, wanted).mappings().first()
    else:
        row = db.execute(_GET_VERSION, {**wanted, "version": version}).mappings().first()
    if row is None:
        named = "" if version is None else f" with version {version}"
        raise NotFoundError(f"no agent {agent_id!r}{named}", error_code="agent_not_found")
    return row


def list_agents(
    db: Connection,
    workspace_id: str,
    *,
    created: tuple[int | None, int | None] = (None, None),
    include_archived: bool,
    limit: int,
    after: Position | None,
) -> Sequence[RowMapping]:
    """Return agents, newest first, and one more than the limit if there are more; `created` are inclusive bounds."""
    statement = _LATEST.where(agents.c.workspace_id == workspace_id)
    first, last = created
    if first is not None:
        statement = statement.where(agents.c.created_at >= first)
    if last is not None:
        statement = statement.where(agents.c.created_at <= last)
    if not include_archived:
        statement = statement.where(agents.c.archived_at.is_(None))
    return db.execute(newest_first(statement, agents, limit, after)).mappings().all()


def list_agent_versions(
    db: Connection, workspace_id: str, agent_id: str, *, limit: int, before: int | None
) -> Sequence[RowMapping]:
    """Return an agent's versions below `before`, latest first, and one more than the limit if there are more.

    Raises:
        NotFoundError: there is no such agent in the workspace.
    """
    get_agent(db, workspace_id, agent_id)
    statement = _EVERY.where(agents.c.workspace_id == workspace_id, agents.c.id == agent_id)
    if before is not None:
        statement = statement.where(agent_versions.c.version < before)
    return db.execute(statement.order_by(agent_versions.c.version.desc()).limit(limit + 1)).mappings().all()


def lock_agent(db: Connection, workspace_id: str, agent_id: str) -> RowMapping:
    """Return an agent at its latest version, which nobody else changes until the transaction ends.

    Raises:
        NotFoundError: there is no such agent in the workspace.
    """
    # Locked first and read after: the statement that waits for the lock would still see the version before.
    db.execute(_LOCK, {"workspace_id": workspace_id, "agent_id": agent_id})
    return get_agent(db, workspace_id, agent_id)


def add_agent_version(db: Connection, workspace_id: str, agent_id: str, version: int, definition: Json) -> RowMapping:
    """Make a definition the next version of an agent that the caller has locked."""
    now = db.execute(sa.select(now_us())).scalar_one()
    db.execute(
        sa.update(agents)
        .where(agents.c.workspace_id == workspace_id, agents.c.id == agent_id)
        .values(version=version, updated_at=now)
    )
    _insert_version(db, agent_id, version, definition, now)
    return get_agent(db, workspace_id, agent_id)


def check_writable(agent: RowMapping) -> None:
    """Refuse an archived agent.

    Raises:
        InvalidRequestError: it is archived.
    """
    if agent["archived_at"] is not None:
        raise InvalidRequestError(f"agent {agent['id']!r} is archived and read-only", error_code="agent_archived")


def version_conflict(expected: int, current: int) -> ConflictError:
    """Return the error of an update that was made for another version."""
    return ConflictError(f"the agent is at version {current}, not {expected}: retrieve it and apply the change anew")


def archive_agent(db: Connection, workspace_id: str, agent_id: str) -> RowMapping:
    """Make an agent read-only, for good; archiving it again changes nothing.

    Raises:
        NotFoundError: there is no such agent in the workspace.
    """
    db.execute(
        sa.update(agents)
        .where(agents.c.workspace_id == workspace_id, agents.c.id == agent_id, agents.c.archived_at.is_(None))
        .values(archived_at=now_us())
    )
    return get_agent(db, workspace_id, agent_id)


def _insert_version(db: Connection, agent_id: str, version: int, definition: Json, now: int) -> None:
    values = {"agent_id": agent_id, "version": version, "definition": definition, "created_at": now}
    db.execute(sa.insert(agent_versions).values(**values))

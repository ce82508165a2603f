"""Sessions, in the database: creating, reading and updating them. What moves them on is in `store` itself."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import eq, ge, gt, le, lt
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, RowMapping

from protocol.definition import merged_metadata
from protocol.errors import InvalidRequestError, NotFoundError
from protocol.ids import new_id
from protocol.session_agent import snapshot_of, with_overrides, with_update
from protocol.sessions import AgentWithOverridesParams, SessionCreateParams, SessionUpdateParams
from store import event_log
from store.clock import now_us
from store.event_log import LockedSession, NewSession
from store.event_pages import CreatedAt
from store.events import lock_visible
from store.repositories.agents import check_writable, get_agent
from store.repositories.keyset import Position
from store.repositories.runtimes import choose_runtime
from store.tables import environments, inputs, runtimes, sessions

Json = dict[str, Any]

_WAITING = (
    sa.select(sa.func.count())
    .where(inputs.c.session_id == sessions.c.id, inputs.c.state == "queued")
    .scalar_subquery()
    .label("waiting")
)
_VISIBLE = sa.select(*sessions.c, now_us().label("now"), _WAITING).where(sessions.c.deleted_at.is_(None))
# Built once: building a statement costs more than running it.
_ONE = (sessions.c.workspace_id == sa.bindparam("workspace"), sessions.c.id == sa.bindparam("session"))
_GET = _VISIBLE.where(*_ONE)
_CHECK = sa.select(sessions.c.id).where(*_ONE, sessions.c.deleted_at.is_(None))
_ENVIRONMENT_OF = sa.select(sessions.c.environment_id).where(*_ONE, sessions.c.deleted_at.is_(None))
_GET_RUNTIME = sa.select(runtimes).join_from(sessions, runtimes, runtimes.c.id == sessions.c.runtime_id).where(*_ONE)
# Its lock is shared with other creations, but not with who deletes or archives the environment meanwhile.
_ENVIRONMENT = (
    sa.select(environments.c.id, environments.c.archived_at, environments.c.config, now_us().label("now"))
    .where(environments.c.workspace_id == sa.bindparam("workspace"))
    .with_for_update(read=True)
)
_DEFAULT_ENVIRONMENT = _ENVIRONMENT.where(environments.c.is_default)
_NAMED_ENVIRONMENT = _ENVIRONMENT.where(environments.c.id == sa.bindparam("environment"))


@dataclass(frozen=True, slots=True)
class SessionPlan:
    """What a new session is made of: its copy of the agent, and where it runs."""

    workspace_id: str
    agent: Json
    runtime: RowMapping
    environment_id: str
    self_hosted: bool
    now: int


def plan_session(db: Connection, workspace_id: str, params: SessionCreateParams) -> SessionPlan:
    """Resolve what a new session refers to; its environment stays until the transaction ends.

    Raises:
        NotFoundError: no such agent, version or environment in the workspace.
        InvalidRequestError: the agent or environment is archived, or the agent's runtime is gone.
    """
    chosen = params.agent
    agent_id, version = (chosen, None) if isinstance(chosen, str) else (chosen.id, chosen.version)
    agent = get_agent(db, workspace_id, agent_id, version)
    check_writable(agent)
    snapshot = snapshot_of(agent["id"], agent["version"], agent["definition"])
    if isinstance(chosen, AgentWithOverridesParams):
        snapshot = with_overrides(snapshot, chosen)
    runtime = choose_runtime(db, workspace_id, snapshot["runtime"]["alias"])
    environment = _lock_environment(db, workspace_id, params.environment_id)
    self_hosted = environment.config["type"] == "self_hosted"
    return SessionPlan(workspace_id, snapshot, runtime, environment.id, self_hosted, environment.now)


def _lock_environment(db: Connection, workspace_id: str, asked: str | None) -> sa.Row[Any]:
    if asked is None:
        row = db.execute(_DEFAULT_ENVIRONMENT, {"workspace": workspace_id}).first()
    else:
        row = db.execute(_NAMED_ENVIRONMENT, {"workspace": workspace_id, "environment": asked}).first()
    if row is None:
        raise NotFoundError(f"no environment {asked or 'default'!r}", error_code="environment_not_found")
    if row.archived_at is not None:
        raise InvalidRequestError(
            f"environment {asked!r} is archived: choose another, or leave `environment_id` out",
            error_code="environment_archived",
        )
    return row


def new_session(
    plan: SessionPlan, params: SessionCreateParams, *, single_answers: bool, deployment_id: str | None = None
) -> NewSession:
    """Return an idle session, to be saved in the transaction of its plan.

    `single_answers`: its runtime takes answers one at a time. `deployment_id`: the deployment whose run makes it.
    """
    chosen = plan.agent["runtime"]
    values = {
        "now": plan.now,
        "id": new_id("sesn"),
        "workspace_id": plan.workspace_id,
        "agent_id": plan.agent["id"],
        "agent_version": plan.agent["version"],
        "agent": plan.agent,
        "agent_options": {"options": chosen["options"], "native_id": chosen["native_agent_id"]},
        "runtime_id": plan.runtime["id"],
        "runtime_alias": plan.runtime["alias"],
        "kind": plan.runtime["kind"],
        "environment_id": plan.environment_id,
        "deployment_id": deployment_id,
        "self_hosted": plan.self_hosted,
        "title": params.title,
        "metadata": params.metadata or {},
        "vault_ids": [],
        "status": "idle",
        "single_answers": single_answers,
        **dict.fromkeys(("last_seq", "last_event_at", "fence", "turn_count", "active_us"), 0),
        "usage": {},
        **dict.fromkeys(("moved_at", "created_at", "updated_at"), plan.now),
    }
    return NewSession(values)


def get_session(db: Connection, workspace_id: str, session_id: str) -> RowMapping:
    """Return a session's columns, with `now` and `waiting`, the number of inputs not begun.

    Raises:
        NotFoundError: there is no such session in the workspace.
    """
    row = db.execute(_GET, {"workspace": workspace_id, "session": session_id}).mappings().first()
    if row is None:
        raise NotFoundError(f"no session {session_id!r}")
    return row


def check_session(db: Connection, workspace_id: str, session_id: str) -> None:
    """Refuse a session that the workspace cannot see.

    Raises:
        NotFoundError: there is no such session in the workspace.
    """
    if db.execute(_CHECK, {"workspace": workspace_id, "session": session_id}).first() is None:
        raise NotFoundError(f"no session {session_id!r}")


def find_environment(db: Connection, workspace_id: str, session_id: str) -> str | None:
    """Return the environment of a session, or None if there is no such session."""
    return db.execute(_ENVIRONMENT_OF, {"workspace": workspace_id, "session": session_id}).scalar()


def find_session_runtime(db: Connection, workspace_id: str, session_id: str) -> RowMapping | None:
    """Return the registered runtime in which a session lives, or None if there is no such session."""
    return db.execute(_GET_RUNTIME, {"workspace": workspace_id, "session": session_id}).mappings().first()


@dataclass(frozen=True, slots=True)
class SessionFilters:
    """Which sessions a list holds; `created` bounds their `created_at`."""

    agent_id: str | None = None
    agent_version: int | None = None
    deployment_id: str | None = None
    created: CreatedAt = field(default_factory=CreatedAt)
    statuses: tuple[str, ...] = ()
    include_archived: bool = False

    def conditions(self) -> list[sa.ColumnElement[bool]]:
        """Return the filters as SQL."""
        given: list[tuple[Any, Callable[[Any, Any], Any], sa.Column[Any]]] = [
            (self.agent_id, eq, sessions.c.agent_id),
            (self.agent_version if self.agent_id is not None else None, eq, sessions.c.agent_version),
            (self.deployment_id, eq, sessions.c.deployment_id),
            (self.created.gt, gt, sessions.c.created_at),
            (self.created.gte, ge, sessions.c.created_at),
            (self.created.lt, lt, sessions.c.created_at),
            (self.created.lte, le, sessions.c.created_at),
        ]
        conditions = [compare(column, value) for value, compare, column in given if value is not None]
        if self.statuses:
            conditions.append(sessions.c.status.in_(self.statuses))
        if not self.include_archived:
            conditions.append(sessions.c.archived_at.is_(None))
        return conditions


def list_sessions(
    db: Connection,
    workspace_id: str,
    filters: SessionFilters,
    *,
    ascending: bool,
    limit: int,
    after: Position | None,
) -> Sequence[RowMapping]:
    """Return sessions by `created_at` and `id`, and one more than the limit if there are more."""
    columns = (sessions.c.created_at, sessions.c.id)
    statement = _VISIBLE.where(sessions.c.workspace_id == workspace_id, *filters.conditions())
    if after is not None:
        key, bound = sa.tuple_(*columns), sa.tuple_(*(sa.literal(part) for part in after))
        statement = statement.where(key > bound if ascending else key < bound)
    ordered = statement.order_by(*(column.asc() if ascending else column.desc() for column in columns))
    return db.execute(ordered.limit(limit + 1)).mappings().all()


def update_session(
    db: Connection,
    workspace_id: str,
    session_id: str,
    params: SessionUpdateParams,
    check_agent: Callable[[Json], None],
) -> int:
    """Change what was sent, and tell it as `session.updated` if anything did change; return the last seq.

    `check_agent` refuses a copy of the agent that the session's runtime could not run.

    Raises:
        NotFoundError: there is no such session in the workspace.
        InvalidRequestError: it is archived; or its agent is to change while it runs or after it has ended.
    """
    locked = lock_visible(db, session_id, workspace_id, whole=True)
    if locked["archived_at"] is not None:
        raise InvalidRequestError("the session is archived and read-only")
    told = _changes(locked, params)
    if "agent" in told:
        check_agent(told["agent"])
    if told:
        locked.set(**told, updated_at=locked.now)
        shown = {name: value for name, value in told.items() if name != "metadata" or value}
        event_log.append_own(db, locked, [("session.updated", shown)])
        locked.save(db)
    return int(locked["last_seq"])


def _changes(locked: LockedSession, params: SessionUpdateParams) -> Json:
    wanted: Json = {}
    if "title" in params.model_fields_set:
        wanted["title"] = params.title
    if params.metadata:
        wanted["metadata"] = merged_metadata(locked["metadata"], params.metadata)
    if params.agent is not None and params.agent.model_fields_set:
        _refuse_busy(locked)
        wanted["agent"] = with_update(locked["agent"], params.agent)
    return {name: value for name, value in wanted.items() if value != locked[name]}


def _refuse_busy(locked: LockedSession) -> None:
    if locked["ended_at"] is not None or locked["stopping_at"] is not None:
        raise InvalidRequestError("`agent`: the session has ended, and runs no more turns")
    if locked["open_turn_id"] is not None:
        raise InvalidRequestError("`agent`: the session is running; wait until it is idle, or interrupt it")

"""Deployments: an agent with all that its sessions need to begin by themselves, run when somebody says so."""

from dataclasses import astuple
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Response
from pydantic import TypeAdapter
from sqlalchemy import Connection, RowMapping

from api.auth import CallerDep
from api.body import JsonRoute
from api.deps import AppState, StateDep, answer
from api.pages import PageDep, keyset, next_cursor
from api.resends import AttemptDep, Done, answer_once
from api.routes.deployment_runs import run_json
from api.session_creation import FirstEvents, checked_plan, make_session
from api.wakes import follow
from protocol.definition import merged_metadata
from protocol.deployments import (
    Deployment,
    DeploymentCreateParams,
    DeploymentPage,
    DeploymentRun,
    DeploymentUpdateParams,
    ScheduleParams,
)
from protocol.errors import ApiError, InvalidRequestError, NotFoundError
from protocol.fields import Time
from protocol.inputs import DeploymentEvents
from protocol.sessions import SessionCreateParams
from protocol.timestamps import to_rfc3339
from store.events import Accepted, TooManyQueuedError
from store.repositories import deployments
from store.repositories.deployments import DeploymentFilters
from store.resends import Attempt
from store.schedules import check_schedule, upcoming_runs

Json = dict[str, Any]

router = APIRouter(prefix="/v1/deployments", tags=["Deployments"], route_class=JsonRoute)

_EVENTS: TypeAdapter[FirstEvents] = TypeAdapter(DeploymentEvents)
_MANUAL = {"type": "manual"}
_RUN_ERRORS = {
    "agent_archived": "agent_archived_error",
    "environment_archived": "environment_archived_error",
    "environment_not_found": "environment_not_found_error",
}
"""The API's type of a run's error by the code of what refused the session."""


def deployment_json(row: RowMapping) -> Json:
    """Return a deployment in the API's shape."""
    archived_at, paused_reason = row["archived_at"], row["paused_reason"]
    return {
        "id": row["id"],
        "type": "deployment",
        "name": row["name"],
        "description": row["description"],
        "agent": {"type": "agent", "id": row["agent_id"], "version": row["agent_version"]},
        "environment_id": row["environment_id"],
        "initial_events": row["initial_events"],
        "metadata": row["metadata"],
        "schedule": _schedule_json(row),
        "status": "active" if paused_reason is None else "paused",
        "paused_reason": paused_reason,
        "resources": [],
        "vault_ids": [],
        "budget": None,
        "created_at": to_rfc3339(row["created_at"]),
        "updated_at": to_rfc3339(row["updated_at"]),
        "archived_at": None if archived_at is None else to_rfc3339(archived_at),
    }


def _schedule_json(row: RowMapping) -> Json | None:
    schedule, last_run_at = row["schedule"], row["last_run_at"]
    if schedule is None:
        return None
    upcoming = upcoming_runs(schedule["expression"], schedule["timezone"], row["now"])
    return {
        **schedule,
        "upcoming_runs_at": [to_rfc3339(at) for at in upcoming] if row["archived_at"] is None else [],
        "last_run_at": None if last_run_at is None else to_rfc3339(last_run_at),
    }


def _checked_schedule(schedule: ScheduleParams | None) -> Json | None:
    if schedule is None:
        return None
    check_schedule(schedule.expression, schedule.timezone)
    return schedule.model_dump()


def _stored_events(events: FirstEvents) -> list[Json]:
    return [event.model_dump(exclude_none=True) for event in events]


def _session_params(agent: Any, environment_id: str | None) -> SessionCreateParams:
    return SessionCreateParams.model_validate({"agent": agent, "environment_id": environment_id})


@router.post("", response_model=Deployment)
async def create_deployment(
    params: DeploymentCreateParams, attempt: AttemptDep, state: StateDep, caller: CallerDep
) -> Response:
    """Create a deployment. Its schedule is kept and shown, and does not fire yet: run it by `run`."""
    schedule = _checked_schedule(params.schedule)
    wanted = _session_params(params.agent, params.environment_id)

    def create(db: Connection) -> Done[None]:
        plan, _ = checked_plan(db, state, caller.workspace_id, wanted, params.initial_events)
        values = {
            "name": params.name,
            "description": params.description or None,
            "agent_id": plan.agent["id"],
            "agent_version": plan.agent["version"],
            "environment_id": plan.environment_id,
            "initial_events": _stored_events(params.initial_events),
            "schedule": schedule,
            "metadata": params.metadata or {},
        }
        return Done(deployment_json(deployments.create_deployment(db, caller.workspace_id, values)))

    body, _ = await answer_once(state, attempt, create)
    return answer(body)


async def _filters(
    agent_id: str | None = None,
    created_at_gte: Annotated[Time | None, Query(alias="created_at[gte]", description="Not created before.")] = None,
    created_at_lte: Annotated[Time | None, Query(alias="created_at[lte]", description="Not created after.")] = None,
    status: Annotated[
        Literal["active", "paused"] | None, Query(description="By default both. Not with `include_archived`.")
    ] = None,
    include_archived: Annotated[bool, Query(description="Whether archived deployments are listed too.")] = False,
) -> DeploymentFilters:
    if status is not None and include_archived:
        raise InvalidRequestError("`status` and `include_archived` cannot be combined: send one of them")
    return DeploymentFilters(agent_id, created_at_gte, created_at_lte, status, include_archived)


@router.get("", response_model=DeploymentPage)
async def list_deployments(
    caller: CallerDep, state: StateDep, page: PageDep, asked: Annotated[DeploymentFilters, Depends(_filters)]
) -> Response:
    """List deployments, newest first."""
    binding = ("deployments", *astuple(asked))
    after = keyset(page, binding)
    read = partial(
        deployments.list_deployments,
        workspace_id=caller.workspace_id,
        filters=asked,
        limit=page.limit,
        after=after,
    )
    rows = await state.store.read(read)
    data = [deployment_json(row) for row in rows[: page.limit]]
    return answer({"data": data, "next_page": next_cursor(rows, page, binding)})


@router.get("/{deployment_id}", response_model=Deployment)
async def retrieve_deployment(deployment_id: str, caller: CallerDep, state: StateDep) -> Response:
    """Retrieve a deployment."""
    workspace_id = caller.workspace_id
    read = partial(deployments.get_deployment, workspace_id=workspace_id, deployment_id=deployment_id)
    return answer(deployment_json(await state.store.read(read)))


@router.post("/{deployment_id}", response_model=Deployment)
async def update_deployment(
    deployment_id: str, params: DeploymentUpdateParams, attempt: AttemptDep, caller: CallerDep, state: StateDep
) -> Response:
    """Update a deployment; sessions that were made before stay as they are."""
    schedule = _checked_schedule(params.schedule)

    def update(db: Connection) -> Done[None]:
        current = deployments.lock_writable(db, caller.workspace_id, deployment_id)
        values = _plain_changes(current, params) | _checked_changes(db, state, current, params)
        if "schedule" in params.model_fields_set:
            values["schedule"] = schedule
        return Done(deployment_json(deployments.update_deployment(db, current, values)))

    body, _ = await answer_once(state, attempt, update)
    return answer(body)


def _plain_changes(current: RowMapping, params: DeploymentUpdateParams) -> Json:
    asked: Json = {}
    if "name" in params.model_fields_set:
        asked["name"] = params.name
    if "description" in params.model_fields_set:
        asked["description"] = params.description or None
    if params.metadata is not None:
        asked["metadata"] = merged_metadata(current["metadata"], params.metadata)
    return asked


def _checked_changes(db: Connection, state: AppState, current: RowMapping, params: DeploymentUpdateParams) -> Json:
    """Return the changes of what a session is made of, once such a session could be made."""
    sent = params.model_fields_set
    if not sent & {"agent", "environment_id", "initial_events"}:
        return {}
    agent = params.agent if "agent" in sent else _pinned(current)
    environment_id = params.environment_id if "environment_id" in sent else current["environment_id"]
    events = params.initial_events if "initial_events" in sent else _EVENTS.validate_python(current["initial_events"])
    wanted = _session_params(agent, environment_id)
    plan, _ = checked_plan(db, state, current["workspace_id"], wanted, events)
    return {
        "agent_id": plan.agent["id"],
        "agent_version": plan.agent["version"],
        "environment_id": plan.environment_id,
        "initial_events": _stored_events(events),
    }


def _pinned(row: RowMapping) -> Json:
    return {"type": "agent", "id": row["agent_id"], "version": row["agent_version"]}


@router.post("/{deployment_id}/archive", response_model=Deployment)
async def archive_deployment(deployment_id: str, attempt: AttemptDep, caller: CallerDep, state: StateDep) -> Response:
    """Archive a deployment: it becomes read-only and runs no more; its sessions go on."""

    def archive(db: Connection) -> Done[None]:
        return Done(deployment_json(deployments.archive_deployment(db, caller.workspace_id, deployment_id)))

    body, _ = await answer_once(state, attempt, archive)
    return answer(body)


@router.post("/{deployment_id}/pause", response_model=Deployment)
async def pause_deployment(deployment_id: str, attempt: AttemptDep, caller: CallerDep, state: StateDep) -> Response:
    """Pause a deployment: its schedule is not to fire; it still runs when it is told to."""
    return await _set_paused(state, attempt, caller.workspace_id, deployment_id, _MANUAL)


@router.post("/{deployment_id}/unpause", response_model=Deployment)
async def unpause_deployment(deployment_id: str, attempt: AttemptDep, caller: CallerDep, state: StateDep) -> Response:
    """Unpause a deployment. What its schedule missed is not made up for."""
    return await _set_paused(state, attempt, caller.workspace_id, deployment_id, None)


async def _set_paused(
    state: AppState, attempt: Attempt, workspace_id: str, deployment_id: str, reason: Json | None
) -> Response:
    def change(db: Connection) -> Done[None]:
        current = deployments.lock_writable(db, workspace_id, deployment_id)
        return Done(deployment_json(deployments.update_deployment(db, current, {"paused_reason": reason})))

    body, _ = await answer_once(state, attempt, change)
    return answer(body)


@router.post("/{deployment_id}/run", response_model=DeploymentRun)
async def run_deployment(deployment_id: str, attempt: AttemptDep, caller: CallerDep, state: StateDep) -> Response:
    """Run a deployment now, paused or not: it makes a session, or a record of why it could not."""

    def run(db: Connection) -> Done[tuple[str, Accepted]]:
        deployment = deployments.lock_writable(db, caller.workspace_id, deployment_id)
        events = _EVENTS.validate_python(deployment["initial_events"])
        wanted = _session_params(_pinned(deployment), deployment["environment_id"])
        try:
            created = make_session(db, state, caller.workspace_id, wanted, events, deployment_id)
        except (InvalidRequestError, NotFoundError, TooManyQueuedError) as refused:
            return Done(run_json(deployments.add_run(db, deployment, error=_run_error(refused))))
        session_id, accepted = created.session.id, created.accepted
        body = run_json(deployments.add_run(db, deployment, session_id=session_id))
        return Done(body, session_id, (session_id, accepted) if accepted else None)

    body, effect = await answer_once(state, attempt, run)
    if effect is not None:
        follow(state, *effect)
    return answer(body)


def _run_error(refused: ApiError) -> Json:
    kind = _RUN_ERRORS.get(refused.error_code or "", "session_creation_rejected_error")
    return {"type": kind, "message": refused.message}

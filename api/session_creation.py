"""Making a session, in one transaction: what `POST /v1/sessions` and the run of a deployment share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from api.capability_check import check_capabilities, check_client_tools
from api.deps import AppState
from api.session_capabilities import check_takes
from api.session_resources import check_resources, new_resources, resource_json
from protocol.inputs import SystemMessage, UserMessage, payload_of
from protocol.sessions import SessionCreateParams
from runtimes.capabilities import Capabilities
from store.event_log import NewSession
from store.events import Accepted, Input, accept_initial
from store.repositories.session_resources import add_resources, add_skills, check_skills, list_resources
from store.repositories.sessions import SessionPlan, new_session, plan_session

Json = dict[str, Any]
FirstEvents = Sequence[UserMessage | SystemMessage]


@dataclass(frozen=True, slots=True)
class CreatedSession:
    """A session that was saved; `accepted` are its initial events, or None if it has none."""

    session: NewSession
    accepted: Accepted | None
    resources: list[Json]
    """Its resources, in the API's shape."""


def checked_plan(
    db: Connection, state: AppState, workspace_id: str, params: SessionCreateParams, events: FirstEvents
) -> tuple[SessionPlan, Capabilities]:
    """Resolve what a session would be made of, and refuse what could not run.

    Raises:
        NotFoundError: no such agent, version or environment in the workspace.
        InvalidRequestError: one of them is archived, the runtime is gone, or it cannot do what is asked.
        CapabilitiesUnknownError: what the runtime can do is not known yet: see `answer_once`.
    """
    plan = plan_session(db, workspace_id, params)
    capabilities = state.adapters.known_capabilities(plan.runtime)
    check_capabilities(plan.agent, plan.runtime["kind"], capabilities)
    if plan.self_hosted:
        check_client_tools(plan.runtime["alias"], capabilities)
    check_takes(capabilities, plan.runtime["alias"], events, "initial_events")
    check_resources(state, capabilities, plan.runtime["alias"], params.resources or ())
    if plan.agent["skills"] and capabilities.skills == "own":
        plan.agent["skills"] = check_skills(db, workspace_id, plan.agent["skills"])
    return plan, capabilities


def make_session(
    db: Connection,
    state: AppState,
    workspace_id: str,
    params: SessionCreateParams,
    events: FirstEvents,
    deployment_id: str | None = None,
) -> CreatedSession:
    """Make a session with its initial events. What it refuses, it refuses before it writes anything.

    Raises:
        NotFoundError, InvalidRequestError, CapabilitiesUnknownError: as `checked_plan`.
        TooManyQueuedError: more initial events than may wait in a session.
    """
    plan, capabilities = checked_plan(db, state, workspace_id, params, events)
    single = capabilities.answers == "single"
    created = new_session(plan, params, single_answers=single, deployment_id=deployment_id)
    batch = [Input(event.type, payload_of(event)) for event in events]
    accepted = accept_initial(db, created, batch, max_queued=state.settings.max_queued_events) if batch else None
    created.save(db)
    if plan.agent["skills"] and capabilities.skills == "own":
        add_skills(db, workspace_id, created.id, plan.agent["skills"])
    if params.resources:
        add_resources(db, workspace_id, created.id, new_resources(state, workspace_id, params.resources))
    shown = [resource_json(row) for row in list_resources(db, created.id)] if params.resources else []
    return CreatedSession(created, accepted, shown)

"""Agents: versioned definitions, each bound to a registered runtime."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Response
from sqlalchemy import Connection, RowMapping

from api.auth import CallerDep
from api.body import JsonRoute
from api.capability_check import check_capabilities
from api.deps import AppState, StateDep, answer
from api.pages import PageDep, decode_cursor, encode_cursor, keyset, next_cursor
from api.resends import AttemptDep, Done, answer_once
from protocol.agents import Agent, AgentCreateParams, AgentPage, AgentUpdateParams
from protocol.definition import Json, new_definition, updated_definition
from protocol.fields import MAX_INT32, Time
from protocol.timestamps import to_rfc3339
from store.repositories import agents
from store.repositories.runtimes import choose_runtime
from store.repositories.session_resources import check_skills

router = APIRouter(prefix="/v1/agents", tags=["Agents"], route_class=JsonRoute)


def agent_json(row: RowMapping) -> Json:
    """Return an agent in the API's shape."""
    archived_at = row["archived_at"]
    return {
        "id": row["id"],
        "type": "agent",
        "version": row["version"],
        **row["definition"],
        "created_at": to_rfc3339(row["created_at"]),
        "updated_at": to_rfc3339(row["updated_at"]),
        "archived_at": None if archived_at is None else to_rfc3339(archived_at),
    }


def resolve_runtime(db: Connection, state: AppState, workspace_id: str, definition: Json) -> Json:
    """Return the definition with its runtime chosen, once that runtime is known to be able to run it.

    Raises:
        InvalidRequestError: there is no such runtime, or it cannot do what the definition asks for.
        CapabilitiesUnknownError: what it can do must be read first.
        NotFoundError: it names a skill that the workspace does not have.
    """
    asked: Json | None = definition["runtime"]
    runtime = choose_runtime(db, workspace_id, asked["alias"] if asked else None)
    capabilities = state.adapters.known_capabilities(runtime)
    check_capabilities(definition, runtime["kind"], capabilities)
    if definition["skills"] and capabilities.skills == "own":
        check_skills(db, workspace_id, definition["skills"])
    chosen = asked or {"alias": runtime["alias"], "native_agent_id": None, "options": {}, "fallbacks": []}
    return {**definition, "runtime": chosen}


@router.post("", response_model=Agent)
async def create_agent(params: AgentCreateParams, attempt: AttemptDep, caller: CallerDep, state: StateDep) -> Response:
    """Create an agent, at version 1."""

    def create(db: Connection) -> Done[None]:
        definition = resolve_runtime(db, state, caller.workspace_id, new_definition(params))
        return Done(agent_json(agents.create_agent(db, caller.workspace_id, definition)))

    return answer((await answer_once(state, attempt, create))[0])


@router.get("", response_model=AgentPage)
async def list_agents(
    caller: CallerDep,
    state: StateDep,
    page: PageDep,
    created_at_gte: Annotated[Time | None, Query(alias="created_at[gte]", description="Not created before.")] = None,
    created_at_lte: Annotated[Time | None, Query(alias="created_at[lte]", description="Not created after.")] = None,
    include_archived: Annotated[bool, Query(description="Whether archived agents are listed too.")] = False,
) -> Response:
    """List agents, newest first."""
    filters = ("agents", created_at_gte, created_at_lte, include_archived)
    rows = await state.store.read(
        partial(
            agents.list_agents,
            workspace_id=caller.workspace_id,
            created=(created_at_gte, created_at_lte),
            include_archived=include_archived,
            limit=page.limit,
            after=keyset(page, filters),
        )
    )
    data = [agent_json(row) for row in rows[: page.limit]]
    return answer({"data": data, "next_page": next_cursor(rows, page, filters)})


@router.get("/{agent_id}", response_model=Agent)
async def retrieve_agent(
    agent_id: str,
    caller: CallerDep,
    state: StateDep,
    version: Annotated[int | None, Query(ge=1, le=MAX_INT32, description="By default the latest.")] = None,
) -> Response:
    """Retrieve an agent, at its latest version or the one named."""
    workspace_id = caller.workspace_id
    read = partial(agents.get_agent, workspace_id=workspace_id, agent_id=agent_id, version=version)
    return answer(agent_json(await state.store.read(read)))


@router.post("/{agent_id}", response_model=Agent)
async def update_agent(
    agent_id: str, params: AgentUpdateParams, attempt: AttemptDep, caller: CallerDep, state: StateDep
) -> Response:
    """Update an agent: what changes becomes its next version, and an update that changes nothing makes none."""

    def update(db: Connection) -> Done[None]:
        return Done(agent_json(_update(db, state, caller.workspace_id, agent_id, params)))

    return answer((await answer_once(state, attempt, update))[0])


def _update(db: Connection, state: AppState, workspace_id: str, agent_id: str, params: AgentUpdateParams) -> RowMapping:
    current = agents.lock_agent(db, workspace_id, agent_id)
    agents.check_writable(current)
    if params.version not in (None, current["version"]):
        raise agents.version_conflict(params.version, current["version"])
    definition = updated_definition(current["definition"], params)
    if definition == current["definition"]:
        return current
    definition = resolve_runtime(db, state, workspace_id, definition)
    if definition == current["definition"]:
        return current
    return agents.add_agent_version(db, workspace_id, agent_id, current["version"] + 1, definition)


@router.post("/{agent_id}/archive", response_model=Agent)
async def archive_agent(agent_id: str, attempt: AttemptDep, caller: CallerDep, state: StateDep) -> Response:
    """Archive an agent: it becomes read-only and starts no more sessions; those that run go on."""

    def archive(db: Connection) -> Done[None]:
        return Done(agent_json(agents.archive_agent(db, caller.workspace_id, agent_id)))

    return answer((await answer_once(state, attempt, archive))[0])


@router.get("/{agent_id}/versions", response_model=AgentPage)
async def list_agent_versions(agent_id: str, caller: CallerDep, state: StateDep, page: PageDep) -> Response:
    """List the versions of an agent, latest first."""
    filters = ("agent_versions", agent_id)
    before = decode_cursor(page.page, filters, (int,))[0] if page.page else None
    rows = await state.store.read(
        partial(
            agents.list_agent_versions,
            workspace_id=caller.workspace_id,
            agent_id=agent_id,
            limit=page.limit,
            before=before,
        )
    )
    more = len(rows) > page.limit
    cursor = encode_cursor(filters, (rows[page.limit - 1]["version"],)) if more else None
    return answer({"data": [agent_json(row) for row in rows[: page.limit]], "next_page": cursor})

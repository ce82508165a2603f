"""Agents: versioned definitions, each bound to a registered runtime."""

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from sqlalchemy import Connection, RowMapping

from api.auth import CallerDep
from api.body import JsonRoute
from api.capability_check import check_capabilities
from api.deps import AppState, StateDep, answer
from api.pages import PageDep, decode_cursor, encode_cursor, keyset, next_cursor
from protocol.agents import Agent, AgentCreateParams, AgentPage, AgentUpdateParams
from protocol.definition import Json, new_definition, updated_definition
from protocol.errors import ConflictError
from protocol.fields import MAX_INT32, Time
from protocol.timestamps import to_rfc3339
from store.repositories import agents
from store.repositories.runtimes import choose_runtime
from store.repositories.session_resources import check_skills

router = APIRouter(prefix="/v1/agents", tags=["Agents"], route_class=JsonRoute)

_UPDATE_ATTEMPTS = 10


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


async def resolve_runtime(state: AppState, workspace_id: str, definition: Json) -> Json:
    """Return the definition with its runtime chosen, once that runtime is known to be able to run it.

    Raises:
        InvalidRequestError: there is no such runtime, or it cannot do what the definition asks for.
        NotFoundError: it names a skill that the workspace does not have.
    """
    asked: dict[str, Any] | None = definition["runtime"]
    alias = asked["alias"] if asked else None
    runtime = await state.store.read(partial(choose_runtime, workspace_id=workspace_id, alias=alias))
    capabilities = await state.adapters.capabilities(runtime)
    check_capabilities(definition, runtime["kind"], capabilities)
    if definition["skills"] and capabilities.skills == "own":
        await state.store.read(partial(check_skills, workspace_id=workspace_id, skills=definition["skills"]))
    chosen = asked or {"alias": runtime["alias"], "native_agent_id": None, "options": {}, "fallbacks": []}
    return {**definition, "runtime": chosen}


@router.post("", response_model=Agent)
async def create_agent(params: AgentCreateParams, caller: CallerDep, state: StateDep) -> Response:
    """Create an agent, at version 1."""
    definition = await resolve_runtime(state, caller.workspace_id, new_definition(params))

    def create(db: Connection) -> RowMapping:
        choose_runtime(db, caller.workspace_id, definition["runtime"]["alias"])  # it may be gone by now
        return agents.create_agent(db, caller.workspace_id, definition)

    return answer(agent_json(await state.store.write(create)))


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
async def update_agent(agent_id: str, params: AgentUpdateParams, caller: CallerDep, state: StateDep) -> Response:
    """Update an agent: what changes becomes its next version, and an update that changes nothing makes none."""
    attempts = 1 if params.version is not None else _UPDATE_ATTEMPTS
    while True:
        try:
            return answer(agent_json(await _update(state, caller.workspace_id, agent_id, params)))
        except ConflictError:
            attempts -= 1
            if not attempts:
                raise


async def _update(state: AppState, workspace_id: str, agent_id: str, params: AgentUpdateParams) -> RowMapping:
    current = await state.store.read(partial(agents.get_agent, workspace_id=workspace_id, agent_id=agent_id))
    agents.check_writable(current)
    if params.version not in (None, current["version"]):
        raise agents.version_conflict(params.version, current["version"])
    definition = updated_definition(current["definition"], params)
    if definition == current["definition"]:
        return current
    definition = await resolve_runtime(state, workspace_id, definition)
    if definition == current["definition"]:
        return current
    add = partial(
        agents.add_agent_version,
        workspace_id=workspace_id,
        agent_id=agent_id,
        based_on=current["version"],
        definition=definition,
    )
    return await state.store.write(add)


@router.post("/{agent_id}/archive", response_model=Agent)
async def archive_agent(agent_id: str, caller: CallerDep, state: StateDep) -> Response:
    """Archive an agent: it becomes read-only and starts no more sessions; those that run go on."""
    archive = partial(agents.archive_agent, workspace_id=caller.workspace_id, agent_id=agent_id)
    return answer(agent_json(await state.store.write(archive)))


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

"""Environments: where an agent's tools run."""

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from sqlalchemy import Connection, RowMapping

from api.auth import CallerDep
from api.body import JsonRoute
from api.deps import StateDep, answer
from api.pages import PageDep, keyset, next_cursor
from api.resends import AttemptDep, Done, answer_once
from protocol.definition import merged_metadata
from protocol.environments import (
    Environment,
    EnvironmentCreateParams,
    EnvironmentDeleted,
    EnvironmentPage,
    EnvironmentUpdateParams,
    resolve_config,
)
from protocol.errors import InvalidRequestError
from protocol.timestamps import to_rfc3339
from store.repositories import environments

router = APIRouter(prefix="/v1/environments", tags=["Environments"], route_class=JsonRoute)


def environment_json(row: RowMapping) -> dict[str, Any]:
    """Return an environment in the API's shape."""
    archived_at = row["archived_at"]
    return {
        "id": row["id"],
        "type": "environment",
        "name": row["name"],
        "description": row["description"],
        "config": row["config"],
        "metadata": row["metadata"],
        "scope": row["scope"],
        "created_at": to_rfc3339(row["created_at"]),
        "updated_at": to_rfc3339(row["updated_at"]),
        "archived_at": None if archived_at is None else to_rfc3339(archived_at),
    }


@router.post("", response_model=Environment)
async def create_environment(
    params: EnvironmentCreateParams, attempt: AttemptDep, caller: CallerDep, state: StateDep
) -> Response:
    """Create an environment."""
    values = {
        "name": params.name,
        "description": params.description,
        "config": resolve_config(params.config, None) if params.config else environments.DEFAULT_CONFIG,
        "metadata": params.metadata or {},
    }

    def create(db: Connection) -> Done[None]:
        return Done(environment_json(environments.create_environment(db, caller.workspace_id, values)))

    return answer((await answer_once(state, attempt, create))[0])


@router.get("", response_model=EnvironmentPage)
async def list_environments(
    caller: CallerDep,
    state: StateDep,
    page: PageDep,
    include_archived: Annotated[bool, Query(description="Whether archived environments are listed too.")] = False,
) -> Response:
    """List environments, newest first."""
    filters = ("environments", include_archived)
    rows = await state.store.read(
        partial(
            environments.list_environments,
            workspace_id=caller.workspace_id,
            include_archived=include_archived,
            limit=page.limit,
            after=keyset(page, filters),
        )
    )
    data = [environment_json(row) for row in rows[: page.limit]]
    return answer({"data": data, "next_page": next_cursor(rows, page, filters)})


@router.get("/{environment_id}", response_model=Environment)
async def retrieve_environment(environment_id: str, caller: CallerDep, state: StateDep) -> Response:
    """Retrieve an environment."""
    workspace_id = caller.workspace_id
    read = partial(environments.get_environment, workspace_id=workspace_id, environment_id=environment_id)
    return answer(environment_json(await state.store.read(read)))


@router.post("/{environment_id}", response_model=Environment)
async def update_environment(
    environment_id: str, params: EnvironmentUpdateParams, attempt: AttemptDep, caller: CallerDep, state: StateDep
) -> Response:
    """Update an environment."""

    def update(db: Connection) -> Done[None]:
        current = environments.get_environment(db, caller.workspace_id, environment_id, lock=True)
        if current["archived_at"] is not None:
            raise InvalidRequestError(
                f"environment {environment_id!r} is archived and read-only", error_code="environment_archived"
            )
        changed = _changed(current, params)
        if changed:
            current = environments.update_environment(db, caller.workspace_id, environment_id, changed)
        return Done(environment_json(current))

    return answer((await answer_once(state, attempt, update))[0])


def _changed(current: RowMapping, params: EnvironmentUpdateParams) -> dict[str, Any]:
    """Return the columns that an update gives another value."""
    asked: dict[str, Any] = {}
    if params.name is not None:
        asked["name"] = params.name
    if "description" in params.model_fields_set:
        asked["description"] = params.description
    if params.config is not None:
        asked["config"] = resolve_config(params.config, current["config"])
    if params.metadata is not None:
        patch = {key: value or None for key, value in params.metadata.items()}
        asked["metadata"] = merged_metadata(current["metadata"], patch)
    return {column: value for column, value in asked.items() if value != current[column]}


@router.post("/{environment_id}/archive", response_model=Environment)
async def archive_environment(environment_id: str, attempt: AttemptDep, caller: CallerDep, state: StateDep) -> Response:
    """Archive an environment: it becomes read-only, and no new session gets it."""

    def archive(db: Connection) -> Done[None]:
        return Done(environment_json(environments.archive_environment(db, caller.workspace_id, environment_id)))

    return answer((await answer_once(state, attempt, archive))[0])


@router.delete("/{environment_id}", response_model=EnvironmentDeleted)
async def delete_environment(environment_id: str, attempt: AttemptDep, caller: CallerDep, state: StateDep) -> Response:
    """Delete an environment that no session refers to."""

    def delete(db: Connection) -> Done[None]:
        environments.delete_environment(db, caller.workspace_id, environment_id)
        return Done({"id": environment_id, "type": "environment_deleted"})

    return answer((await answer_once(state, attempt, delete))[0])

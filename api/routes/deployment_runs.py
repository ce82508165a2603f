"""Runs of deployments: a record each, of the session that was made or why none was."""

from dataclasses import astuple
from functools import partial
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Query, Response
from sqlalchemy import RowMapping

from api.auth import CallerDep
from api.body import JsonRoute
from api.created_at import CreatedAtDep
from api.deps import StateDep, answer
from api.pages import DEFAULT_LIMIT, PageParams, keyset, next_cursor
from protocol.deployments import DeploymentRun, DeploymentRunPage
from protocol.timestamps import to_rfc3339
from store.repositories import deployments
from store.repositories.deployments import RunFilters

router = APIRouter(prefix="/v1/deployment_runs", tags=["Deployments"], route_class=JsonRoute)

_MAX_LIMIT: Final = 1000


def run_json(row: RowMapping) -> dict[str, Any]:
    """Return a run in the API's shape."""
    trigger: dict[str, Any] = {"type": row["trigger_type"]}
    if row["scheduled_at"] is not None:
        trigger["scheduled_at"] = to_rfc3339(row["scheduled_at"])
    return {
        "id": row["id"],
        "type": "deployment_run",
        "deployment_id": row["deployment_id"],
        "agent": {"type": "agent", "id": row["agent_id"], "version": row["agent_version"]},
        "trigger_context": trigger,
        "session_id": row["session_id"],
        "error": row["error"],
        "created_at": to_rfc3339(row["created_at"]),
    }


async def _filters(
    created: CreatedAtDep,
    deployment_id: str | None = None,
    trigger_type: Annotated[Literal["schedule", "manual"] | None, Query(description="By default both.")] = None,
    has_error: Annotated[bool | None, Query(description="Only runs that made no session, or only those that did.")] = (
        None
    ),
) -> RunFilters:
    return RunFilters(deployment_id, trigger_type, has_error, created)


async def _page(
    limit: Annotated[int, Query(ge=1, le=_MAX_LIMIT, description="Items per page.")] = DEFAULT_LIMIT,
    page: Annotated[str | None, Query(description="`next_page` of the page before.")] = None,
) -> PageParams:
    return PageParams(limit, page or None)


@router.get("", response_model=DeploymentRunPage)
async def list_deployment_runs(
    caller: CallerDep,
    state: StateDep,
    asked: Annotated[RunFilters, Depends(_filters)],
    page: Annotated[PageParams, Depends(_page)],
) -> Response:
    """List runs, newest first."""
    binding = ("deployment_runs", *astuple(asked))
    read = partial(
        deployments.list_runs,
        workspace_id=caller.workspace_id,
        filters=asked,
        limit=page.limit,
        after=keyset(page, binding),
    )
    rows = await state.store.read(read)
    data = [run_json(row) for row in rows[: page.limit]]
    return answer({"data": data, "next_page": next_cursor(rows, page, binding)})


@router.get("/{deployment_run_id}", response_model=DeploymentRun)
async def retrieve_deployment_run(deployment_run_id: str, caller: CallerDep, state: StateDep) -> Response:
    """Retrieve the record of a run."""
    read = partial(deployments.get_run, workspace_id=caller.workspace_id, run_id=deployment_run_id)
    return answer(run_json(await state.store.read(read)))

"""Models: those that the workspace's agents name. What a runtime could run besides, only the runtime knows."""

from functools import partial
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Response

from api.auth import CallerDep
from api.body import JsonRoute
from api.deps import StateDep, answer
from api.id_pages import id_page, one_side
from api.pages import DEFAULT_LIMIT
from protocol.models import Lifecycle, Model, ModelPage
from protocol.timestamps import to_rfc3339
from store.repositories import models

router = APIRouter(prefix="/v1/models", tags=["Models"], route_class=JsonRoute)

_MAX_LIMIT: Final = 1000
_RELEASE_UNKNOWN: Final = to_rfc3339(0)
_Lifecycles = list[Lifecycle]


def model_json(model_id: str) -> dict[str, Any]:
    """Return a model in the API's shape; what nobody here knows is null, or the epoch."""
    return {
        "id": model_id,
        "type": "model",
        "display_name": model_id,
        "created_at": _RELEASE_UNKNOWN,
        "lifecycle": "active",
        "line": None,
        "capabilities": None,
        "allowed_fallback_models": None,
        "max_input_tokens": None,
        "max_tokens": None,
        "deprecated_at": None,
        "retires_at": None,
    }


async def _asks_for_active(
    lifecycle: Annotated[_Lifecycles | None, Query(alias="lifecycle[]", max_length=3)] = None,
    plain: Annotated[_Lifecycles | None, Query(alias="lifecycle", max_length=3, include_in_schema=False)] = None,
) -> bool:
    """Return whether the filter leaves any: every model is `active`."""
    asked = [*(lifecycle or ()), *(plain or ())]
    return not asked or "active" in asked


@router.get("", response_model=ModelPage)
async def list_models(
    caller: CallerDep,
    state: StateDep,
    any_asked: Annotated[bool, Depends(_asks_for_active)],
    limit: Annotated[int, Query(ge=1, le=_MAX_LIMIT, description="Items per page.")] = DEFAULT_LIMIT,
    after_id: Annotated[str | None, Query(description="The page begins after this model.")] = None,
    before_id: Annotated[str | None, Query(description="The page ends before this model.")] = None,
) -> Response:
    """List the models of the workspace's agents, by name."""
    one_side(after_id, before_id)
    if not any_asked:
        return answer(id_page([], more=False))
    found = await state.store.read(
        partial(
            models.list_models,
            workspace_id=caller.workspace_id,
            limit=limit,
            after_id=after_id,
            before_id=before_id,
        )
    )
    shown = found[-limit:] if before_id is not None else found[:limit]
    return answer(id_page([model_json(model_id) for model_id in shown], more=len(found) > limit))


@router.get("/{model_id:path}", response_model=Model)
async def retrieve_model(model_id: str, caller: CallerDep, state: StateDep) -> Response:
    """Retrieve a model that an agent of the workspace names."""
    await state.store.read(partial(models.check_model, workspace_id=caller.workspace_id, model_id=model_id))
    return answer(model_json(model_id))

"""Memory stores: named containers of what agents remember."""

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from sqlalchemy import Connection, RowMapping

from api.auth import CallerDep
from api.body import JsonRoute
from api.created_at import CreatedAtDep
from api.deps import StateDep, answer
from api.pages import PageDep, keyset, next_cursor
from api.resends import AttemptDep, Done, answer_once
from protocol.definition import merged_metadata
from protocol.memory_stores import (
    MemoryStore,
    MemoryStoreCreateParams,
    MemoryStoreDeleted,
    MemoryStorePage,
    MemoryStoreUpdateParams,
)
from protocol.timestamps import to_rfc3339
from store.repositories import memory_stores

router = APIRouter(prefix="/v1/memory_stores", tags=["Memory stores"], route_class=JsonRoute)


def _store_json(row: RowMapping) -> dict[str, Any]:
    archived_at = row["archived_at"]
    return {
        "id": row["id"],
        "type": "memory_store",
        "name": row["name"],
        "description": row["description"],
        "metadata": row["metadata"],
        "created_at": to_rfc3339(row["created_at"]),
        "updated_at": to_rfc3339(row["updated_at"]),
        "archived_at": None if archived_at is None else to_rfc3339(archived_at),
    }


@router.post("", response_model=MemoryStore)
async def create_memory_store(
    params: MemoryStoreCreateParams, attempt: AttemptDep, caller: CallerDep, state: StateDep
) -> Response:
    """Create a memory store."""
    values = {"name": params.name, "description": params.description or "", "metadata": params.metadata or {}}

    def create(db: Connection) -> Done[None]:
        return Done(_store_json(memory_stores.create_memory_store(db, caller.workspace_id, values)))

    return answer((await answer_once(state, attempt, create))[0])


@router.get("", response_model=MemoryStorePage)
async def list_memory_stores(
    caller: CallerDep,
    state: StateDep,
    page: PageDep,
    created_at: CreatedAtDep,
    include_archived: Annotated[bool, Query(description="Whether archived stores are listed too.")] = False,
) -> Response:
    """List memory stores, newest first."""
    filters = ("memory_stores", include_archived, created_at)
    rows = await state.store.read(
        partial(
            memory_stores.list_memory_stores,
            workspace_id=caller.workspace_id,
            include_archived=include_archived,
            created_at=created_at,
            limit=page.limit,
            after=keyset(page, filters),
        )
    )
    data = [_store_json(row) for row in rows[: page.limit]]
    return answer({"data": data, "next_page": next_cursor(rows, page, filters)})


@router.get("/{memory_store_id}", response_model=MemoryStore)
async def retrieve_memory_store(memory_store_id: str, caller: CallerDep, state: StateDep) -> Response:
    """Retrieve a memory store."""
    workspace_id = caller.workspace_id
    read = partial(memory_stores.get_memory_store, workspace_id=workspace_id, memory_store_id=memory_store_id)
    return answer(_store_json(await state.store.read(read)))


@router.post("/{memory_store_id}", response_model=MemoryStore)
async def update_memory_store(
    memory_store_id: str, params: MemoryStoreUpdateParams, attempt: AttemptDep, caller: CallerDep, state: StateDep
) -> Response:
    """Update a memory store."""

    def update(db: Connection) -> Done[None]:
        current = memory_stores.get_writable_store(db, caller.workspace_id, memory_store_id, "exclusive")
        changed = _changed(current, params)
        if changed:
            current = memory_stores.update_memory_store(db, caller.workspace_id, memory_store_id, changed)
        return Done(_store_json(current))

    return answer((await answer_once(state, attempt, update))[0])


def _changed(current: RowMapping, params: MemoryStoreUpdateParams) -> dict[str, Any]:
    """Return the columns that an update gives another value."""
    asked: dict[str, Any] = params.model_dump(include={"name", "description"}, exclude_none=True)
    if params.metadata is not None:
        asked["metadata"] = merged_metadata(current["metadata"], params.metadata)
    return {column: value for column, value in asked.items() if value != current[column]}


@router.post("/{memory_store_id}/archive", response_model=MemoryStore)
async def archive_memory_store(
    memory_store_id: str, attempt: AttemptDep, caller: CallerDep, state: StateDep
) -> Response:
    """Archive a memory store, for good: what it holds can be read, deleted and redacted, and no longer be changed."""

    def archive(db: Connection) -> Done[None]:
        return Done(_store_json(memory_stores.archive_memory_store(db, caller.workspace_id, memory_store_id)))

    return answer((await answer_once(state, attempt, archive))[0])


@router.delete("/{memory_store_id}", response_model=MemoryStoreDeleted)
async def delete_memory_store(
    memory_store_id: str, attempt: AttemptDep, caller: CallerDep, state: StateDep
) -> Response:
    """Delete a memory store with all its memories and versions."""

    def delete(db: Connection) -> Done[None]:
        memory_stores.delete_memory_store(db, caller.workspace_id, memory_store_id)
        return Done({"id": memory_store_id, "type": "memory_store_deleted"})

    return answer((await answer_once(state, attempt, delete))[0])

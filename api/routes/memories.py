"""Memories: text documents at paths in a memory store."""

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from sqlalchemy import Connection, RowMapping

from api.auth import Caller, CallerDep
from api.body import JsonRoute
from api.deps import AppState, StateDep, answer
from api.pages import PageDep, decode_cursor, encode_cursor
from api.resends import AttemptDep, Done, answer_once
from protocol.memory_stores import (
    MAX_FULL_ITEMS,
    Author,
    ContentSha256,
    Depth,
    Memory,
    MemoryCreateParams,
    MemoryDeleted,
    MemoryPage,
    MemoryUpdateParams,
    PathPrefix,
    View,
)
from protocol.timestamps import to_rfc3339
from store.repositories import memories
from store.repositories.memory_stores import get_memory_store

Json = dict[str, Any]
ViewQuery = Annotated[View, Query(description="`full` shows contents, `basic` leaves them null.")]

router = APIRouter(prefix="/v1/memory_stores/{memory_store_id}/memories", tags=["Memories"], route_class=JsonRoute)


def _memory_json(row: RowMapping) -> Json:
    return {
        "id": row["id"],
        "type": "memory",
        "memory_store_id": row["memory_store_id"],
        "memory_version_id": row["version_id"],
        "path": row["path"],
        "content": None,
        "content_sha256": row["content_sha256"],
        "content_size_bytes": row["content_size_bytes"],
        "created_at": to_rfc3339(row["created_at"]),
        "updated_at": to_rfc3339(row["updated_at"]),
    }


def _author(caller: Caller) -> Author:
    return Author("api_actor", caller.api_key_id)


def _with_contents(db: Connection, shown: list[Json]) -> list[Json]:
    """Return items of a list with the contents of those that are memories."""
    contents = memories.contents_of(db, [item["memory_version_id"] for item in shown if item["type"] == "memory"])
    return [
        {**item, "content": contents.get(item["memory_version_id"])} if item["type"] == "memory" else item
        for item in shown
    ]


def _done(row: RowMapping) -> Done[None]:
    """Return what is kept for resends: without content, and erased with the version it tells of."""
    return Done(_memory_json(row), session_id=row["version_id"])


async def _answer_changed(state: AppState, body: Json, view: View) -> Response:
    """Answer with a memory just written, whose content is read again, as no kept answer holds it."""
    if view == "full":
        (body,) = await state.store.read(partial(_with_contents, shown=[body]))
    return answer(body)


@router.post("", response_model=Memory)
async def create_memory(
    memory_store_id: str,
    params: MemoryCreateParams,
    attempt: AttemptDep,
    caller: CallerDep,
    state: StateDep,
    view: ViewQuery = "basic",
) -> Response:
    """Create a memory at a path that is free."""

    def create(db: Connection) -> Done[None]:
        row = memories.create_memory(
            db,
            caller.workspace_id,
            memory_store_id,
            path=params.path,
            content=params.content or "",
            author=_author(caller),
        )
        return _done(row)

    body, _ = await answer_once(state, attempt, create)
    return await _answer_changed(state, body, view)


@router.get("", response_model=MemoryPage)
async def list_memories(
    memory_store_id: str,
    caller: CallerDep,
    state: StateDep,
    page: PageDep,
    path_prefix: Annotated[PathPrefix, Query(description="Only memories below this folder.")] = "/",
    depth: Annotated[Depth, Query(description="Levels to show; deeper ones become folders. 0: all levels.")] = 0,
    view: ViewQuery = "basic",
) -> Response:
    """List memories by path; a page that shows contents holds 20 items at most."""
    filters = ("memories", memory_store_id, path_prefix, depth, view)
    limit = min(page.limit, MAX_FULL_ITEMS) if view == "full" else page.limit
    after: str | None = decode_cursor(page.page, filters, (str,))[0] if page.page else None

    def read(db: Connection) -> Json:
        get_memory_store(db, caller.workspace_id, memory_store_id)
        items = memories.list_memories(db, memory_store_id, prefix=path_prefix, depth=depth, limit=limit, after=after)
        shown = [_item_json(item) for item in items[:limit]]
        more = len(items) > limit
        return {
            "data": _with_contents(db, shown) if view == "full" else shown,
            "next_page": encode_cursor(filters, (shown[-1]["path"],)) if more else None,
        }

    return answer(await state.store.read(read))


def _item_json(item: RowMapping | str) -> Json:
    return {"type": "memory_prefix", "path": item} if isinstance(item, str) else _memory_json(item)


@router.get("/{memory_id}", response_model=Memory)
async def retrieve_memory(
    memory_store_id: str, memory_id: str, caller: CallerDep, state: StateDep, view: ViewQuery = "full"
) -> Response:
    """Retrieve a memory."""

    def read(db: Connection) -> Json:
        shown = _memory_json(memories.get_memory(db, caller.workspace_id, memory_store_id, memory_id))
        return _with_contents(db, [shown])[0] if view == "full" else shown

    return answer(await state.store.read(read))


@router.post("/{memory_id}", response_model=Memory)
async def update_memory(
    memory_store_id: str,
    memory_id: str,
    params: MemoryUpdateParams,
    attempt: AttemptDep,
    caller: CallerDep,
    state: StateDep,
    view: ViewQuery = "basic",
) -> Response:
    """Update a memory's content or path, on the condition that its content is still the one that is named."""

    def update(db: Connection) -> Done[None]:
        row = memories.update_memory(db, caller.workspace_id, memory_store_id, memory_id, params, _author(caller))
        return _done(row)

    body, _ = await answer_once(state, attempt, update)
    return await _answer_changed(state, body, view)


@router.delete("/{memory_id}", response_model=MemoryDeleted)
async def delete_memory(
    memory_store_id: str,
    memory_id: str,
    attempt: AttemptDep,
    caller: CallerDep,
    state: StateDep,
    expected_content_sha256: Annotated[
        ContentSha256 | None, Query(description="Deletes the memory only if its content is this one.")
    ] = None,
) -> Response:
    """Delete a memory; its versions stay."""

    def delete(db: Connection) -> Done[None]:
        memories.delete_memory(
            db,
            caller.workspace_id,
            memory_store_id,
            memory_id,
            expected_content_sha256=expected_content_sha256,
            author=_author(caller),
        )
        return Done({"id": memory_id, "type": "memory_deleted"})

    return answer((await answer_once(state, attempt, delete))[0])

"""Versions of memories: who changed what and when, and redaction."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from sqlalchemy import Connection, RowMapping

from api.auth import CallerDep
from api.body import JsonRoute
from api.created_at import CreatedAtDep
from api.deps import StateDep, answer
from api.pages import PageDep, PageParams, keyset, next_cursor
from api.resends import AttemptDep, Done, answer_once
from api.routes.memories import ViewQuery
from protocol.memory_stores import MAX_FULL_ITEMS, MemoryVersion, MemoryVersionPage, Operation, author_json
from protocol.timestamps import to_rfc3339
from store.repositories import memory_versions
from store.repositories.memories import contents_of
from store.repositories.memory_stores import get_memory_store
from store.repositories.memory_versions import VersionFilters

Json = dict[str, Any]

router = APIRouter(
    prefix="/v1/memory_stores/{memory_store_id}/memory_versions", tags=["Memory versions"], route_class=JsonRoute
)


def _version_json(row: RowMapping) -> Json:
    redacted_at, redacted_by = row["redacted_at"], row["redacted_by"]
    fields = ("id", "memory_store_id", "memory_id", "operation", "path", "content_sha256", "content_size_bytes")
    return {
        "type": "memory_version",
        **{name: row[name] for name in fields},
        "content": None,
        "created_at": to_rfc3339(row["created_at"]),
        "created_by": author_json(row["author_type"], row["author_id"]),
        "redacted_at": None if redacted_at is None else to_rfc3339(redacted_at),
        "redacted_by": None if redacted_by is None else author_json("api_actor", redacted_by),
    }


def _with_contents(db: Connection, shown: list[Json]) -> list[Json]:
    contents = contents_of(db, [version["id"] for version in shown])
    return [{**version, "content": contents[version["id"]]} for version in shown]


@router.get("", response_model=MemoryVersionPage)
async def list_memory_versions(
    memory_store_id: str,
    caller: CallerDep,
    state: StateDep,
    page: PageDep,
    created_at: CreatedAtDep,
    memory_id: Annotated[str | None, Query(description="Of this memory, deleted or not.")] = None,
    operation: Annotated[Operation | None, Query(description="That record this kind of change.")] = None,
    api_key_id: Annotated[str | None, Query(description="Written with this API key.")] = None,
    session_id: Annotated[str | None, Query(description="Written by this session.")] = None,
    service_account_id: Annotated[str | None, Query(description="No version has one: the list is empty.")] = None,
    view: ViewQuery = "basic",
) -> Response:
    """List versions, newest first; a page that shows contents holds 20 at most."""
    limit = min(page.limit, MAX_FULL_ITEMS) if view == "full" else page.limit
    asked = PageParams(limit, page.page)
    filters = VersionFilters(memory_id, operation, api_key_id, session_id, created_at)
    binding = ("memory_versions", memory_store_id, filters, service_account_id, view)
    after = keyset(asked, binding)

    def read(db: Connection) -> Json:
        get_memory_store(db, caller.workspace_id, memory_store_id)
        if service_account_id is not None:
            return {"data": [], "next_page": None}
        rows = memory_versions.list_memory_versions(db, memory_store_id, filters, limit=limit, after=after)
        shown = [_version_json(row) for row in rows[:limit]]
        return {
            "data": _with_contents(db, shown) if view == "full" else shown,
            "next_page": next_cursor(rows, asked, binding),
        }

    return answer(await state.store.read(read))


@router.get("/{memory_version_id}", response_model=MemoryVersion)
async def retrieve_memory_version(
    memory_store_id: str, memory_version_id: str, caller: CallerDep, state: StateDep, view: ViewQuery = "full"
) -> Response:
    """Retrieve a version; one that was redacted has neither path nor content."""

    def read(db: Connection) -> Json:
        row = memory_versions.get_memory_version(db, caller.workspace_id, memory_store_id, memory_version_id)
        shown = _version_json(row)
        return _with_contents(db, [shown])[0] if view == "full" else shown

    return answer(await state.store.read(read))


@router.post("/{memory_version_id}/redact", response_model=MemoryVersion)
async def redact_memory_version(
    memory_store_id: str, memory_version_id: str, attempt: AttemptDep, caller: CallerDep, state: StateDep
) -> Response:
    """Erase the path and content of a version that no memory holds any more, for good; its record stays."""

    def redact(db: Connection) -> Done[None]:
        row = memory_versions.redact_memory_version(
            db, caller.workspace_id, memory_store_id, memory_version_id, api_key_id=caller.api_key_id
        )
        return Done(_version_json(row))

    return answer((await answer_once(state, attempt, redact))[0])

"""Files: bytes with a name, uploaded once and mounted into sessions."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse
from sqlalchemy import Connection, RowMapping

from api.auth import CallerDep
from api.betas import OldFilesDep
from api.body import JsonRoute
from api.deps import StateDep, answer
from api.pages import DEFAULT_LIMIT, PageParams, keyset, next_cursor
from api.resends import AttemptDep, Done, UploadAttemptDep, answer_once
from api.uploads import form_of, store_upload
from protocol.errors import InvalidRequestError, NotFoundError, RequestTooLargeError
from protocol.files import (
    MAX_IDS,
    MAX_LISTED,
    DeletedFile,
    FileMetadata,
    FilePage,
    file_name,
    file_type,
    life_time_us,
)
from protocol.timestamps import to_rfc3339
from store.blobs import Stored
from store.repositories import files

Json = dict[str, Any]

router = APIRouter(prefix="/v1/files", tags=["Files"], route_class=JsonRoute)

_UPLOAD_FORM: Json = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "expires_in_seconds": {"type": "integer", "minimum": 3600, "maximum": 7776000},
                    },
                }
            }
        },
    }
}


def file_json(row: RowMapping) -> Json:
    """Return a file's metadata in the API's shape."""
    return {
        "id": row["id"],
        "type": "file",
        "filename": row["filename"],
        "mime_type": row["mime_type"],
        "size_bytes": row["size_bytes"],
        "downloadable": row["downloadable"],
        "scope": {"type": "session", "id": row["scope_id"]} if row["scope_id"] else None,
        "created_at": to_rfc3339(row["created_at"]),
        "expires_at": None if row["expires_at"] is None else to_rfc3339(row["expires_at"]),
    }


@router.post("", response_model=FileMetadata, openapi_extra=_UPLOAD_FORM)
async def upload_file(request: Request, attempt: UploadAttemptDep, state: StateDep, caller: CallerDep) -> Response:
    """Upload a file: a form with the part `file`, and `expires_in_seconds` if it is to go by itself."""
    async with form_of(request, max_files=2) as form:
        sent = form.files("file")
        lifetime_us = life_time_us(form.text("expires_in_seconds"))
        form.finish()
        if len(sent) > 1:
            raise InvalidRequestError("`file`: one file at a time")
        size, limit = sent[0].size or 0, state.settings.max_file_bytes
        if size > limit:
            raise RequestTooLargeError(f"`file` may have {limit} bytes at most", error_code="request_too_large")
        mime_type = file_type(sent[0].content_type, sent[0].filename or "")
        values: Json = {"filename": file_name(sent[0].filename or "", mime_type), "mime_type": mime_type}

        def make(db: Connection, blob_id: str, stored: Stored) -> Json:
            return file_json(
                files.create_file(db, caller.workspace_id, blob_id, stored, values, lifetime_us=lifetime_us)
            )

        content = [*values.values(), lifetime_us]
        return answer(await store_upload(state, attempt, sent[0].file, content, make))


async def _file_ids(
    ids: Annotated[
        list[str] | None, Query(alias="ids[]", description="Only these; without `page` and `limit`.")
    ] = None,
    plain: Annotated[list[str] | None, Query(alias="ids", include_in_schema=False)] = None,
) -> Sequence[str]:
    found = list(dict.fromkeys([*(ids or ()), *(plain or ())]))
    if len(found) > MAX_IDS:
        raise InvalidRequestError(f"`ids`: {len(found)} ids, {MAX_IDS} are allowed")
    return found


@router.get("", response_model=FilePage)
async def list_files(
    caller: CallerDep,
    state: StateDep,
    old: OldFilesDep,
    ids: Annotated[Sequence[str], Depends(_file_ids)],
    limit: Annotated[int | None, Query(ge=1, le=MAX_LISTED, description="Files per page; 20 if left out.")] = None,
    page: Annotated[str | None, Query(description="`next_page` of the page before.")] = None,
    scope_id: Annotated[str | None, Query(description="Only files made in this session.")] = None,
    after_id: Annotated[str | None, Query(description="Only with the header of the older files API.")] = None,
    before_id: Annotated[str | None, Query(description="As `after_id`.")] = None,
) -> Response:
    """List files, newest first."""
    if not old and (after_id or before_id):
        raise InvalidRequestError("`after_id` and `before_id` belong to an older API: send `page`")
    if ids:
        if page or limit is not None:
            raise InvalidRequestError("`ids` cannot be combined with `page` or `limit`: leave those out")
        found = await state.store.read(partial(files.find_files, workspace_id=caller.workspace_id, file_ids=ids))
        return answer(_page([row for row in found if scope_id in (None, row["scope_id"])], old, None, more=False))
    listed = partial(files.list_files, workspace_id=caller.workspace_id, scope_id=scope_id)
    if old and (after_id or before_id):
        read = partial(_read_around, caller.workspace_id, scope_id, limit or DEFAULT_LIMIT, after_id, before_id)
        rows, more = await state.store.read(read)
        return answer(_page(rows, old, None, more=more))
    asked = PageParams(limit or DEFAULT_LIMIT, page or None)
    filters = ("files", scope_id)
    rows = await state.store.read(partial(listed, limit=asked.limit, after=keyset(asked, filters)))
    more = len(rows) > asked.limit
    return answer(_page(rows[: asked.limit], old, next_cursor(rows, asked, filters), more=more))


def _read_around(
    workspace_id: str, scope_id: str | None, limit: int, after_id: str | None, before_id: str | None, db: Connection
) -> tuple[Sequence[RowMapping], bool]:
    """Return the page after one file or before another, newest first, and whether there are more that way."""
    if after_id and before_id:
        raise InvalidRequestError("send `after_id` or `before_id`, not both")
    file = files.get_file(db, workspace_id, after_id or before_id or "")
    position = (file["created_at"], file["id"])
    if after_id:
        rows = files.list_files(db, workspace_id, scope_id=scope_id, limit=limit, after=position)
        return rows[:limit], len(rows) > limit
    rows = files.list_files_before(db, workspace_id, scope_id=scope_id, limit=limit, before=position)
    return rows[:limit][::-1], len(rows) > limit


def _page(rows: Sequence[RowMapping], old: bool, next_page: str | None, *, more: bool) -> Json:
    data = [file_json(row) for row in rows]
    if not old:
        return {"data": data, "next_page": next_page}
    ends = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    return {"data": data, "has_more": more, "first_id": ends[0], "last_id": ends[1]}


@router.get("/{file_id}", response_model=FileMetadata)
async def retrieve_file(file_id: str, caller: CallerDep, state: StateDep) -> Response:
    """Retrieve what is known of a file."""
    read = partial(files.get_file, workspace_id=caller.workspace_id, file_id=file_id)
    return answer(file_json(await state.store.read(read)))


_BYTES: dict[int | str, Json] = {200: {"description": "The file's bytes", "content": {"application/octet-stream": {}}}}


@router.get("/{file_id}/content", response_class=StreamingResponse, responses=_BYTES)
async def download_file(file_id: str, caller: CallerDep, state: StateDep) -> Response:
    """Download a file that a session has made; files that were uploaded cannot be downloaded."""
    file = await state.store.read(partial(files.get_file, workspace_id=caller.workspace_id, file_id=file_id))
    if files.has_expired(file) or file["blob_id"] is None:
        raise NotFoundError(f"file {file_id!r} has expired, and its content is gone", error_code="file_expired")
    if not file["downloadable"]:
        raise InvalidRequestError(
            f"file {file_id!r} was uploaded: only files that a session has made can be downloaded",
            error_code="file_not_downloadable",
        )
    headers = {
        "content-length": str(file["size_bytes"]),
        "content-disposition": f"attachment; filename*=UTF-8''{quote(file['filename'], safe='')}",
        "x-content-type-options": "nosniff",
        "etag": f'"{file["sha256"]}"',
    }
    return StreamingResponse(state.blobs.open(file["blob_id"]), media_type=file["mime_type"], headers=headers)


@router.delete("/{file_id}", response_model=DeletedFile)
async def delete_file(file_id: str, attempt: AttemptDep, caller: CallerDep, state: StateDep) -> Response:
    """Delete a file; sessions into which it was mounted keep it."""

    def delete(db: Connection) -> Done[None]:
        files.delete_file(db, caller.workspace_id, file_id)
        return Done({"id": file_id, "type": "file_deleted"})

    return answer((await answer_once(state, attempt, delete))[0])

"""Skills: folders with a SKILL.md that agents are given, in versions."""

import asyncio
import io
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse
from sqlalchemy import Connection, RowMapping

from api.auth import CallerDep
from api.betas import OldSkillsDep
from api.body import JsonRoute
from api.deps import AppState, StateDep, answer
from api.pages import DEFAULT_LIMIT, PageParams, decode_cursor, encode_cursor, keyset, next_cursor
from api.resends import AttemptDep, Done, UploadAttemptDep, answer_once
from api.uploads import Form, form_of, store_upload
from protocol.errors import InvalidRequestError
from protocol.skill_archive import MAX_ENTRIES, Entry, SkillArchive, read_skill
from protocol.skills import (
    MAX_DISPLAY_NAME,
    MAX_LISTED,
    SOURCES,
    DeletedSkill,
    DeletedSkillVersion,
    Skill,
    SkillPage,
    SkillVersion,
    SkillVersionPage,
)
from protocol.timestamps import to_rfc3339
from store.blobs import Stored
from store.repositories import skills
from store.repositories.skills import NewVersion
from store.resends import Attempt

Json = dict[str, Any]

router = APIRouter(prefix="/v1/skills", tags=["Skills"], route_class=JsonRoute)


def _form(**more: Json) -> Json:
    files = {"type": "array", "items": {"type": "string", "format": "binary"}, "minItems": 1, "maxItems": MAX_ENTRIES}
    schema = {"type": "object", "required": ["files[]"], "properties": {"files[]": files, **more}}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


def skill_json(row: RowMapping, *, old: bool) -> Json:
    """Return a skill in the API's shape, or in the one before it."""
    shown = {
        "id": row["id"],
        "type": "skill",
        "created_at": to_rfc3339(row["created_at"]),
        "updated_at": to_rfc3339(row["updated_at"]),
    }
    if old:
        latest = str(row["latest_version_at"])
        return {**shown, "display_title": row["display_name"], "latest_version": latest, "source": "custom"}
    names = {"display_name": row["display_name"], "latest_version_id": row["latest_version_id"]}
    return {**shown, **names, "source": {"type": "custom"}}


def version_json(row: Mapping[str, Any] | RowMapping, *, old: bool) -> Json:
    """Return a version of a skill in the API's shape, or in the one before it."""
    shown = {
        "id": row["id"],
        "type": "skill_version",
        "skill_id": row["skill_id"],
        "name": row["name"],
        "description": row["description"],
        "created_at": to_rfc3339(row["created_at"]),
    }
    return {**shown, "directory": row["name"], "version": str(row["created_at"])} if old else shown


async def _read_upload(form: Form, max_bytes: int) -> SkillArchive:
    sent = form.files("files[]", "files")
    form.finish()
    if len(sent) > MAX_ENTRIES:
        raise InvalidRequestError(f"`files[]`: a skill may hold {MAX_ENTRIES} files")
    entries = [Entry(part.filename or "", part.file) for part in sent]
    return await asyncio.to_thread(read_skill, entries, max_bytes)


def _display_name(form: Form) -> str | None:
    given = form.text("display_name")
    older = form.text("display_title")
    name = (given if given is not None else older or "").strip()
    if len(name) > MAX_DISPLAY_NAME:
        raise InvalidRequestError(f"`display_name`: may have {MAX_DISPLAY_NAME} characters at most")
    return name or None


async def _store(
    state: AppState,
    attempt: Attempt,
    archive: SkillArchive,
    content: str | None,
    make: Callable[[Connection, NewVersion], Json],
) -> Response:
    def make_version(db: Connection, blob_id: str, stored: Stored) -> Json:
        return make(db, NewVersion(archive.name, archive.description, blob_id, stored))

    return answer(await store_upload(state, attempt, io.BytesIO(archive.data), [content], make_version))


@router.post("", response_model=Skill, openapi_extra=_form(display_name={"type": "string", "maxLength": 255}))
async def create_skill(
    request: Request, attempt: UploadAttemptDep, state: StateDep, caller: CallerDep, old: OldSkillsDep
) -> Response:
    """Create a skill of the files of one folder with a SKILL.md, or of a zip archive of it."""
    async with form_of(request, max_files=MAX_ENTRIES + 1) as form:
        display_name = _display_name(form)
        archive = await _read_upload(form, state.settings.max_skill_bytes)

    def create(db: Connection, version: NewVersion) -> Json:
        row = skills.create_skill(db, caller.workspace_id, display_name or archive.name, version)
        return skill_json(row, old=old)

    return await _store(state, attempt, archive, display_name, create)


async def page_params(
    limit: Annotated[int, Query(ge=1, le=MAX_LISTED, description="Items per page.")] = DEFAULT_LIMIT,
    page: Annotated[str | None, Query(description="`next_page` of the page before.")] = None,
) -> PageParams:
    """Read `limit` and `page`."""
    return PageParams(limit, page or None)


LongPageDep = Annotated[PageParams, Depends(page_params)]


@router.get("", response_model=SkillPage)
async def list_skills(
    caller: CallerDep,
    state: StateDep,
    page: LongPageDep,
    old: OldSkillsDep,
    source: Annotated[str | None, Query(description="`custom`, which all are here: others find nothing.")] = None,
) -> Response:
    """List skills, newest first."""
    if source and source not in SOURCES:
        raise InvalidRequestError(f"`source`: must be one of {', '.join(SOURCES)}")
    filters = ("skills", source)
    after = keyset(page, filters)
    if source not in (None, "", "custom"):
        return answer(_page([], None, old))
    listed = partial(skills.list_skills, workspace_id=caller.workspace_id, limit=page.limit, after=after)
    rows = await state.store.read(listed)
    data = [skill_json(row, old=old) for row in rows[: page.limit]]
    return answer(_page(data, next_cursor(rows, page, filters), old))


def _page(data: list[Json], next_page: str | None, old: bool) -> Json:
    shown: Json = {"data": data, "next_page": next_page}
    return {**shown, "has_more": next_page is not None} if old else shown


@router.get("/{skill_id}", response_model=Skill)
async def retrieve_skill(skill_id: str, caller: CallerDep, state: StateDep, old: OldSkillsDep) -> Response:
    """Retrieve a skill."""
    read = partial(skills.get_skill, workspace_id=caller.workspace_id, skill_id=skill_id)
    return answer(skill_json(await state.store.read(read), old=old))


@router.delete("/{skill_id}", response_model=DeletedSkill)
async def delete_skill(skill_id: str, attempt: AttemptDep, caller: CallerDep, state: StateDep) -> Response:
    """Delete a skill with all its versions; sessions that use it keep it."""

    def delete(db: Connection) -> Done[None]:
        skills.delete_skill(db, caller.workspace_id, skill_id)
        return Done({"id": skill_id, "type": "skill_deleted"})

    return answer((await answer_once(state, attempt, delete))[0])


@router.post("/{skill_id}/versions", response_model=SkillVersion, openapi_extra=_form())
async def create_skill_version(
    skill_id: str, request: Request, attempt: UploadAttemptDep, state: StateDep, caller: CallerDep, old: OldSkillsDep
) -> Response:
    """Add a version to a skill, under the same name; it becomes the latest."""
    await state.store.read(partial(skills.get_skill, workspace_id=caller.workspace_id, skill_id=skill_id))
    async with form_of(request, max_files=MAX_ENTRIES + 1) as form:
        archive = await _read_upload(form, state.settings.max_skill_bytes)

    def add(db: Connection, version: NewVersion) -> Json:
        return version_json(skills.add_version(db, caller.workspace_id, skill_id, version), old=old)

    return await _store(state, attempt, archive, None, add)


@router.get("/{skill_id}/versions", response_model=SkillVersionPage)
async def list_skill_versions(
    skill_id: str, caller: CallerDep, state: StateDep, page: LongPageDep, old: OldSkillsDep
) -> Response:
    """List the versions of a skill, newest first."""
    filters = ("skill_versions", skill_id)
    before = decode_cursor(page.page, filters, (int,))[0] if page.page else None
    read = partial(skills.list_versions, workspace_id=caller.workspace_id, skill_id=skill_id)
    rows = await state.store.read(partial(read, limit=page.limit, before=before))
    more = len(rows) > page.limit
    cursor = encode_cursor(filters, (rows[page.limit - 1]["created_at"],)) if more else None
    return answer(_page([version_json(row, old=old) for row in rows[: page.limit]], cursor, old))


async def _version(state: AppState, workspace_id: str, skill_id: str, version: str) -> RowMapping:
    read = partial(skills.get_version, workspace_id=workspace_id, skill_id=skill_id, version=version)
    return await state.store.read(read)


@router.get("/{skill_id}/versions/{version}", response_model=SkillVersion)
async def retrieve_skill_version(
    skill_id: str, version: str, caller: CallerDep, state: StateDep, old: OldSkillsDep
) -> Response:
    """Retrieve a version of a skill, by its id."""
    return answer(version_json(await _version(state, caller.workspace_id, skill_id, version), old=old))


_ZIP: dict[int | str, Json] = {200: {"description": "The version as a zip archive", "content": {"application/zip": {}}}}


@router.get("/{skill_id}/versions/{version}/content", response_class=StreamingResponse, responses=_ZIP)
async def download_skill_version(skill_id: str, version: str, caller: CallerDep, state: StateDep) -> Response:
    """Download a version of a skill, as a zip archive with one top folder."""
    found = await _version(state, caller.workspace_id, skill_id, version)
    headers = {
        "content-length": str(found["size_bytes"]),
        "content-disposition": f'attachment; filename="{found["name"]}.zip"',
        "x-content-type-options": "nosniff",
        "etag": f'"{found["sha256"]}"',
    }
    return StreamingResponse(state.blobs.open(found["blob_id"]), media_type="application/zip", headers=headers)


@router.delete("/{skill_id}/versions/{version}", response_model=DeletedSkillVersion)
async def delete_skill_version(
    skill_id: str, version: str, attempt: AttemptDep, caller: CallerDep, state: StateDep, old: OldSkillsDep
) -> Response:
    """Delete a version of a skill that has others; sessions that use it keep it."""

    def delete(db: Connection) -> Done[None]:
        found = skills.delete_version(db, caller.workspace_id, skill_id, version)
        told = str(found["created_at"]) if old else str(found["id"])
        return Done({"id": told, "type": "skill_version_deleted"})

    return answer((await answer_once(state, attempt, delete))[0])

"""What is mounted into sessions, in the database. Skills of a session's agent stand here too, unseen by clients."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, RowMapping

from protocol.errors import InvalidRequestError, NotFoundError
from protocol.ids import new_id
from protocol.session_resources import MAX_RESOURCES
from store.clock import now_us
from store.repositories.blobs import claim_blob, release_blob
from store.repositories.files import get_file, has_expired
from store.repositories.skills import get_version
from store.tables import session_resources

Json = dict[str, Any]

_SKILL = "skill"
_rows = session_resources.c
_SEEN = sa.select(session_resources).where(_rows.removed_at.is_(None), _rows.type != _SKILL)
_PENDING = sa.select(session_resources).where(_rows.session_id == sa.bindparam("session"), _rows.pending)
_MOUNTED = (
    sa.select(_rows.mount_path)
    .where(_rows.session_id == sa.bindparam("session"), _rows.removed_at.is_(None), _rows.type != _SKILL)
    .order_by(_rows.created_at, _rows.id)
)


def new_resource_id() -> str:
    """Return the id of a resource that is about to be added: its token is sealed for it."""
    return new_id("sesrsc")


@dataclass(frozen=True, slots=True)
class NewResource:
    """A resource to add; `token` is sealed."""

    id: str
    type: str
    mount_path: str
    detail: Json
    token: bytes | None = None


def add_resources(db: Connection, workspace_id: str, session_id: str, added: Sequence[NewResource]) -> None:
    """Add resources to a session whose row is locked or new.

    Raises:
        NotFoundError: no such file in the workspace, or it has expired.
        InvalidRequestError: a path is taken, or there would be too many.
    """
    mounted = mount_paths(db, session_id)
    if len(mounted) + len(added) > MAX_RESOURCES:
        raise InvalidRequestError(f"`resources`: a session may have {MAX_RESOURCES}")
    now = db.execute(sa.select(now_us())).scalar_one()
    for place, resource in enumerate(added):
        _check_free(resource.mount_path, mounted)
        mounted.append(resource.mount_path)
        detail, blob_id = resource.detail, None
        if resource.type == "file":
            detail, blob_id = _claimed_file(db, workspace_id, resource.detail["file_id"])
        _insert(db, session_id, resource, detail, blob_id, now + place)


def _check_free(path: str, mounted: Sequence[str]) -> None:
    for other in mounted:
        if path == other or path.startswith(f"{other}/") or other.startswith(f"{path}/"):
            raise InvalidRequestError(f"`mount_path`: {path!r} meets {other!r}, where something is mounted already")


def _claimed_file(db: Connection, workspace_id: str, file_id: str) -> tuple[Json, str]:
    file = get_file(db, workspace_id, file_id, lock=True)
    if has_expired(file) or file["blob_id"] is None:
        raise NotFoundError(f"file {file_id!r} has expired, and its content is gone", error_code="file_expired")
    claim_blob(db, file["blob_id"])
    return {"file_id": file_id}, file["blob_id"]


def _insert(db: Connection, session_id: str, resource: NewResource, detail: Json, blob_id: str | None, at: int) -> None:
    db.execute(
        sa.insert(session_resources).values(
            id=resource.id,
            session_id=session_id,
            type=resource.type,
            mount_path=resource.mount_path,
            detail=detail,
            blob_id=blob_id,
            token=resource.token,
            pending=True,
            created_at=at,
            updated_at=at,
        )
    )


def check_skills(db: Connection, workspace_id: str, skills: Sequence[Json]) -> list[Json]:
    """Return an agent's skills, each with the id of its version instead of `latest`.

    Raises:
        NotFoundError: no such skill in the workspace, or no such version of it.
        InvalidRequestError: two have one name.
    """
    found = [get_version(db, workspace_id, skill["skill_id"], skill["version"]) for skill in skills]
    names = [version["name"] for version in found]
    if len(set(names)) < len(names):
        raise InvalidRequestError("`skills`: two of them have one name, and would lie in one folder")
    return [{**skill, "version": version["id"]} for skill, version in zip(skills, found, strict=True)]


def add_skills(db: Connection, workspace_id: str, session_id: str, skills: Sequence[Json]) -> None:
    """Keep the versions of skills for a session, to be given to its runtime."""
    now = db.execute(sa.select(now_us())).scalar_one()
    for skill in skills:
        version = get_version(db, workspace_id, skill["skill_id"], skill["version"])
        claim_blob(db, version["blob_id"])
        detail = {"name": version["name"], "version_id": version["id"]}
        kept = NewResource(new_resource_id(), _SKILL, f"skill:{version['name']}", detail)
        _insert(db, session_id, kept, detail, version["blob_id"], now)


def list_resources(
    db: Connection, session_id: str, *, limit: int | None = None, after: tuple[int, str] | None = None
) -> Sequence[RowMapping]:
    """Return a session's resources, oldest first, and one more than the limit if there are more."""
    statement = _SEEN.where(_rows.session_id == session_id)
    if after is not None:
        position = sa.tuple_(sa.literal(after[0], sa.BigInteger()), sa.literal(after[1]))
        statement = statement.where(sa.tuple_(_rows.created_at, _rows.id) > position)
    ordered = statement.order_by(_rows.created_at, _rows.id)
    return db.execute(ordered if limit is None else ordered.limit(limit + 1)).mappings().all()


def resources_of(db: Connection, session_ids: Sequence[str]) -> Mapping[str, list[RowMapping]]:
    """Return the resources of several sessions, by session, oldest first."""
    found: dict[str, list[RowMapping]] = {session_id: [] for session_id in session_ids}
    rows = db.execute(_SEEN.where(_rows.session_id.in_(session_ids))).mappings().all() if session_ids else []
    for row in sorted(rows, key=lambda row: (row["created_at"], row["id"])):
        found[row["session_id"]].append(row)
    return found


def get_resource(db: Connection, session_id: str, resource_id: str) -> RowMapping:
    """Return a resource.

    Raises:
        NotFoundError: the session has no such resource.
    """
    row = db.execute(_SEEN.where(_rows.session_id == session_id, _rows.id == resource_id)).mappings().first()
    if row is None:
        raise NotFoundError(f"no resource {resource_id!r} in session {session_id!r}")
    return row


def set_token(db: Connection, session_id: str, resource_id: str, token: bytes) -> RowMapping:
    """Replace the sealed token of a repository.

    Raises:
        NotFoundError: the session has no such resource.
        InvalidRequestError: it is no repository.
    """
    if get_resource(db, session_id, resource_id)["type"] != "github_repository":
        raise InvalidRequestError("`authorization_token`: only resources of type `github_repository` have one")
    db.execute(sa.update(session_resources).where(_rows.id == resource_id).values(token=token, updated_at=now_us()))
    return get_resource(db, session_id, resource_id)


def remove_resource(db: Connection, session_id: str, resource_id: str) -> None:
    """Remove a resource; the runtime is told before the next turn.

    Raises:
        NotFoundError: the session has no such resource.
    """
    row = get_resource(db, session_id, resource_id)
    gone = {"removed_at": now_us(), "updated_at": now_us(), "pending": True, "blob_id": None, "token": None}
    db.execute(sa.update(session_resources).where(_rows.id == resource_id).values(gone))
    release_blob(db, row["blob_id"])


def pending_resources(db: Connection, session_id: str) -> Sequence[RowMapping]:
    """Return what the runtime has yet to be told: removals first, then additions in their order."""
    rows = db.execute(_PENDING, {"session": session_id}).mappings().all()
    return sorted(rows, key=lambda row: (row["removed_at"] is None, row["created_at"], row["id"]))


def mount_paths(db: Connection, session_id: str) -> list[str]:
    """Return where a session's resources are mounted."""
    return list(db.execute(_MOUNTED, {"session": session_id}).scalars())


def mark_laid(db: Connection, rows: Sequence[RowMapping]) -> None:
    """Note that the runtime was told of resources as they were read; what changed since stays pending."""
    for row in rows:
        as_read = sa.and_(_rows.id == row["id"], _rows.updated_at == row["updated_at"])
        db.execute(sa.update(session_resources).where(as_read).values(pending=False))


def erase_resources(db: Connection, session_id: str) -> None:
    """Erase all resources of a session."""
    of_session = _rows.session_id == session_id
    for blob_id in db.execute(sa.select(_rows.blob_id).where(of_session)).scalars().all():
        release_blob(db, blob_id)
    db.execute(sa.delete(session_resources).where(of_session))

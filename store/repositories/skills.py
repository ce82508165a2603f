"""Skills and their versions, in the database."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, RowMapping

from protocol.errors import InvalidRequestError, NotFoundError
from protocol.ids import new_id
from store.blobs import Stored
from store.clock import now_us
from store.repositories.blobs import claim_blob, release_blob
from store.repositories.keyset import Position, newest_first
from store.tables import skill_versions, skills

Json = dict[str, Any]

_LATEST = "latest"
_SHOWN = (
    *(column for column in skills.c),
    skill_versions.c.created_at.label("latest_version_at"),
)
_VISIBLE = (
    sa.select(*_SHOWN)
    .join_from(skills, skill_versions, skill_versions.c.id == skills.c.latest_version_id)
    .where(skills.c.deleted_at.is_(None))
)
_VERSIONS = (
    sa.select(*skill_versions.c, skills.c.name)
    .join_from(skill_versions, skills, skills.c.id == skill_versions.c.skill_id)
    .where(skills.c.deleted_at.is_(None), skill_versions.c.deleted_at.is_(None))
)


@dataclass(frozen=True, slots=True)
class NewVersion:
    """A version that is stored as a blob already."""

    name: str
    description: str
    blob_id: str
    stored: Stored


def create_skill(db: Connection, workspace_id: str, display_name: str, version: NewVersion) -> RowMapping:
    """Create a skill with its first version."""
    now = db.execute(sa.select(now_us())).scalar_one()
    skill_id, version_id = new_id("skill"), new_id("skillver")
    times = {"created_at": now, "updated_at": now}
    values = {"workspace_id": workspace_id, "name": version.name, "display_name": display_name, **times}
    db.execute(sa.insert(skills).values(id=skill_id, latest_version_id=version_id, **values))
    _insert_version(db, skill_id, version_id, version, now)
    return get_skill(db, workspace_id, skill_id)


def _insert_version(db: Connection, skill_id: str, version_id: str, version: NewVersion, now: int) -> None:
    claim_blob(db, version.blob_id)
    db.execute(
        sa.insert(skill_versions).values(
            id=version_id,
            skill_id=skill_id,
            description=version.description,
            blob_id=version.blob_id,
            size_bytes=version.stored.size,
            sha256=version.stored.sha256,
            created_at=now,
        )
    )


def get_skill(db: Connection, workspace_id: str, skill_id: str) -> RowMapping:
    """Return a skill, with `latest_version_at`.

    Raises:
        NotFoundError: there is no such skill in the workspace.
    """
    statement = _VISIBLE.where(skills.c.workspace_id == workspace_id, skills.c.id == skill_id)
    row = db.execute(statement).mappings().first()
    if row is None:
        raise NotFoundError(f"no skill {skill_id!r}")
    return row


def _lock(db: Connection, workspace_id: str, skill_id: str) -> RowMapping:
    """Return a skill that nobody else changes until the transaction ends."""
    named = sa.and_(skills.c.workspace_id == workspace_id, skills.c.id == skill_id, skills.c.deleted_at.is_(None))
    row = db.execute(sa.select(*skills.c, now_us().label("now")).where(named).with_for_update()).mappings().first()
    if row is None:
        raise NotFoundError(f"no skill {skill_id!r}")
    return row


def list_skills(db: Connection, workspace_id: str, *, limit: int, after: Position | None) -> Sequence[RowMapping]:
    """Return skills, newest first, and one more than the limit if there are more."""
    statement = _VISIBLE.where(skills.c.workspace_id == workspace_id)
    return db.execute(newest_first(statement, skills, limit, after)).mappings().all()


def add_version(db: Connection, workspace_id: str, skill_id: str, version: NewVersion) -> RowMapping:
    """Add a version, which becomes the latest.

    Raises:
        NotFoundError: there is no such skill in the workspace.
        InvalidRequestError: the version has another name than the skill.
    """
    skill = _lock(db, workspace_id, skill_id)
    if skill["name"] != version.name:
        raise InvalidRequestError(
            f"`files[]`: `name` in SKILL.md is {version.name!r}, but this skill is {skill['name']!r} for good: "
            "create another skill"
        )
    last = sa.select(sa.func.max(skill_versions.c.created_at)).where(skill_versions.c.skill_id == skill_id)
    # A number of its own for each, also within a tick of the clock.
    now = max(skill["now"], db.execute(last).scalar_one() + 1)
    version_id = new_id("skillver")
    _insert_version(db, skill_id, version_id, version, now)
    db.execute(sa.update(skills).where(skills.c.id == skill_id).values(latest_version_id=version_id, updated_at=now))
    return get_version(db, workspace_id, skill_id, version_id)


def get_version(db: Connection, workspace_id: str, skill_id: str, version: str) -> RowMapping:
    """Return a version by its id, by its number as older clients know it, or the `latest`; with the skill's `name`.

    Raises:
        NotFoundError: there is no such skill in the workspace, or no such version of it.
    """
    statement = _VERSIONS.where(skills.c.workspace_id == workspace_id, skills.c.id == skill_id)
    if version == _LATEST:
        statement = statement.where(skill_versions.c.id == skills.c.latest_version_id)
    elif version.isascii() and version.isdigit() and len(version) < 19:
        statement = statement.where(skill_versions.c.created_at == int(version))
    else:
        statement = statement.where(skill_versions.c.id == version)
    row = db.execute(statement).mappings().first()
    if row is None:
        raise NotFoundError(f"no skill {skill_id!r} with version {version!r}")
    return row


def list_versions(
    db: Connection, workspace_id: str, skill_id: str, *, limit: int, before: int | None
) -> Sequence[RowMapping]:
    """Return a skill's versions made before a time, newest first, and one more than the limit if there are more.

    Raises:
        NotFoundError: there is no such skill in the workspace.
    """
    get_skill(db, workspace_id, skill_id)
    statement = _VERSIONS.where(skill_versions.c.skill_id == skill_id)
    if before is not None:
        statement = statement.where(skill_versions.c.created_at < before)
    return db.execute(statement.order_by(skill_versions.c.created_at.desc()).limit(limit + 1)).mappings().all()


def delete_version(db: Connection, workspace_id: str, skill_id: str, version: str) -> RowMapping:
    """Delete a version, and return it; sessions that use it keep it.

    Raises:
        NotFoundError: there is no such skill in the workspace, or no such version of it.
        InvalidRequestError: it is the skill's only one.
    """
    _lock(db, workspace_id, skill_id)
    found = get_version(db, workspace_id, skill_id, version)
    others = list_versions(db, workspace_id, skill_id, limit=1, before=None)
    kept = next((row for row in others if row["id"] != found["id"]), None)
    if kept is None:
        raise InvalidRequestError("a skill holds at least one version: delete the skill instead")
    latest = {"latest_version_id": kept["id"], "updated_at": now_us()}
    db.execute(
        sa.update(skills).where(skills.c.id == skill_id, skills.c.latest_version_id == found["id"]).values(latest)
    )
    _erase(db, [found])
    return found


def delete_skill(db: Connection, workspace_id: str, skill_id: str) -> None:
    """Delete a skill with its versions; sessions that use it keep it.

    Raises:
        NotFoundError: there is no such skill in the workspace.
    """
    _lock(db, workspace_id, skill_id)
    _erase(db, db.execute(_VERSIONS.where(skill_versions.c.skill_id == skill_id)).mappings().all())
    db.execute(sa.update(skills).where(skills.c.id == skill_id).values(deleted_at=now_us()))


def _erase(db: Connection, versions: Sequence[RowMapping]) -> None:
    for version in versions:
        named = skill_versions.c.id == version["id"]
        db.execute(sa.update(skill_versions).where(named).values(deleted_at=now_us(), blob_id=None, description=""))
        release_blob(db, version["blob_id"])

"""Skills and their versions."""

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from store.tables.columns import table_of, time_column


class SkillRow(SQLModel, table=True):
    """A skill; what it holds stands in its versions."""

    __tablename__ = "skills"
    __table_args__ = (sa.Index("skills_by_workspace", "workspace_id", "created_at", "id"),)
    id: str = Field(primary_key=True)
    workspace_id: str = Field(foreign_key="workspaces.id")
    name: str
    """The slug that every version has, and its top folder."""
    display_name: str
    latest_version_id: str
    created_at: int = time_column()
    updated_at: int = time_column()
    deleted_at: int | None = time_column(nullable=True)


class SkillVersionRow(SQLModel, table=True):
    """One upload of a skill, never changed; its blob is a zip archive with one top folder."""

    __tablename__ = "skill_versions"
    __table_args__ = (
        sa.UniqueConstraint("skill_id", "created_at", name="skill_versions_in_order"),
        sa.Index("skill_versions_by_blob", "blob_id"),
    )
    id: str = Field(primary_key=True)
    skill_id: str = Field(foreign_key="skills.id")
    description: str
    blob_id: str | None = Field(default=None, foreign_key="blobs.id")
    """Null once the version is deleted."""
    size_bytes: int = Field(sa_type=sa.BigInteger)
    """Of the archive."""
    sha256: str
    created_at: int = time_column()
    """Rises with each version of a skill, so it also names the version where clients know numbers."""
    deleted_at: int | None = time_column(nullable=True)


skills = table_of(SkillRow)
skill_versions = table_of(SkillVersionRow)

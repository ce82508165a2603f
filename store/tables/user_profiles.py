"""Whom a platform serves: profiles of its users."""

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from store.tables.columns import Json, json_column, table_of, time_column


class UserProfileRow(SQLModel, table=True):
    """A record of an end user, or of a company."""

    __tablename__ = "user_profiles"
    __table_args__ = (
        sa.Index("user_profiles_by_workspace", "workspace_id", "created_at", "id"),
        sa.Index("user_profiles_by_name", "workspace_id", "name_key", "id"),
    )
    id: str = Field(primary_key=True)
    workspace_id: str = Field(foreign_key="workspaces.id")
    name: str | None = None
    name_key: bytes | None = None
    """The name as it is sorted, in UTF-8 with ASCII letters in lower case; bytes, as databases agree on their order."""
    access_type: str
    details: Json = json_column()
    """The API's `external_user_details`, every key present; times are text."""
    metadata_: Json = Field(default_factory=dict, sa_column=sa.Column("metadata", sa.JSON, nullable=False))
    created_at: int = time_column()
    updated_at: int = time_column()


user_profiles = table_of(UserProfileRow)

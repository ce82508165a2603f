"""What is mounted into sessions: files, repositories, and the skills of their agents."""

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from store.tables.columns import Json, json_column, table_of, time_column

_HELD = sa.text("removed_at IS NULL")
_PENDING = sa.text("pending")


class SessionResourceRow(SQLModel, table=True):
    """One thing in a session's workspace, or one that is to leave it."""

    __tablename__ = "session_resources"
    __table_args__ = (
        sa.Index("session_resources_mounted", "session_id", "mount_path", unique=True, sqlite_where=_HELD,
                 postgresql_where=_HELD),
        sa.Index("session_resources_pending", "session_id", sqlite_where=_PENDING, postgresql_where=_PENDING),
        sa.Index("session_resources_by_session", "session_id", "created_at", "id"),
        sa.Index("session_resources_by_blob", "blob_id"),
    )  # fmt: skip
    id: str = Field(primary_key=True)
    session_id: str = Field(foreign_key="sessions.id")
    type: str
    """`file`, `github_repository`, or `skill`, which no client sees."""
    mount_path: str
    detail: Json = json_column(dict)
    """`file_id` and `filename`; `url` and `checkout`; or `name` and `version_id` of a skill."""
    blob_id: str | None = Field(default=None, foreign_key="blobs.id")
    token: bytes | None = None
    """Sealed; never leaves the process in the clear but towards the repository's host."""
    pending: bool = True
    """Whether the runtime has yet to be told of it, or of its removal."""
    created_at: int = time_column()
    updated_at: int = time_column()
    removed_at: int | None = time_column(nullable=True)


session_resources = table_of(SessionResourceRow)

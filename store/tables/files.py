"""Blobs, which are bytes in a store of their own, and the files that clients upload."""

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from store.tables.columns import table_of, time_column

_REMOVABLE = sa.text("removable_at IS NOT NULL")
_EXPIRING = sa.text("expires_at IS NOT NULL AND blob_id IS NOT NULL")


class BlobRow(SQLModel, table=True):
    """Bytes in the blob store: the row is there before them, and goes after them."""

    __tablename__ = "blobs"
    __table_args__ = (
        sa.Index("blobs_removable", "removable_at", sqlite_where=_REMOVABLE, postgresql_where=_REMOVABLE),
    )
    id: str = Field(primary_key=True)
    created_at: int = time_column()
    removable_at: int | None = time_column(nullable=True)
    """From when on the sweep removes it, if nothing refers to it; null while something does."""
    removing: bool = False
    """The sweep has decided: nothing may refer to it any more."""


class FileRow(SQLModel, table=True):
    """A file of a workspace."""

    __tablename__ = "files"
    __table_args__ = (
        sa.Index("files_by_workspace", "workspace_id", "created_at", "id"),
        sa.Index("files_by_scope", "scope_id", "created_at", "id"),
        sa.Index("files_by_blob", "blob_id"),
        sa.Index("files_expiring", "expires_at", sqlite_where=_EXPIRING, postgresql_where=_EXPIRING),
    )
    id: str = Field(primary_key=True)
    workspace_id: str = Field(foreign_key="workspaces.id")
    filename: str
    mime_type: str
    size_bytes: int = Field(sa_type=sa.BigInteger)
    sha256: str
    blob_id: str | None = Field(default=None, foreign_key="blobs.id")
    """Null once the file is deleted, or expired and swept."""
    scope_id: str | None = None
    """The session it was made in."""
    downloadable: bool = False
    created_at: int = time_column()
    expires_at: int | None = time_column(nullable=True)
    deleted_at: int | None = time_column(nullable=True)
    """Tombstone: unknown to every client from then on."""


blobs = table_of(BlobRow)
files = table_of(FileRow)

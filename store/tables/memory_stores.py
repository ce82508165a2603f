"""Memory stores, the memories in them, and the versions that every change of a memory leaves behind."""

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from store.tables.columns import Json, table_of, time_column

# Paths are ordered and compared by their bytes on both databases, so that a folder is one range of the index.
_PATH = sa.String().with_variant(sa.String(collation="C"), "postgresql")


class MemoryStoreRow(SQLModel, table=True):
    """A named container of memories."""

    __tablename__ = "memory_stores"
    __table_args__ = (sa.Index("memory_stores_by_workspace", "workspace_id", "created_at", "id"),)
    id: str = Field(primary_key=True)
    workspace_id: str = Field(foreign_key="workspaces.id")
    name: str
    description: str
    metadata_: Json = Field(default_factory=dict, sa_column=sa.Column("metadata", sa.JSON, nullable=False))
    created_at: int = time_column()
    updated_at: int = time_column()
    archived_at: int | None = time_column(nullable=True)


class MemoryRow(SQLModel, table=True):
    """A memory at a path; what it holds stands in the version it points to."""

    __tablename__ = "memories"
    __table_args__ = (sa.UniqueConstraint("memory_store_id", "path"),)
    id: str = Field(primary_key=True)
    memory_store_id: str = Field(foreign_key="memory_stores.id")
    path: str = Field(sa_type=_PATH)
    version_id: str
    created_at: int = time_column()
    updated_at: int = time_column()


class MemoryVersionRow(SQLModel, table=True):
    """One change of a memory; only redaction changes it afterwards, and only its store's end deletes it."""

    __tablename__ = "memory_versions"
    __table_args__ = (
        sa.Index("memory_versions_by_time", "memory_store_id", "created_at", "id"),
        sa.Index("memory_versions_by_memory", "memory_store_id", "memory_id", "created_at", "id"),
        sa.Index("memory_versions_by_author", "memory_store_id", "author_id", "created_at", "id"),
        sa.Index("memory_versions_by_operation", "memory_store_id", "operation", "created_at", "id"),
    )
    id: str = Field(primary_key=True)
    memory_store_id: str = Field(foreign_key="memory_stores.id")
    memory_id: str
    operation: str
    """`created`, `modified` or `deleted`."""
    path: str | None
    """Null once redacted."""
    content: str | None
    """Null once redacted, and of a deletion; so are its hash and size."""
    content_sha256: str | None
    content_size_bytes: int | None
    author_type: str
    """`api_actor` or `session_actor`; `author_id` is the id of that API key or session."""
    author_id: str
    created_at: int = time_column()
    """Later than that of the memory's version before."""
    redacted_at: int | None = time_column(nullable=True)
    redacted_by: str | None
    """The API key."""


memory_stores = table_of(MemoryStoreRow)
memories = table_of(MemoryRow)
memory_versions = table_of(MemoryVersionRow)

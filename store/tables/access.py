"""Workspaces, the tenant boundary, and the keys that open them."""

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from store.tables.columns import table_of, time_column


class WorkspaceRow(SQLModel, table=True):
    """A tenant: owns everything else."""

    __tablename__ = "workspaces"
    __table_args__ = (sa.Index("workspaces_by_time", "created_at", "id"),)
    id: str = Field(primary_key=True)
    name: str
    created_at: int = time_column()


class ApiKeyRow(SQLModel, table=True):
    """A key of one workspace, stored as a hash; `hint` is its last four characters."""

    __tablename__ = "api_keys"
    __table_args__ = (
        sa.Index("api_keys_by_workspace", "workspace_id", "created_at", "id"),
        sa.Index("api_keys_by_time", "created_at", "id"),
    )
    id: str = Field(primary_key=True)
    workspace_id: str = Field(foreign_key="workspaces.id")
    name: str
    hash: str = Field(unique=True)
    hint: str
    scope: str
    """`admin` may manage workspaces and keys; `member` everything else in its workspace; `environment` what a worker
    of one environment needs."""
    environment_id: str | None = None
    """Of scope `environment`: which."""
    created_at: int = time_column()
    revoked_at: int | None = time_column(nullable=True)


workspaces = table_of(WorkspaceRow)
api_keys = table_of(ApiKeyRow)

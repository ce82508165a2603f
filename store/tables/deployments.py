"""Deployments, and the record of each of their runs."""

from typing import Any

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from store.tables.columns import Json, json_column, table_of, time_column


class DeploymentRow(SQLModel, table=True):
    """An agent version with all that a session of it needs to begin by itself."""

    __tablename__ = "deployments"
    __table_args__ = (
        sa.Index("deployments_by_workspace", "workspace_id", "created_at", "id"),
        sa.Index("deployments_by_agent", "agent_id", "created_at", "id"),
    )
    id: str = Field(primary_key=True)
    workspace_id: str = Field(foreign_key="workspaces.id")
    name: str
    description: str | None = None
    agent_id: str
    agent_version: int
    environment_id: str
    initial_events: list[Any] = json_column()
    """The API's events, without ids."""
    schedule: Json | None = json_column(nullable=True, default=lambda: None)
    """`{"type": "cron", "expression", "timezone"}`."""
    metadata_: Json = Field(default_factory=dict, sa_column=sa.Column("metadata", sa.JSON, nullable=False))
    paused_reason: Json | None = json_column(nullable=True, default=lambda: None)
    """The API's; null while it is not paused."""
    created_at: int = time_column()
    updated_at: int = time_column()
    archived_at: int | None = time_column(nullable=True)


class DeploymentRunRow(SQLModel, table=True):
    """One run: the session it made, or why it made none. Never changed."""

    __tablename__ = "deployment_runs"
    __table_args__ = (
        sa.Index("deployment_runs_by_workspace", "workspace_id", "created_at", "id"),
        sa.Index("deployment_runs_by_deployment", "deployment_id", "created_at", "id"),
        sa.UniqueConstraint("deployment_id", "scheduled_at", name="deployment_runs_once"),
    )
    id: str = Field(primary_key=True)
    workspace_id: str = Field(foreign_key="workspaces.id")
    deployment_id: str = Field(foreign_key="deployments.id")
    agent_id: str
    agent_version: int
    trigger_type: str
    """`manual` or `schedule`."""
    scheduled_at: int | None = time_column(nullable=True)
    """When the schedule matched; null of a manual run."""
    session_id: str | None = None
    error: Json | None = json_column(nullable=True, default=lambda: None)
    """The API's `{"type", "message"}`; null if it made a session."""
    created_at: int = time_column()


deployments = table_of(DeploymentRow)
deployment_runs = table_of(DeploymentRunRow)

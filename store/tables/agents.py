"""Agents, their immutable versions, and environments."""

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from store.tables.columns import Json, json_column, table_of, time_column


class AgentRow(SQLModel, table=True):
    """An agent; what it is stands in its versions."""

    __tablename__ = "agents"
    __table_args__ = (sa.Index("agents_by_workspace", "workspace_id", "created_at", "id"),)
    id: str = Field(primary_key=True)
    workspace_id: str = Field(foreign_key="workspaces.id")
    version: int
    """The latest."""
    created_at: int = time_column()
    updated_at: int = time_column()
    archived_at: int | None = time_column(nullable=True)


class AgentVersionRow(SQLModel, table=True):
    """One version of an agent, never changed."""

    __tablename__ = "agent_versions"
    agent_id: str = Field(foreign_key="agents.id", primary_key=True)
    version: int = Field(primary_key=True)
    definition: Json = json_column()
    """The API's agent without id, version and times; `runtime` is our field, resolved to an alias object or null."""
    created_at: int = time_column()


class EnvironmentRow(SQLModel, table=True):
    """Where tools run."""

    __tablename__ = "environments"
    __table_args__ = (sa.Index("environments_by_workspace", "workspace_id", "created_at", "id"),)
    id: str = Field(primary_key=True)
    workspace_id: str = Field(foreign_key="workspaces.id")
    name: str
    description: str | None = None
    config: Json = json_column()
    metadata_: Json = Field(default_factory=dict, sa_column=sa.Column("metadata", sa.JSON, nullable=False))
    scope: str = "organization"
    is_default: bool = False
    """The one a session gets that names none; it cannot be archived or deleted."""
    created_at: int = time_column()
    updated_at: int = time_column()
    archived_at: int | None = time_column(nullable=True)


agents = table_of(AgentRow)
agent_versions = table_of(AgentVersionRow)
environments = table_of(EnvironmentRow)

"""Registered runtimes, and the agents made in them."""

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from store.tables.columns import Json, json_column, table_of, time_column


class RuntimeRow(SQLModel, table=True):
    """A connection to a place where agents run, under an alias."""

    __tablename__ = "runtimes"
    __table_args__ = (
        sa.UniqueConstraint("workspace_id", "alias"),
        sa.Index("runtimes_by_workspace", "workspace_id", "created_at", "id"),
    )
    id: str = Field(primary_key=True)
    workspace_id: str = Field(foreign_key="workspaces.id")
    alias: str
    kind: str
    base_url: str
    credential: bytes | None = None
    """Sealed; never leaves the process in the clear but towards `base_url`."""
    options: Json = json_column(dict)
    revision: int = 1
    """Raised by every change, so that processes know their adapter is out of date."""
    checked_at: int | None = time_column(nullable=True)
    health: Json | None = json_column(nullable=True, default=lambda: None)
    """`{"ok": bool, "detail": str}` of the last check."""
    created_at: int = time_column()
    updated_at: int = time_column()


class NativeAgentRow(SQLModel, table=True):
    """An agent version made in a runtime: one intent for all sessions that share it."""

    __tablename__ = "native_agents"
    runtime_id: str = Field(foreign_key="runtimes.id", primary_key=True, ondelete="CASCADE")
    agent_id: str = Field(primary_key=True)
    fingerprint: str = Field(primary_key=True)
    """The version and a hash of the definition that was sent, which a session may have overridden."""
    native: Json | None = json_column(nullable=True, default=lambda: None)
    """What the runtime returned; null while it is unknown whether the call took effect."""
    turn_id: str
    """The turn whose holder makes it, or has made it."""
    created_at: int = time_column()


runtimes = table_of(RuntimeRow)
native_agents = table_of(NativeAgentRow)

"""Sessions: one row each, which every writer of the session locks first."""

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from store.tables.columns import Json, json_column, table_of, time_column


class SessionRow(SQLModel, table=True):
    """One durable conversation with one agent version."""

    __tablename__ = "sessions"
    __table_args__ = (
        sa.Index("sessions_by_workspace", "workspace_id", "created_at", "id"),
        sa.Index("sessions_by_agent", "agent_id", "created_at", "id"),
        sa.Index("sessions_by_deployment", "deployment_id", "created_at", "id",
                 sqlite_where=sa.text("deployment_id IS NOT NULL"),
                 postgresql_where=sa.text("deployment_id IS NOT NULL")),
        sa.Index("sessions_with_open_turn", "moved_at", sqlite_where=sa.text("open_turn_id IS NOT NULL"),
                 postgresql_where=sa.text("open_turn_id IS NOT NULL")),
    )  # fmt: skip
    id: str = Field(primary_key=True)
    workspace_id: str = Field(foreign_key="workspaces.id")
    agent_id: str
    agent_version: int
    agent: Json = json_column()
    """The API's snapshot of the agent."""
    agent_options: Json = json_column(dict)
    """`{"options": …, "native_id": …}` of the agent's `runtime` field."""
    runtime_id: str = Field(foreign_key="runtimes.id", index=True)
    runtime_alias: str
    kind: str
    environment_id: str
    deployment_id: str | None = None
    """The deployment whose run made it."""
    self_hosted: bool | None = None
    """Whether its environment is self-hosted, so that clients run its built-in tools; null: no."""
    title: str | None = None
    metadata_: Json = Field(default_factory=dict, sa_column=sa.Column("metadata", sa.JSON, nullable=False))
    vault_ids: list[str] = Field(default_factory=list, sa_type=sa.JSON)
    status: str = "idle"
    last_seq: int = Field(default=0, sa_type=sa.BigInteger)
    last_event_at: int = Field(default=0, sa_type=sa.BigInteger)
    """`processed_at` of the last frame; the next is later."""
    fence: int = Field(default=0, sa_type=sa.BigInteger)
    """Raised by every claim; a writer with another is refused."""
    open_turn_id: str | None = None
    turn_count: int = 0
    native: Json | None = json_column(nullable=True, default=lambda: None)
    """What `open_session` returned; null before."""
    opening_at: int | None = time_column(nullable=True)
    """When `open_session` was last called without an outcome known yet: its intent."""
    single_answers: bool = False
    """Whether the runtime takes the answers to a set of asks one at a time."""
    held: str | None = None
    """Why the queue waits for a person; null when it does not."""
    not_before: int | None = time_column(nullable=True)
    """Turns and inputs wait until then; intents do not."""
    usage: Json = json_column(dict)
    active_us: int = Field(default=0, sa_type=sa.BigInteger)
    running_since: int | None = time_column(nullable=True)
    moved_at: int = time_column()
    """When the engine last did something for it, or an input arrived."""
    created_at: int = time_column()
    updated_at: int = time_column()
    archived_at: int | None = time_column(nullable=True)
    stopping_at: int | None = time_column(nullable=True)
    """When a stop was accepted: inputs are refused from then on."""
    ended_at: int | None = time_column(nullable=True)
    """When it became `terminated`."""
    end: Json | None = json_column(nullable=True, default=lambda: None)
    """What was observed of the native end: `{"observed": bool, "detail": str, "by": str}`."""
    deleted_at: int | None = time_column(nullable=True)
    """Tombstone: unknown to every client from then on."""


sessions = table_of(SessionRow)

"""What workers of self-hosted environments take over: sessions whose tools they run."""

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from store.tables.columns import Json, table_of, time_column

_OPEN = sa.text("state != 'stopped'")


class EnvironmentWorkRow(SQLModel, table=True):
    """A session that needs a worker of its environment, at most one that is not stopped for each session."""

    __tablename__ = "environment_work"
    __table_args__ = (
        sa.Index("environment_work_listed", "environment_id", "created_at", "id"),
        sa.Index(
            "environment_work_open", "environment_id", "created_at", "id", sqlite_where=_OPEN, postgresql_where=_OPEN
        ),
        sa.Index(
            "environment_work_of_session", "session_id", unique=True, sqlite_where=_OPEN, postgresql_where=_OPEN
        ),
    )  # fmt: skip
    id: str = Field(primary_key=True)
    workspace_id: str
    environment_id: str
    session_id: str
    state: str
    """`queued` (also while polled and not acknowledged), `starting`, `active`, `stopping` or `stopped`."""
    metadata_: Json = Field(default_factory=dict, sa_column=sa.Column("metadata", sa.JSON, nullable=False))
    created_at: int = time_column()
    available_at: int = time_column()
    """From when on it may be polled."""
    polled_at: int | None = time_column(nullable=True)
    """When a poll took it last."""
    acknowledged_at: int | None = time_column(nullable=True)
    started_at: int | None = time_column(nullable=True)
    latest_heartbeat_at: int | None = time_column(nullable=True)
    ttl_s: int
    """Seconds that a heartbeat, or the acknowledgement, keeps the lease."""
    lease_expires_at: int | None = time_column(nullable=True)
    """From then on another poll may take it."""
    stop_requested_at: int | None = time_column(nullable=True)
    stopped_at: int | None = time_column(nullable=True)


environment_work = table_of(EnvironmentWorkRow)

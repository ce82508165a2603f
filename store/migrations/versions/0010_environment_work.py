"""Self-hosted environments: work for their workers, and tools that the client runs."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_OPEN = sa.text("state != 'stopped'")


def upgrade() -> None:
    op.create_table(
        "environment_work",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("workspace_id", sa.String(), nullable=False),
        sa.Column("environment_id", sa.String(), nullable=False),
        sa.Column("session_id", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("metadata", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("available_at", sa.BigInteger(), nullable=False),
        sa.Column("polled_at", sa.BigInteger(), nullable=True),
        sa.Column("acknowledged_at", sa.BigInteger(), nullable=True),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("latest_heartbeat_at", sa.BigInteger(), nullable=True),
        sa.Column("ttl_s", sa.Integer(), nullable=False),
        sa.Column("lease_expires_at", sa.BigInteger(), nullable=True),
        sa.Column("stop_requested_at", sa.BigInteger(), nullable=True),
        sa.Column("stopped_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("environment_work_listed", "environment_work", ["environment_id", "created_at", "id"], unique=False)
    op.create_index(
        "environment_work_open",
        "environment_work",
        ["environment_id", "created_at", "id"],
        unique=False,
        sqlite_where=_OPEN,
        postgresql_where=_OPEN,
    )
    op.create_index(
        "environment_work_of_session",
        "environment_work",
        ["session_id"],
        unique=True,
        sqlite_where=_OPEN,
        postgresql_where=_OPEN,
    )
    op.add_column("api_keys", sa.Column("environment_id", sa.String(), nullable=True))
    op.add_column("asks", sa.Column("client_tool", sa.String(), nullable=True))
    op.add_column("sessions", sa.Column("self_hosted", sa.Boolean(), nullable=True))


def downgrade() -> None:
    op.drop_column("sessions", "self_hosted")
    op.drop_column("asks", "client_tool")
    op.drop_column("api_keys", "environment_id")
    op.drop_table("environment_work")

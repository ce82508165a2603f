"""Deployments, their runs, and which sessions they made."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "deployments",
        sa.Column("metadata", sa.JSON(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("workspace_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("description", sa.String(), nullable=True),
        sa.Column("agent_id", sa.String(), nullable=False),
        sa.Column("agent_version", sa.Integer(), nullable=False),
        sa.Column("environment_id", sa.String(), nullable=False),
        sa.Column("initial_events", sa.JSON(), nullable=False),
        sa.Column("schedule", sa.JSON(), nullable=True),
        sa.Column("paused_reason", sa.JSON(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("archived_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("deployments_by_agent", "deployments", ["agent_id", "created_at", "id"], unique=False)
    op.create_index("deployments_by_workspace", "deployments", ["workspace_id", "created_at", "id"], unique=False)
    op.create_table(
        "deployment_runs",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("workspace_id", sa.String(), nullable=False),
        sa.Column("deployment_id", sa.String(), nullable=False),
        sa.Column("agent_id", sa.String(), nullable=False),
        sa.Column("agent_version", sa.Integer(), nullable=False),
        sa.Column("trigger_type", sa.String(), nullable=False),
        sa.Column("scheduled_at", sa.BigInteger(), nullable=True),
        sa.Column("session_id", sa.String(), nullable=True),
        sa.Column("error", sa.JSON(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["deployment_id"], ["deployments.id"]),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("deployment_id", "scheduled_at", name="deployment_runs_once"),
    )
    op.create_index(
        "deployment_runs_by_deployment", "deployment_runs", ["deployment_id", "created_at", "id"], unique=False
    )
    op.create_index(
        "deployment_runs_by_workspace", "deployment_runs", ["workspace_id", "created_at", "id"], unique=False
    )
    op.add_column("sessions", sa.Column("deployment_id", sa.String(), nullable=True))
    op.create_index(
        "sessions_by_deployment",
        "sessions",
        ["deployment_id", "created_at", "id"],
        unique=False,
        sqlite_where=sa.text("deployment_id IS NOT NULL"),
        postgresql_where=sa.text("deployment_id IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("sessions_by_deployment", table_name="sessions")
    op.drop_column("sessions", "deployment_id")
    op.drop_table("deployment_runs")
    op.drop_table("deployments")

"""Indexes with the order of the lists of runtimes, workspaces and API keys."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("runtimes_by_workspace", "runtimes", ["workspace_id", "created_at", "id"])
    op.create_index("workspaces_by_time", "workspaces", ["created_at", "id"])
    op.drop_index("ix_api_keys_workspace_id", "api_keys")
    op.create_index("api_keys_by_workspace", "api_keys", ["workspace_id", "created_at", "id"])
    op.create_index("api_keys_by_time", "api_keys", ["created_at", "id"])


def downgrade() -> None:
    op.drop_index("api_keys_by_time", "api_keys")
    op.drop_index("api_keys_by_workspace", "api_keys")
    op.create_index("ix_api_keys_workspace_id", "api_keys", ["workspace_id"])
    op.drop_index("workspaces_by_time", "workspaces")
    op.drop_index("runtimes_by_workspace", "runtimes")

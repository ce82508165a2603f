"""Memory stores, memories and their versions."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_PATH = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "memory_stores",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("workspace_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("metadata", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("archived_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspaces.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("memory_stores_by_workspace", "memory_stores", ["workspace_id", "created_at", "id"], unique=False)
    op.create_table(
        "memories",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("memory_store_id", sa.String(), nullable=False),
        sa.Column("path", _PATH, nullable=False),
        sa.Column("version_id", sa.String(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["memory_store_id"],
            ["memory_stores.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("memory_store_id", "path"),
    )
    op.create_table(
        "memory_versions",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("memory_store_id", sa.String(), nullable=False),
        sa.Column("memory_id", sa.String(), nullable=False),
        sa.Column("operation", sa.String(), nullable=False),
        sa.Column("path", sa.String(), nullable=True),
        sa.Column("content", sa.String(), nullable=True),
        sa.Column("content_sha256", sa.String(), nullable=True),
        sa.Column("content_size_bytes", sa.Integer(), nullable=True),
        sa.Column("author_type", sa.String(), nullable=False),
        sa.Column("author_id", sa.String(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("redacted_at", sa.BigInteger(), nullable=True),
        sa.Column("redacted_by", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(
            ["memory_store_id"],
            ["memory_stores.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    for name, column in (
        ("memory_versions_by_author", "author_id"),
        ("memory_versions_by_memory", "memory_id"),
        ("memory_versions_by_operation", "operation"),
    ):
        op.create_index(name, "memory_versions", ["memory_store_id", column, "created_at", "id"], unique=False)
    op.create_index("memory_versions_by_time", "memory_versions", ["memory_store_id", "created_at", "id"], unique=False)


def downgrade() -> None:
    for table in ("memory_versions", "memories", "memory_stores"):
        op.drop_table(table)

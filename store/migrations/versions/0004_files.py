"""Blobs and files."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "blobs",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("removable_at", sa.BigInteger(), nullable=True),
        sa.Column("removing", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    removable = sa.text("removable_at IS NOT NULL")
    op.create_index(
        "blobs_removable", "blobs", ["removable_at"], unique=False, sqlite_where=removable, postgresql_where=removable
    )
    op.create_table(
        "files",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("workspace_id", sa.String(), nullable=False),
        sa.Column("filename", sa.String(), nullable=False),
        sa.Column("mime_type", sa.String(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("blob_id", sa.String(), nullable=True),
        sa.Column("scope_id", sa.String(), nullable=True),
        sa.Column("downloadable", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("deleted_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"]),
        sa.ForeignKeyConstraint(["blob_id"], ["blobs.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("files_by_workspace", "files", ["workspace_id", "created_at", "id"], unique=False)
    op.create_index("files_by_scope", "files", ["scope_id", "created_at", "id"], unique=False)
    op.create_index("files_by_blob", "files", ["blob_id"], unique=False)
    expiring = sa.text("expires_at IS NOT NULL AND blob_id IS NOT NULL")
    op.create_index(
        "files_expiring", "files", ["expires_at"], unique=False, sqlite_where=expiring, postgresql_where=expiring
    )


def downgrade() -> None:
    op.drop_table("files")
    op.drop_table("blobs")

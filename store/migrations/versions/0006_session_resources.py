"""What is mounted into sessions."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "session_resources",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("session_id", sa.String(), nullable=False),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("mount_path", sa.String(), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.Column("blob_id", sa.String(), nullable=True),
        sa.Column("token", sa.LargeBinary(), nullable=True),
        sa.Column("pending", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("removed_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.id"]),
        sa.ForeignKeyConstraint(["blob_id"], ["blobs.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    held, pending = sa.text("removed_at IS NULL"), sa.text("pending")
    op.create_index(
        "session_resources_mounted",
        "session_resources",
        ["session_id", "mount_path"],
        unique=True,
        sqlite_where=held,
        postgresql_where=held,
    )
    op.create_index(
        "session_resources_pending",
        "session_resources",
        ["session_id"],
        unique=False,
        sqlite_where=pending,
        postgresql_where=pending,
    )
    op.create_index(
        "session_resources_by_session", "session_resources", ["session_id", "created_at", "id"], unique=False
    )
    op.create_index("session_resources_by_blob", "session_resources", ["blob_id"], unique=False)


def downgrade() -> None:
    op.drop_table("session_resources")

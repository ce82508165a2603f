"""Vaults, and the credentials in them."""

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from store.tables.columns import Json, json_column, table_of, time_column


class VaultRow(SQLModel, table=True):
    """A collection of credentials, such as those of one end user."""

    __tablename__ = "vaults"
    __table_args__ = (sa.Index("vaults_by_workspace", "workspace_id", "created_at", "id"),)
    id: str = Field(primary_key=True)
    workspace_id: str = Field(foreign_key="workspaces.id")
    display_name: str
    metadata_: Json = Field(default_factory=dict, sa_column=sa.Column("metadata", sa.JSON, nullable=False))
    created_at: int = time_column()
    updated_at: int = time_column()
    archived_at: int | None = time_column(nullable=True)


class CredentialRow(SQLModel, table=True):
    """A credential; its secrets are sealed, and erased when it is archived."""

    __tablename__ = "credentials"
    __table_args__ = (
        sa.Index("credentials_by_vault", "vault_id", "created_at", "id"),
        sa.Index(
            "credentials_active",
            "vault_id",
            "target",
            unique=True,
            sqlite_where=sa.text("archived_at IS NULL"),
            postgresql_where=sa.text("archived_at IS NULL"),
        ),
    )
    id: str = Field(primary_key=True)
    vault_id: str = Field(foreign_key="vaults.id")
    target: str
    """What it is for, of which a vault has one active credential: an MCP server's URL, normalised, or a variable."""
    display_name: str | None = None
    metadata_: Json = Field(default_factory=dict, sa_column=sa.Column("metadata", sa.JSON, nullable=False))
    auth: Json = json_column(dict)
    """The API's `auth` as it is answered, but without `expires_at`."""
    expires_at: int | None = time_column(nullable=True)
    """When the access token of an `mcp_oauth` expires."""
    secrets: Json = json_column(dict)
    """Each secret by its name on the wire, sealed and as base64."""
    revision: int = 1
    """Raised whenever a secret is replaced."""
    created_at: int = time_column()
    updated_at: int = time_column()
    archived_at: int | None = time_column(nullable=True)


vaults = table_of(VaultRow)
credentials = table_of(CredentialRow)

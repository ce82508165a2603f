"""Where events are to be told outside."""

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from store.tables.columns import json_column, table_of, time_column


class WebhookRow(SQLModel, table=True):
    """An endpoint of the organization: it belongs to no workspace."""

    __tablename__ = "webhooks"
    __table_args__ = (sa.Index("webhooks_by_age", "created_at", "id"),)
    id: str = Field(primary_key=True)
    url: str
    name: str
    description: str
    enabled_events: list[str] = json_column()
    state: str
    """`enabled` or `disabled`."""
    disabled_reason: str = ""
    signing_secret: bytes
    """Sealed."""
    created_at: int = time_column()
    updated_at: int = time_column()


webhooks = table_of(WebhookRow)

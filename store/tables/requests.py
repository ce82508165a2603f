"""Answers to POSTs that create something, kept so that a resend gets the same one."""

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from store.tables.columns import Json, json_column, table_of, time_column


class StoredAnswerRow(SQLModel, table=True):
    """The answer to one request, under its `Idempotency-Key` or its fingerprint."""

    __tablename__ = "stored_answers"
    __table_args__ = (
        sa.UniqueConstraint("api_key_id", "idempotency_key"),
        sa.Index("stored_answers_by_fingerprint", "fingerprint", "answered_at"),
        sa.Index("stored_answers_by_age", "answered_at"),
    )
    id: str = Field(primary_key=True)
    api_key_id: str
    idempotency_key: str | None = None
    fingerprint: str
    """Hash of API key, path and body."""
    retry_count: int
    """The highest `x-stainless-retry-count` this answer was given to."""
    received_at: int = time_column()
    answered_at: int = time_column()
    timeout_s: float | None = None
    """The client's declared time-out."""
    session_id: str | None = Field(default=None, index=True)
    """The session it tells of, with which it is erased."""
    status: int
    body: Json = json_column()


stored_answers = table_of(StoredAnswerRow)

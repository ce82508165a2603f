"""The log: one row a frame. An input has two frames with one event id, queued and processed; all else has one."""

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from store.tables.columns import Json, json_column, table_of, time_column

_QUEUED = sa.text("waiting")
_PROCESSED = sa.text("processed_at IS NOT NULL")


class EventRow(SQLModel, table=True):
    """A frame. `payload` is the API's event without `id`, `type` and `processed_at`."""

    __tablename__ = "events"
    __table_args__ = (
        sa.UniqueConstraint("session_id", "native_key", "ordinal", name="events_once"),
        sa.Index("events_by_id", "session_id", "event_id"),
        sa.Index("events_by_type", "session_id", "type", "seq", sqlite_where=_PROCESSED, postgresql_where=_PROCESSED),
        sa.Index("events_by_time", "session_id", "processed_at"),
        sa.Index("events_queued", "session_id", "seq", sqlite_where=_QUEUED, postgresql_where=_QUEUED),
    )
    session_id: str = Field(primary_key=True)
    seq: int = Field(primary_key=True, sa_type=sa.BigInteger)
    event_id: str
    type: str
    payload: Json = json_column()
    processed_at: int | None = time_column(nullable=True)
    """Null on a queued frame."""
    waiting: bool = False
    """On a queued frame: not processed yet, so that lists still show it."""
    turn_id: str | None = None
    native_key: str | None = None
    """The adapter's key of the native event it came from; null for our own."""
    ordinal: int = 0


events = table_of(EventRow)

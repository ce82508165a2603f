"""What the engine owes and has begun: inputs, turns, asks, intents, and leases of its loops."""

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from store.tables.columns import Json, json_column, table_of, time_column

_QUEUED = sa.text("state = 'queued'")
_OPEN_TURN = sa.text("phase != 'done'")
_OPEN_ASK = sa.text("state != 'closed'")
_UNHANDLED = sa.text("handled_at IS NULL")


class InputRow(SQLModel, table=True):
    """A message or an answer on its way to the runtime. Its content is its queued frame's."""

    __tablename__ = "inputs"
    __table_args__ = (
        sa.Index("inputs_queued", "session_id", "seq", sqlite_where=_QUEUED, postgresql_where=_QUEUED),
        sa.Index("inputs_by_turn", "turn_id"),
    )
    event_id: str = Field(primary_key=True)
    session_id: str
    seq: int = Field(sa_type=sa.BigInteger)
    """Of its queued frame."""
    kind: str
    """`message`, `system` (accompanies the message before it) or `answer`."""
    state: str = "queued"
    """`queued`, `claimed` or `void`."""
    turn_id: str | None = None
    ask_id: str | None = Field(default=None, unique=True)
    """The ask that an answer answers: each is answered once."""


class AskRow(SQLModel, table=True):
    """A tool use that waits for an answer. `event_id` is the tool use's."""

    __tablename__ = "asks"
    __table_args__ = (sa.Index("asks_open", "session_id", sqlite_where=_OPEN_ASK, postgresql_where=_OPEN_ASK),)
    event_id: str = Field(primary_key=True)
    session_id: str
    turn_id: str
    type: str
    native: Json = json_column()
    position: int
    """Order within its set."""
    state: str = "open"
    """`open`, `answered` (an input answers it, not claimed yet) or `closed`."""
    client_tool: str | None = None
    """Of a built-in tool that the client runs: `confirm` (to be allowed or denied first) or `run` (waits for the
    result); null for every other."""


class TurnRow(SQLModel, table=True):
    """One native send and all that follows from it."""

    __tablename__ = "turns"
    __table_args__ = (
        sa.UniqueConstraint("session_id", "number"),
        sa.Index("turns_open", "session_id", unique=True, sqlite_where=_OPEN_TURN, postgresql_where=_OPEN_TURN),
    )
    id: str = Field(primary_key=True)
    session_id: str
    number: int
    fence: int = Field(sa_type=sa.BigInteger)
    kind: str
    """`message` or `answers`."""
    phase: str
    """`sending` (a send is decided), `sent` (acknowledged) or `done`."""
    native: Json | None = json_column(nullable=True, default=lambda: None)
    cursor: str | None = None
    state: Json = json_column(dict)
    """The adapter's translate state."""
    idless: int = 0
    """Native events without an id stored so far."""
    send_deadline: int | None = time_column(nullable=True)
    """Until then the send is acknowledged, or aborted."""
    send_outcome: str | None = None
    """`refused` after a definite refusal: to be sent anew without asking."""
    native_before: str | None = None
    attempts: int = 0
    """Native sends decided."""
    stop_reason: str | None = None
    error: str | None = None
    usage: Json = json_column(dict)
    failures: Json = json_column(dict)
    """Counts by kind of failure."""
    alive_at: int = time_column()
    """When its holder last said that it follows the turn."""
    created_at: int = time_column()
    sent_at: int | None = time_column(nullable=True)
    done_at: int | None = time_column(nullable=True)


class IntentRow(SQLModel, table=True):
    """An interrupt, stop, archive or delete that was accepted and must be carried out."""

    __tablename__ = "intents"
    __table_args__ = (
        sa.Index("intents_unhandled", "session_id", sqlite_where=_UNHANDLED, postgresql_where=_UNHANDLED),
    )
    id: str = Field(primary_key=True)
    session_id: str
    kind: str
    """`interrupt`, `stop`, `archive` or `delete`."""
    turn_id: str | None = None
    """For an interrupt: the turn that was open when it was accepted."""
    event_id: str | None = None
    created_at: int = time_column()
    attempts: int = 0
    """Native calls begun."""
    observed_at: int | None = time_column(nullable=True)
    """When the native call was answered."""
    retry_at: int | None = time_column(nullable=True)
    """After a failed native call: when to try again."""
    handled_at: int | None = time_column(nullable=True)


class LeaseRow(SQLModel, table=True):
    """Who runs a loop that must run once."""

    __tablename__ = "leases"
    name: str = Field(primary_key=True)
    holder: str
    expires_at: int = time_column()


class OrphanRow(SQLModel, table=True):
    """A native object that may have been left behind by a repeated call."""

    __tablename__ = "orphans"
    id: str = Field(primary_key=True)
    runtime_id: str
    session_id: str | None = None
    what: str
    """`session` or `agent`."""
    created_at: int = time_column()


class VendorEventRow(SQLModel, table=True):
    """A native event without a canonical form, kept for those who debug."""

    __tablename__ = "vendor_events"
    id: str = Field(primary_key=True)
    session_id: str = Field(index=True)
    turn_id: str
    type: str
    data: Json = json_column()
    created_at: int = time_column()


inputs = table_of(InputRow)
asks = table_of(AskRow)
turns = table_of(TurnRow)
intents = table_of(IntentRow)
leases = table_of(LeaseRow)
orphans = table_of(OrphanRow)
vendor_events = table_of(VendorEventRow)

# Written out instead of bound: an index that holds some rows only is used where its condition stands in the statement
# itself; and SQLite prepares a statement anew each time one of its parameters might decide that.
QUEUED = inputs.c.state == sa.literal_column("'queued'")
"""An input waits to be claimed."""
ASKED = asks.c.state != sa.literal_column("'closed'")
"""An ask is open, or answered and not claimed yet."""

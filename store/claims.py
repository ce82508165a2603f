"""Claiming: deciding, under the session's lock and a new fence, what is done next."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from protocol.ids import new_id
from store import event_log, owed
from store.event_log import LockedSession, NewFrame
from store.tables import QUEUED, asks, events, inputs, turns

Json = dict[str, Any]

IDLE_SOON_US = 1_000
BRISK_US = 10_000_000
"""A message within this time of the last turn's end is a conversation that goes on."""


@dataclass(frozen=True, slots=True)
class ClaimedInput:
    """An input of the turn: its event, and for an answer what the adapter's ask carried."""

    event_id: str
    type: str
    payload: Json
    kind: str
    ask_native: Json | None = None


@dataclass(slots=True)
class ClaimedTurn:
    """A turn held under a fence. `row` is the `turns` row, `session` the `sessions` row."""

    row: Json
    session: Json
    fence: int
    inputs: Sequence[ClaimedInput] = field(default_factory=tuple)
    decided: bool = False
    """Whether this claim decided a send that is still to be made."""
    brisk: bool = False
    """Whether it begins soon after the one before has ended."""

    @property
    def id(self) -> str:
        """The turn's id."""
        return str(self.row["id"])

    @property
    def session_id(self) -> str:
        """The session's id."""
        return str(self.session["id"])


@dataclass(frozen=True, slots=True)
class Nothing:
    """There is no turn to hold: `idle`, `intents` are due first, or `wait` until `until` (database clock, µs)."""

    state: Literal["idle", "intents", "wait"]
    session_state: str
    """For Temporal's UI: `idle`, `requires_action`, `held`, `terminated` or `rescheduling`."""
    delay_s: float = 0.0


def claim(db: Connection, session_id: str, keyed: Mapping[str, float] = MappingProxyType({})) -> ClaimedTurn | Nothing:
    """Take the session over and return the turn to work on, or why there is none.

    `keyed`: runtimes that take an idempotency key, with the seconds a send to them may take. A new turn's send to such
    a runtime is decided here, as it needs no position first; a crash before it is made costs one question.

    An open turn is taken up as it stands: only its fence is raised. Else the next is made of the complete set of
    answers, or of the oldest message with the system message that accompanies it.
    """
    try:
        locked = event_log.lock_and_fence(db, session_id)
    except event_log.SessionGoneError:
        return Nothing("idle", "terminated")
    view = owed.outlook(db, session_id)
    if view.intent:
        return Nothing("intents", "stopping")
    if not view.owes:
        return _nothing(locked, view)
    if locked["open_turn_id"] is not None:
        return _take_up(db, locked)
    return _begin(db, locked, bool(view.answers), keyed.get(locked["runtime_id"]))


def _nothing(locked: LockedSession, view: Any) -> Nothing:
    waits = [at for at in (_not_before(locked, view), view.retry_at) if at is not None]
    if waits:
        return Nothing("wait", "rescheduling", max(min(waits) - locked.now, IDLE_SOON_US) / 1e6)
    if locked["ended_at"] is not None:
        return Nothing("idle", "terminated")
    if locked["held"] is not None:
        return Nothing("idle", "held")
    return Nothing("idle", "requires_action" if view.asks else "idle")


def _not_before(locked: LockedSession, view: Any) -> int | None:
    at: int | None = locked["not_before"]
    if at is None or at <= locked.now or locked["ended_at"] is not None:
        return None
    if locked["open_turn_id"] is None and (locked["held"] is not None or locked["stopping_at"] is not None):
        return None
    return at


def _take_up(db: Connection, locked: LockedSession) -> ClaimedTurn:
    key = {"turn": locked["open_turn_id"], "new_fence": locked["fence"], "now": locked.now}
    row = db.execute(_TAKE_UP, key).mappings().one()
    locked.set(moved_at=locked.now)
    locked.save(db)
    return ClaimedTurn(dict(row), locked.row, locked["fence"], _read_inputs(db, locked, _OF_TURN, turn=row["id"]))


def _begin(db: Connection, locked: LockedSession, answers: bool, timeout_s: float | None) -> ClaimedTurn:
    asked = _asking_turn(db, locked) if answers else {}
    chosen = _answers(db, locked) if answers else _message(db, locked)
    row = _new_turn(locked, "answers" if answers else "message", asked)
    brisk = locked.now - locked["last_event_at"] < BRISK_US
    decided = timeout_s is not None and locked["native"] is not None
    if timeout_s is not None and decided:
        row.update(attempts=1, send_deadline=locked.now + int(timeout_s * 1e6))
    db.execute(_INSERT_TURN, [row])
    _take_inputs(db, locked, chosen, row["id"])
    locked.set(
        open_turn_id=row["id"],
        turn_count=row["number"],
        status="running",
        running_since=locked.now,
        not_before=None,
        moved_at=locked.now,
        updated_at=locked.now,
    )
    event_log.append_frames(db, locked, [NewFrame("session.status_running", {}, turn_id=row["id"])])
    locked.save(db)
    return ClaimedTurn(row, locked.row, locked["fence"], chosen, decided, brisk)


def _new_turn(locked: LockedSession, kind: str, asked: Json) -> Json:
    return {
        "id": new_id("turn"),
        "session_id": locked.id,
        "number": locked["turn_count"] + 1,
        "fence": locked["fence"],
        "kind": kind,
        "phase": "sending",
        "native": None,
        "cursor": asked.get("cursor"),
        "state": asked.get("state", {}),
        "idless": 0,
        "send_deadline": None,
        "send_outcome": None,
        "native_before": None,
        "attempts": 0,
        "usage": {},
        "failures": {},
        "alive_at": locked.now,
        "created_at": locked.now,
    }


def _asking_turn(db: Connection, locked: LockedSession) -> Json:
    """Return state and cursor of the turn whose asks are answered: the answering turn goes on from there."""
    row = db.execute(
        sa.select(turns.c.cursor, turns.c.state)
        .where(turns.c.session_id == locked.id)
        .order_by(turns.c.number.desc())
        .limit(1)
    ).one()
    return {"cursor": row.cursor, "state": row.state}


def _answers(db: Connection, locked: LockedSession) -> list[ClaimedInput]:
    found = _read_inputs(db, locked, _QUEUED_ANSWERS)
    chosen = found[:1] if locked["single_answers"] else found
    closed = [item.payload.get("tool_use_id") or item.payload["custom_tool_use_id"] for item in chosen]
    db.execute(_CLOSE_ASKS, {"ids": closed})
    return chosen


def _message(db: Connection, locked: LockedSession) -> list[ClaimedInput]:
    queued = _read_inputs(db, locked, _NEXT_MESSAGES)
    accompanied = len(queued) == 2 and queued[1].kind == "system"
    return queued[: 2 if accompanied else 1]


def _read_inputs(db: Connection, locked: LockedSession, statement: Any, **which: str) -> list[ClaimedInput]:
    rows = db.execute(statement, {"session": locked.id, **which})
    return [ClaimedInput(row.event_id, row.type, row.payload, row.kind, row.native) for row in rows]


def _take_inputs(db: Connection, locked: LockedSession, chosen: Sequence[ClaimedInput], turn_id: str) -> None:
    ids = [item.event_id for item in chosen]
    db.execute(_CLAIM_INPUTS, {"ids": ids, "turn": turn_id})
    tell_processed(db, locked, ids, turn_id)


def tell_processed(db: Connection, locked: LockedSession, event_ids: Sequence[str], turn_id: str | None) -> None:
    """Append the processed frames of queued events, in their order; those told before are left out."""
    waiting = db.execute(_TELL, {"session": locked.id, "ids": list(event_ids)}).all()
    event_log.append_frames(
        db,
        locked,
        [
            NewFrame(row.type, row.payload, event_id=row.event_id, turn_id=turn_id)
            for row in sorted(waiting, key=lambda row: int(row.seq))
        ],
    )


_IDS: sa.BindParameter[Any] = sa.bindparam("ids", expanding=True)
_TAKE_UP = (
    sa.update(turns)
    .where(turns.c.id == sa.bindparam("turn"))
    .values(fence=sa.bindparam("new_fence"), alive_at=sa.bindparam("now"))
    .returning(turns)
)
_INSERT_TURN = sa.insert(turns)
_INPUTS = (
    sa.select(inputs.c.event_id, inputs.c.kind, events.c.type, events.c.payload, asks.c.native)
    .join(events, sa.and_(events.c.session_id == inputs.c.session_id, events.c.seq == inputs.c.seq))
    .outerjoin(asks, asks.c.event_id == inputs.c.ask_id)
    .where(inputs.c.session_id == sa.bindparam("session"))
    .order_by(inputs.c.seq)
)
_OF_TURN = _INPUTS.where(inputs.c.turn_id == sa.bindparam("turn"))
_QUEUED_ANSWERS = _INPUTS.where(QUEUED, inputs.c.kind == "answer")
_NEXT_MESSAGES = _INPUTS.where(QUEUED, inputs.c.kind != "answer").limit(2)
_CLOSE_ASKS = sa.update(asks).where(asks.c.event_id.in_(_IDS)).values(state="closed")
_CLAIM_INPUTS = (
    sa.update(inputs).where(inputs.c.event_id.in_(_IDS)).values(state="claimed", turn_id=sa.bindparam("turn"))
)
_TELL = (
    sa.update(events)
    .where(events.c.session_id == sa.bindparam("session"), events.c.event_id.in_(_IDS), events.c.waiting)
    .values(waiting=False)
    .returning(events.c.seq, events.c.event_id, events.c.type, events.c.payload)
)

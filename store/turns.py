"""A turn's transactions after its claim: deciding a send, recording its outcome, appending, closing.

Each locks the session under the turn's fence first, so a holder that was superseded cannot write.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from protocol.ids import new_id
from store import event_log, owed, work
from store.claims import ClaimedTurn, tell_processed
from store.event_log import LockedSession, NewFrame
from store.events import answered_asks, open_asks
from store.tables import asks, inputs, intents, turns, vendor_events
from store.usage import Used, add_usage

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class NewAsk:
    """A tool use that waits for an answer; its frame is among the batch's."""

    event_id: str
    type: str
    native: Json
    client_tool: str | None = None
    """Of a tool that the client runs: `confirm` or `run`."""


@dataclass(slots=True)
class Batch:
    """What a stretch of native events became, and where the next begins."""

    frames: list[NewFrame] = field(default_factory=list)
    asks: list[NewAsk] = field(default_factory=list)
    vendor: list[tuple[str, Json]] = field(default_factory=list)
    cursor: str | None = None
    state: Json = field(default_factory=dict)
    idless: int = 0


@dataclass(frozen=True, slots=True)
class Closing:
    """How a turn ends. `requeue`: nothing was accepted, so the next turn takes the same inputs first."""

    stop_reason: str
    error: Json | None = None
    """The payload's `error` of a `session.error` that is told before."""
    stop_details: Json | None = None
    """Of a refusal: the API's `stop_details`."""
    interrupted: bool = False
    requeue: bool = False
    held: str | None = None
    void_asks: bool = False


@dataclass(frozen=True, slots=True)
class Decided:
    """A send is decided and may be made until `timeout_s` from now; None: an interrupt came first."""

    attempts: int
    timeout_s: float


def decide_send(db: Connection, turn: ClaimedTurn, timeout_s: float, native_before: str | None) -> Decided | None:
    """Record the intent to send, before it is made. None when an interrupt or stop came first: then nothing is sent."""
    locked = event_log.lock(db, turn.session_id, fence=turn.fence)
    if is_named(db, turn):
        return None
    attempts = turn.row["attempts"] + 1
    changes = {"attempts": attempts, "send_deadline": locked.now + int(timeout_s * 1e6), "native_before": native_before}
    db.execute(_DECIDED, {"turn": turn.id, **{f"new_{name}": value for name, value in changes.items()}})
    turn.row.update(changes, send_outcome=None)
    return Decided(attempts, timeout_s)


def record_sent(db: Connection, turn: ClaimedTurn, native: Json) -> bool:
    """Record the acknowledgement; return whether an intent waits for it."""
    locked = event_log.lock(db, turn.session_id, fence=turn.fence)
    db.execute(_SENT, {"turn": turn.id, "new_native": native, "now": locked.now})
    turn.row.update(phase="sent", native=native, sent_at=locked.now)
    if locked["status"] != "running":
        locked.set(status="running", running_since=locked.now)
        event_log.append_frames(db, locked, [NewFrame("session.status_running", {}, turn_id=turn.id)])
    locked.set(not_before=None, moved_at=locked.now)
    locked.save(db)
    return is_named(db, turn)


def postpone(db: Connection, turn: ClaimedTurn, delay_s: float, kind: str, error: Json | None, *, refused: bool) -> int:
    """Release the turn until `delay_s` from now and count a failure of this kind; return the new seq.

    Told as `session.error` (if given, the first time) and `session.status_rescheduled`. `refused`: the send was
    definitely not accepted.
    """
    locked = event_log.lock(db, turn.session_id, fence=turn.fence)
    before = turn.row["failures"].get(kind, 0)
    failures = {**turn.row["failures"], kind: before + 1}
    changes: Json = {"failures": failures}
    if refused:
        changes["send_outcome"] = "refused"
    _update(db, turn, changes)
    frames = [NewFrame("session.error", {"error": error}, turn_id=turn.id)] if error and not before else []
    if locked["status"] != "rescheduling":
        frames.append(NewFrame("session.status_rescheduled", {}, turn_id=turn.id))
        _stop_clock(locked)
    event_log.append_frames(db, locked, frames)
    locked.set(status="rescheduling", not_before=locked.now + int(delay_s * 1e6), moved_at=locked.now)
    locked.save(db)
    return int(locked["last_seq"])


def append(db: Connection, turn: ClaimedTurn, batch: Batch) -> int:
    """Store a batch with its cursor and state, at once; return the session's last seq."""
    locked = event_log.lock(db, turn.session_id, fence=turn.fence)
    _append(db, locked, turn, batch)
    locked.set(moved_at=locked.now)
    locked.save(db)
    return int(locked["last_seq"])


@dataclass(frozen=True, slots=True)
class Closed:
    """After a close: the session's last seq, what it owes next, and its state for Temporal's UI."""

    last_seq: int
    more: bool
    session_state: str
    delay_s: float | None = None


def close(db: Connection, turn: ClaimedTurn, batch: Batch, closing: Closing) -> Closed:
    """Store the last events and end the turn; the session becomes idle and says why."""
    locked = event_log.lock(db, turn.session_id, fence=turn.fence)
    _append(db, locked, turn, batch)
    return close_locked(db, locked, turn.row, closing)


def close_locked(db: Connection, locked: LockedSession, row: Json, closing: Closing) -> Closed:
    """End the turn `row` of a session whose lock is held."""
    turn_id = row["id"]
    if closing.requeue:
        db.execute(sa.update(inputs).where(inputs.c.turn_id == turn_id).values(state="queued"))
        _reopen_asks(db, turn_id)
    if closing.interrupted or closing.void_asks:
        void_asks(db, locked.id)
    error = closing.error["message"] if closing.error is not None else None
    db.execute(_DONE, {"turn": turn_id, "why": closing.stop_reason, "told": error, "now": locked.now})
    _finish_interrupts(db, locked, turn_id)
    stop_reason = _stop_reason(db, locked, closing)
    frames = [NewFrame("session.error", {"error": closing.error}, turn_id=turn_id)] if closing.error else []
    idle: Json = {"stop_reason": stop_reason}
    if closing.stop_details is not None:
        idle["stop_details"] = closing.stop_details
    frames.append(NewFrame("session.status_idle", idle, turn_id=turn_id))
    event_log.append_frames(db, locked, frames)
    _stop_clock(locked)
    locked.set(status="idle", open_turn_id=None, not_before=None, held=closing.held, updated_at=locked.now)
    locked.set(moved_at=locked.now)
    locked.save(db)
    view = owed.outlook(db, locked.id)
    state = "held" if closing.held else "requires_action" if view.asks else "idle"
    return Closed(int(locked["last_seq"]), bool(view.owes), state)


def pending_intents(db: Connection, session_id: str) -> list[sa.RowMapping]:
    """Return the session's unhandled intents, oldest first."""
    return list(
        db.execute(
            sa.select(intents)
            .where(intents.c.session_id == session_id, intents.c.handled_at.is_(None))
            .order_by(intents.c.created_at, intents.c.id)
        ).mappings()
    )


def is_named(db: Connection, turn: ClaimedTurn) -> bool:
    """Return whether an unhandled interrupt names the turn, or the session is to end."""
    return bool(db.execute(_IS_NAMED, {"session": turn.session_id, "turn": turn.id}).scalar_one())


def void_asks(db: Connection, session_id: str) -> None:
    """Close every ask of the session, with the answers that were on their way."""
    db.execute(sa.update(asks).where(asks.c.session_id == session_id, asks.c.state != "closed").values(state="closed"))
    db.execute(
        sa.update(inputs)
        .where(inputs.c.session_id == session_id, inputs.c.state == "queued", inputs.c.kind == "answer")
        .values(state="void")
    )


def _append(db: Connection, locked: LockedSession, turn: ClaimedTurn, batch: Batch) -> None:
    fresh = event_log.append_frames(db, locked, batch.frames)
    fresh_ids = {frame.event_id for frame in fresh}
    _insert_asks(db, locked, turn, [ask for ask in batch.asks if ask.event_id in fresh_ids])
    if batch.vendor:
        rows = [
            {"id": new_id("vnd"), "session_id": locked.id, "turn_id": turn.id, "type": type_, "data": data}
            for type_, data in batch.vendor
        ]
        db.execute(sa.insert(vendor_events), [{**row, "created_at": locked.now} for row in rows])
    ends = [frame for frame in fresh if frame.type == "span.model_request_end"]
    used = [Used(frame.payload["model_usage"], frame.cost) for frame in ends]
    usage = add_usage(turn.row["usage"], used)
    changes = {"cursor": batch.cursor, "state": batch.state, "idless": batch.idless, "usage": usage}
    db.execute(_APPENDED, {"turn": turn.id, **{f"new_{name}": value for name, value in changes.items()}})
    turn.row.update(changes)
    if used:
        locked.set(usage=add_usage(locked["usage"], used))


def _insert_asks(db: Connection, locked: LockedSession, turn: ClaimedTurn, new: Sequence[NewAsk]) -> None:
    if not new:
        return
    rows = [
        {
            "event_id": ask.event_id,
            "session_id": locked.id,
            "turn_id": turn.id,
            "type": ask.type,
            "native": ask.native,
            "position": number,
            "state": "open",
            "client_tool": ask.client_tool,
        }
        for number, ask in enumerate(new)
    ]
    db.execute(sa.insert(asks), rows)
    work.queue(db, locked)


def _update(db: Connection, turn: ClaimedTurn, changes: Json) -> None:
    db.execute(sa.update(turns).where(turns.c.id == turn.id).values(**changes))
    turn.row.update(changes)


def _reopen_asks(db: Connection, turn_id: str) -> None:
    answered = sa.select(inputs.c.ask_id).where(inputs.c.turn_id == turn_id, inputs.c.ask_id.is_not(None))
    db.execute(sa.update(asks).where(asks.c.event_id.in_(answered)).values(state="answered"))


def _finish_interrupts(db: Connection, locked: LockedSession, turn_id: str) -> None:
    done = db.execute(_FINISH_INTERRUPTS, {"turn": turn_id, "now": locked.now}).scalars()
    event_ids = [event_id for event_id in done if event_id]
    if event_ids:
        tell_processed(db, locked, event_ids, turn_id)


def _stop_reason(db: Connection, locked: LockedSession, closing: Closing) -> Json:
    if closing.stop_reason == "requires_action":
        remaining = open_asks(db, locked.id) or answered_asks(db, locked.id)
        return {"type": "requires_action", "event_ids": remaining} if remaining else {"type": "end_turn"}
    return {"type": closing.stop_reason}


def _stop_clock(locked: LockedSession) -> None:
    if locked["running_since"] is not None:
        active = locked["active_us"] + max(locked.now - locked["running_since"], 0)
        locked.set(active_us=active, running_since=None)


def _new(column: sa.Column[Any]) -> sa.BindParameter[Any]:
    return sa.bindparam(f"new_{column.name}", type_=column.type)


_TURN: sa.BindParameter[Any] = sa.bindparam("turn")
_NOW: sa.BindParameter[Any] = sa.bindparam("now")
_THIS = sa.update(turns).where(turns.c.id == _TURN)
_DECIDED = _THIS.values(
    attempts=_new(turns.c.attempts),
    send_deadline=_new(turns.c.send_deadline),
    native_before=_new(turns.c.native_before),
    send_outcome=sa.null(),
)
_SENT = _THIS.values(phase="sent", native=_new(turns.c.native), sent_at=_NOW)
_APPENDED = _THIS.values(
    cursor=_new(turns.c.cursor), state=_new(turns.c.state), idless=_new(turns.c.idless), usage=_new(turns.c.usage)
)
_DONE = _THIS.values(phase="done", stop_reason=sa.bindparam("why"), error=sa.bindparam("told"), done_at=_NOW)
_UNHANDLED = intents.c.handled_at.is_(None)
_IS_NAMED = sa.select(
    sa.exists().where(
        intents.c.session_id == sa.bindparam("session"),
        _UNHANDLED,
        sa.or_(intents.c.kind != "interrupt", intents.c.turn_id == _TURN),
    )
)
_FINISH_INTERRUPTS = (
    sa.update(intents)
    .where(
        intents.c.session_id == sa.select(turns.c.session_id).where(turns.c.id == _TURN).scalar_subquery(),
        _UNHANDLED,
        intents.c.turn_id == _TURN,
        intents.c.kind == "interrupt",
    )
    .values(handled_at=_NOW)
    .returning(intents.c.event_id)
)

"""How a session ends: stop, archive, delete; and how an interrupt is finished. Each is an intent row first."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from protocol.errors import InvalidRequestError
from protocol.ids import new_id
from store import event_log, work
from store.claims import tell_processed
from store.clock import now_us
from store.event_log import LockedSession
from store.events import has_open_asks, lock_visible
from store.repositories.session_resources import erase_resources
from store.tables import asks, environment_work, events, inputs, intents, sessions, stored_answers, turns, vendor_events
from store.turns import Closing, close_locked, void_asks

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Ending:
    """What has become of a request to end a session."""

    state: Literal["stopping", "terminated", "deleted"]
    last_seq: int
    wake: bool


def request_stop(db: Connection, session_id: str, workspace_id: str) -> Ending:
    """Accept a stop: from this commit the session takes no input and its queue is void. May be repeated.

    Raises:
        NotFoundError: no such session in the workspace.
    """
    locked = lock_visible(db, session_id, workspace_id)
    if locked["ended_at"] is not None:
        return Ending("terminated", locked["last_seq"], wake=False)
    if locked["stopping_at"] is None:
        _insert_intent(db, locked, "stop")
        db.execute(
            sa.update(inputs).where(inputs.c.session_id == session_id, inputs.c.state == "queued").values(state="void")
        )
        locked.set(stopping_at=locked.now, held=None, moved_at=locked.now, updated_at=locked.now)
        locked.save(db)
    return Ending("stopping", locked["last_seq"], wake=True)


def archive(db: Connection, session_id: str, workspace_id: str) -> Ending:
    """Make an idle session read-only and `terminated`. May be repeated.

    Raises:
        NotFoundError: no such session in the workspace.
        InvalidRequestError: it is running, or messages are pending.
    """
    locked = lock_visible(db, session_id, workspace_id)
    if locked["archived_at"] is not None:
        return Ending("terminated", locked["last_seq"], wake=False)
    _refuse_while_busy(db, locked, "archived")
    if locked["ended_at"] is None:
        _end(db, locked, {"observed": True, "detail": "archived while idle", "by": "waystation"})
        _insert_intent(db, locked, "archive")
    locked.set(archived_at=locked.now, updated_at=locked.now)
    locked.save(db)
    return Ending("terminated", locked["last_seq"], wake=True)


def delete(db: Connection, session_id: str, workspace_id: str) -> Ending:
    """Make an idle session unknown at once; its native session is closed and its content erased soon after.

    Raises:
        NotFoundError: no such session in the workspace.
        InvalidRequestError: it is running, or messages are pending.
    """
    locked = lock_visible(db, session_id, workspace_id)
    _refuse_while_busy(db, locked, "deleted")
    void_asks(db, session_id)
    work.end(db, locked)
    _insert_intent(db, locked, "delete")
    ended_at = locked["ended_at"] or locked.now
    locked.set(deleted_at=locked.now, stopping_at=locked.now, ended_at=ended_at, status="terminated")
    locked.set(moved_at=locked.now, updated_at=locked.now)
    locked.save(db)
    return Ending("deleted", locked["last_seq"], wake=True)


def _refuse_while_busy(db: Connection, locked: LockedSession, verb: str) -> None:
    if locked["open_turn_id"] is not None:
        raise InvalidRequestError(f"the session is running and cannot be {verb}; stop it, or wait until it is idle")
    stopping = locked["stopping_at"] is not None and locked["ended_at"] is None
    pending = db.execute(
        sa.select(sa.exists().where(inputs.c.session_id == locked.id, inputs.c.state == "queued"))
    ).scalar_one()
    if pending or stopping:
        raise InvalidRequestError(
            f"the session has work pending and cannot be {verb}; stop it, or wait until it is idle"
        )


def _insert_intent(db: Connection, locked: LockedSession, kind: str) -> None:
    db.execute(
        sa.insert(intents).values(id=new_id("int"), session_id=locked.id, kind=kind, created_at=locked.now, attempts=0)
    )


def _end(db: Connection, locked: LockedSession, end: Json) -> None:
    void_asks(db, locked.id)
    work.end(db, locked)
    event_log.append_own(db, locked, [("session.status_terminated", {})])
    locked.set(status="terminated", ended_at=locked.now, stopping_at=locked["stopping_at"] or locked.now, end=end)
    locked.set(not_before=None, held=None, moved_at=locked.now, updated_at=locked.now)


def end_stopped(db: Connection, session_id: str, *, observed: bool, detail: str, by: str) -> int:
    """End a session that was told to stop, under a new fence; return the last seq. May be repeated."""
    locked = event_log.lock_and_fence(db, session_id)
    if locked["ended_at"] is None:
        row = _open_turn(db, locked)
        if row is not None:
            close_locked(db, locked, row, Closing("end_turn", interrupted=True))
        _handle(db, locked, [intent for intent in _unhandled(db, session_id) if intent["kind"] == "interrupt"])
        _end(db, locked, {"observed": observed, "detail": detail, "by": by})
        locked.save(db)
    return int(locked["last_seq"])


def finish_interrupt(db: Connection, session_id: str, intent_id: str) -> int | None:
    """Finish an interrupt that finds no native turn; return the new last seq, or None if a turn has it in hand.

    Void when the turn it names is done. A turn whose send is not decided, or was refused, ends without being sent. Open
    approvals are void and the session is idle.
    """
    locked = event_log.lock(db, session_id)
    intent = _intent(db, intent_id)
    if intent is None or intent["handled_at"] is not None:
        return int(locked["last_seq"])
    row = _open_turn(db, locked)
    if row is not None and row["id"] == intent["turn_id"]:
        if row["phase"] == "sent" or (row["attempts"] > 0 and row["send_outcome"] != "refused"):
            return None
        locked.set(fence=locked["fence"] + 1)
        close_locked(db, locked, row, Closing("end_turn", interrupted=True))
        return int(locked["last_seq"])
    _handle(db, locked, [intent])
    if row is None and has_open_asks(db, session_id):
        void_asks(db, session_id)
        event_log.append_own(db, locked, [("session.status_idle", {"stop_reason": {"type": "end_turn"}})])
    locked.set(moved_at=locked.now)
    locked.save(db)
    return int(locked["last_seq"])


def finish(db: Connection, session_id: str, intent_id: str) -> None:
    """Mark an intent as carried out."""
    locked = event_log.lock(db, session_id)
    db.execute(sa.update(intents).where(intents.c.id == intent_id).values(handled_at=locked.now))


def try_again(db: Connection, intent_id: str, delay_s: float, *, observed: bool) -> None:
    """Note one native call for an intent, and leave it alone until `delay_s` from now."""
    changes: Json = {"attempts": intents.c.attempts + 1, "retry_at": now_us() + int(delay_s * 1e6)}
    if observed:
        changes["observed_at"] = now_us()
    db.execute(sa.update(intents).where(intents.c.id == intent_id).values(**changes))


def erase(db: Connection, session_id: str) -> None:
    """Erase what a deleted session held; only its tombstone stays."""
    erase_resources(db, session_id)
    db.execute(
        sa.update(sessions)
        .where(sessions.c.id == session_id)
        .values(agent={}, agent_options={}, title=None, metadata={}, native=None, usage={}, end=None)
    )
    for table in (events, inputs, asks, turns, vendor_events, intents, stored_answers, environment_work):
        db.execute(sa.delete(table).where(table.c.session_id == session_id))


def _open_turn(db: Connection, locked: LockedSession) -> Json | None:
    if locked["open_turn_id"] is None:
        return None
    return dict(db.execute(sa.select(turns).where(turns.c.id == locked["open_turn_id"])).mappings().one())


def _intent(db: Connection, intent_id: str) -> sa.RowMapping | None:
    return db.execute(sa.select(intents).where(intents.c.id == intent_id)).mappings().one_or_none()


def _unhandled(db: Connection, session_id: str) -> Sequence[sa.RowMapping]:
    return (
        db.execute(sa.select(intents).where(intents.c.session_id == session_id, intents.c.handled_at.is_(None)))
        .mappings()
        .all()
    )


def _handle(db: Connection, locked: LockedSession, done: Sequence[sa.RowMapping]) -> None:
    """Mark interrupts as handled and tell their events as processed."""
    if done:
        ids = [intent["id"] for intent in done]
        db.execute(sa.update(intents).where(intents.c.id.in_(ids)).values(handled_at=locked.now))
        tell_processed(db, locked, [intent["event_id"] for intent in done if intent["event_id"]], None)

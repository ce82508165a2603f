"""The one door for input: routes, schedules, triggers and sub-agents all come through `accept`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from protocol.errors import ApiError, InvalidRequestError, NotFoundError
from protocol.ids import new_id
from protocol.threads import primary_thread_id
from store import event_log, work
from store.claims import tell_processed
from store.event_log import LockedSession, NewFrame
from store.tables import ASKED, QUEUED, asks, inputs, intents

Json = dict[str, Any]

_ANSWERS = {
    "user.tool_result": ("tool_use_id", ("agent.tool_use",)),
    "user.tool_confirmation": ("tool_use_id", ("agent.tool_use", "agent.mcp_tool_use")),
    "user.custom_tool_result": ("custom_tool_use_id", ("agent.custom_tool_use",)),
}


@dataclass(frozen=True, slots=True)
class Input:
    """One validated user event; `payload` has the API's response shape without `id`, `type` and `processed_at`."""

    type: str
    payload: Json


@dataclass(frozen=True, slots=True)
class Accepted:
    """What was stored: the API's events in request order, and whether the session must be woken for them."""

    events: list[Json]
    last_seq: int
    wake: bool
    signal: bool
    """Whether a wake must reach a workflow that is busy with a turn: there is an intent."""


class TooManyQueuedError(ApiError):
    """The session's queue is full; nothing was stored."""

    status = 429
    type = "rate_limit_error"
    retryable = False


_COUNT_QUEUED = sa.select(sa.func.count()).where(inputs.c.session_id == sa.bindparam("session"), QUEUED)
_INSERT_INPUT = sa.insert(inputs)
_HAS_ASKS = sa.select(sa.exists().where(asks.c.session_id == sa.bindparam("session"), ASKED))


def accept(db: Connection, session_id: str, workspace_id: str, batch: Sequence[Input], *, max_queued: int) -> Accepted:
    """Store inputs of a session, all or none; the commit is the promise that each will be carried out or told.

    Raises:
        NotFoundError: no such session in the workspace.
        InvalidRequestError: the session takes no input, or an answer answers nothing that is open.
        TooManyQueuedError: more than `max_queued` inputs would wait.
    """
    locked = lock_visible(db, session_id, workspace_id)
    _refuse_when_ended(locked)
    waiting = db.execute(_COUNT_QUEUED, {"session": locked.id}).scalar_one()
    return _accept(db, locked, batch, waiting, max_queued)


def accept_initial(db: Connection, created: LockedSession, batch: Sequence[Input], *, max_queued: int) -> Accepted:
    """Store the first inputs of a session made in the same transaction, as `accept` does.

    Raises:
        InvalidRequestError: an answer, which can answer nothing yet.
        TooManyQueuedError: more than `max_queued` inputs would wait.
    """
    return _accept(db, created, batch, 0, max_queued)


def _accept(db: Connection, locked: LockedSession, batch: Sequence[Input], waiting: int, max_queued: int) -> Accepted:
    if waiting + len(batch) > max_queued:
        raise TooManyQueuedError(
            f"{waiting} events already wait in this session and {max_queued} may; wait until it has worked some off"
        )
    open_turn = locked["open_turn_id"]
    frames = [NewFrame(item.type, item.payload, queued=True) for item in batch]
    first_seq = locked["last_seq"] + 1
    event_log.append_frames(db, locked, frames)
    for number, (item, frame) in enumerate(zip(batch, frames, strict=True)):
        _store(db, locked, item, frame.event_id, first_seq + number)
    if any(item.type in _ANSWERS for item in batch):
        _tell_what_remains(db, locked)
    released = locked["held"] is not None
    if released:
        locked.set(held=None, not_before=None)
    locked.set(moved_at=locked.now, updated_at=locked.now)
    locked.save(db)
    signal = any(item.type == "user.interrupt" for item in batch)
    return Accepted(
        events=[{"type": frame.type, "id": frame.event_id, "processed_at": None, **frame.payload} for frame in frames],
        last_seq=locked["last_seq"],
        wake=signal or released or open_turn is None,
        signal=signal,
    )


def lock_visible(db: Connection, session_id: str, workspace_id: str, *, whole: bool = False) -> LockedSession:
    """Lock a session that the workspace can see; `whole` reads its large columns, too.

    Raises:
        NotFoundError: there is none by that id, or it was deleted, or it is another workspace's.
    """
    try:
        locked = event_log.lock(db, session_id, whole=whole)
    except event_log.SessionGoneError:
        raise NotFoundError(f"no session {session_id!r}") from None
    if locked["workspace_id"] != workspace_id or locked["deleted_at"] is not None:
        raise NotFoundError(f"no session {session_id!r}")
    return locked


def _refuse_when_ended(locked: LockedSession) -> None:
    if locked["archived_at"] is not None:
        raise InvalidRequestError("the session is archived and takes no events; create a new session")
    if locked["ended_at"] is not None or locked["stopping_at"] is not None:
        raise InvalidRequestError("the session was stopped and takes no events; create a new session")


def _store(db: Connection, locked: LockedSession, item: Input, event_id: str, seq: int) -> None:
    if item.type == "user.interrupt":
        _check_thread(locked.id, item.payload.get("session_thread_id"))
        _store_interrupt(db, locked, event_id)
    elif item.type in _ANSWERS:
        _store_answer(db, locked, item, event_id, seq)
    else:
        kind = "system" if item.type == "system.message" else "message"
        if kind == "system" and has_open_asks(db, locked.id):
            raise InvalidRequestError("a system.message cannot be sent while the session requires action; answer first")
        _insert_input(db, locked, event_id, seq, kind, None)


def _check_thread(session_id: str, thread_id: str | None) -> None:
    if thread_id not in (None, primary_thread_id(session_id)):
        raise InvalidRequestError(f"session_thread_id {thread_id!r} is no thread of this session")


def _store_interrupt(db: Connection, locked: LockedSession, event_id: str) -> None:
    db.execute(
        sa.insert(intents).values(
            id=new_id("int"),
            session_id=locked.id,
            kind="interrupt",
            turn_id=locked["open_turn_id"],
            event_id=event_id,
            created_at=locked.now,
            attempts=0,
        )
    )


def _store_answer(db: Connection, locked: LockedSession, item: Input, event_id: str, seq: int) -> None:
    field, types = _ANSWERS[item.type]
    ask_id = item.payload[field]
    ask = db.execute(
        sa.select(asks.c.state, asks.c.type, asks.c.client_tool).where(
            asks.c.session_id == locked.id, asks.c.event_id == ask_id
        )
    ).one_or_none()
    if ask is None or ask.type not in types or (item.type == "user.tool_result" and ask.client_tool is None):
        raise InvalidRequestError(f"{field} {ask_id!r} names no tool use of this session that waits for a {item.type}")
    if ask.state != "open":
        raise InvalidRequestError(f"{field} {ask_id!r} was answered already, or is void; each is answered once")
    if ask.client_tool is not None and _wait_goes_on(db, locked, item, event_id, ask_id, ask.client_tool):
        return
    db.execute(sa.update(asks).where(asks.c.event_id == ask_id).values(state="answered"))
    _insert_input(db, locked, event_id, seq, "answer", ask_id)


def _wait_goes_on(
    db: Connection, locked: LockedSession, item: Input, event_id: str, ask_id: str, client_tool: str
) -> bool:
    """Take a confirmation of a tool that the client runs; return whether its result is still to come.

    Only a denial goes to the runtime: what is allowed, it learns by the result.
    """
    confirms = item.type == "user.tool_confirmation"
    if confirms and client_tool != "confirm":
        raise InvalidRequestError(f"tool_use_id {ask_id!r} waits for a user.tool_result, and for no confirmation")
    if not confirms and client_tool == "confirm":
        raise InvalidRequestError(f"tool_use_id {ask_id!r} must be allowed by a user.tool_confirmation first")
    if not confirms or item.payload["result"] == "deny":
        return False
    db.execute(sa.update(asks).where(asks.c.event_id == ask_id).values(client_tool="run"))
    tell_processed(db, locked, [event_id], None)
    work.queue(db, locked)
    return True


def _tell_what_remains(db: Connection, locked: LockedSession) -> None:
    """Say again that the session requires action while a set of answers is incomplete."""
    if locked["open_turn_id"] is not None or locked["single_answers"]:
        return
    remaining = open_asks(db, locked.id)
    if remaining:
        stop_reason = {"type": "requires_action", "event_ids": remaining}
        event_log.append_own(db, locked, [("session.status_idle", {"stop_reason": stop_reason})])


def open_asks(db: Connection, session_id: str) -> list[str]:
    """Return the ids of tool uses that nobody has answered, in the order they were asked."""
    return _asks_in(db, session_id, "open")


def answered_asks(db: Connection, session_id: str) -> list[str]:
    """Return the ids of tool uses whose answers were not claimed yet, in the order they were asked."""
    return _asks_in(db, session_id, "answered")


def _asks_in(db: Connection, session_id: str, state: str) -> list[str]:
    statement = sa.select(asks.c.event_id).where(asks.c.session_id == session_id, ASKED, asks.c.state == state)
    return list(db.execute(statement.order_by(asks.c.position)).scalars())


def _insert_input(
    db: Connection, locked: LockedSession, event_id: str, seq: int, kind: str, ask_id: str | None
) -> None:
    row = {"event_id": event_id, "session_id": locked.id, "seq": seq, "kind": kind, "state": "queued", "ask_id": ask_id}
    db.execute(_INSERT_INPUT, [row])


def has_open_asks(db: Connection, session_id: str) -> bool:
    """Return whether the session waits for an answer."""
    return bool(db.execute(_HAS_ASKS, {"session": session_id}).scalar_one())

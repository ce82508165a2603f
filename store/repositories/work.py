"""Work of self-hosted environments: given to one worker at a time, for as long as it keeps its lease."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, RowMapping

from protocol.errors import ConflictError, InvalidRequestError, NotFoundError
from protocol.timestamps import to_rfc3339
from store import event_log
from store import work as needs
from store.clock import now_us, read_now
from store.repositories.keyset import Position, newest_first
from store.tables import environment_work

Json = dict[str, Any]

NO_HEARTBEAT = "NO_HEARTBEAT"
_rows = environment_work.c
_OPEN = _rows.state != sa.literal_column("'stopped'")
_ENVIRONMENT = _rows.environment_id == sa.bindparam("environment")
_EXPIRED = _rows.lease_expires_at <= now_us()
_HELD = _rows.state.in_(("starting", "active"))
_QUEUED = _rows.state == "queued"
_FREE = sa.or_(
    sa.and_(_QUEUED, _rows.polled_at.is_(None), _rows.available_at <= now_us()),
    sa.and_(_QUEUED, _rows.polled_at <= now_us() - sa.bindparam("unacknowledged_us", type_=sa.BigInteger)),
    sa.and_(_HELD, _EXPIRED),
)
_NEXT = sa.select(_rows.id).where(_ENVIRONMENT, _OPEN, _FREE).order_by(_rows.created_at, _rows.id).limit(1)
_TAKE = (
    sa.update(environment_work)
    # Two polls at once take two items, and neither waits for the other.
    .where(_rows.id == _NEXT.with_for_update(skip_locked=True).scalar_subquery())
    .values(
        state="queued",
        polled_at=now_us(),
        acknowledged_at=None,
        started_at=None,
        latest_heartbeat_at=None,
        lease_expires_at=None,
        ttl_s=needs.DEFAULT_TTL_S,
    )
    .returning(environment_work)
)
_ABANDONED = sa.select(_rows.id).where(_ENVIRONMENT, _OPEN, _rows.state == "stopping", _EXPIRED).limit(10)
_STATS = sa.select(
    sa.func.count().filter(_QUEUED, _rows.polled_at.is_(None)).label("depth"),
    sa.func.count().filter(_QUEUED, _rows.polled_at.is_not(None)).label("pending"),
    sa.func.min(_rows.created_at).filter(_QUEUED).label("oldest"),
).where(_ENVIRONMENT, _OPEN)


class HeartbeatPreconditionError(InvalidRequestError):
    """The lease is not where the worker last saw it: another may hold it."""

    status = 412


def has_free(db: Connection, environment_id: str, unacknowledged_us: int) -> tuple[bool, list[str]]:
    """Return whether a poll would get something, and work whose worker died while it was being stopped."""
    this = {"environment": environment_id}
    found = db.execute(_NEXT, {**this, "unacknowledged_us": unacknowledged_us}).first()
    return found is not None, list(db.execute(_ABANDONED, this).scalars())


def take(db: Connection, environment_id: str, unacknowledged_us: int) -> RowMapping | None:
    """Give the oldest free work to the caller alone.

    Free is what nobody took, what was taken `unacknowledged_us` ago and not acknowledged, or whose lease is over.
    """
    named = {"environment": environment_id, "unacknowledged_us": unacknowledged_us}
    return db.execute(_TAKE, named).mappings().first()


def get_work(db: Connection, workspace_id: str, environment_id: str, work_id: str, *, lock: bool = False) -> RowMapping:
    """Return one piece of work; with `lock`, nobody else changes it until the transaction ends.

    Raises:
        NotFoundError: there is no such work in the environment.
    """
    statement = sa.select(environment_work).where(
        _rows.workspace_id == workspace_id, _rows.environment_id == environment_id, _rows.id == work_id
    )
    row = db.execute(statement.with_for_update() if lock else statement).mappings().first()
    if row is None:
        raise NotFoundError(f"no work {work_id!r} in environment {environment_id!r}")
    return row


def list_work(
    db: Connection, workspace_id: str, environment_id: str, *, limit: int, after: Position | None
) -> Sequence[RowMapping]:
    """Return work of an environment, newest first, and one more than the limit if there is more."""
    statement = sa.select(environment_work).where(
        _rows.workspace_id == workspace_id, _rows.environment_id == environment_id
    )
    return db.execute(newest_first(statement, environment_work, limit, after)).mappings().all()


def read_stats(db: Connection, environment_id: str) -> RowMapping:
    """Return `depth`, `pending` and `oldest` of an environment's queue."""
    return db.execute(_STATS, {"environment": environment_id}).mappings().one()


def update_work(db: Connection, work_id: str, **values: Any) -> RowMapping:
    """Set columns of work that the caller has locked."""
    statement = sa.update(environment_work).where(_rows.id == work_id).values(**values).returning(environment_work)
    return db.execute(statement).mappings().one()


def acknowledge(db: Connection, workspace_id: str, environment_id: str, work_id: str) -> RowMapping:
    """Begin the lease of work that was polled; again, it changes nothing.

    Raises:
        NotFoundError: there is no such work in the environment.
        ConflictError: it is stopped.
    """
    row = get_work(db, workspace_id, environment_id, work_id, lock=True)
    _refuse_stopped(row)
    if row["state"] != "queued":
        return row
    lease_expires_at = now_us() + row["ttl_s"] * 1_000_000
    return update_work(db, work_id, state="starting", acknowledged_at=now_us(), lease_expires_at=lease_expires_at)


def heartbeat(
    db: Connection, workspace_id: str, environment_id: str, work_id: str, expected: str | None, ttl_s: int | None
) -> RowMapping:
    """Extend the lease; work that is stopping or stopped stays as it is.

    `expected`: the last heartbeat as it was answered, `NO_HEARTBEAT` before the first, or None for whatever it is.

    Raises:
        NotFoundError: there is no such work in the environment.
        HeartbeatPreconditionError: the last heartbeat is another, or the work is not acknowledged.
    """
    row = get_work(db, workspace_id, environment_id, work_id, lock=True)
    if row["state"] in ("stopping", "stopped"):
        return row
    last = row["latest_heartbeat_at"]
    if row["state"] == "queued" or (expected is not None and expected != _told(last)):
        raise HeartbeatPreconditionError(
            "the work is not yours, or not any more: its last heartbeat is another, or it waits to be acknowledged",
            error_code="heartbeat_precondition_failed",
            details={"current_state": _lease_state(row)},
        )
    now = max(read_now(db), (last or 0) + 1)
    ttl = ttl_s or row["ttl_s"]
    changes: Json = {"state": "active", "latest_heartbeat_at": now, "ttl_s": ttl}
    if row["started_at"] is None:
        changes["started_at"] = now
    return update_work(db, work_id, **changes, lease_expires_at=now + ttl * 1_000_000)


def stop(db: Connection, workspace_id: str, environment_id: str, work_id: str, *, force: bool) -> RowMapping:
    """Have the worker end it, or with `force` count it as ended; a session that still waits gets new work.

    Raises:
        NotFoundError: there is no such work in the environment.
        ConflictError: it is stopped already.
    """
    session_id = get_work(db, workspace_id, environment_id, work_id)["session_id"]
    locked = event_log.lock(db, session_id)
    row = get_work(db, workspace_id, environment_id, work_id, lock=True)
    _refuse_stopped(row)
    requested_at = row["stop_requested_at"] or locked.now
    if not force and row["state"] != "queued":
        return update_work(db, work_id, state="stopping", stop_requested_at=requested_at)
    stopped = update_work(db, work_id, state="stopped", stop_requested_at=requested_at, stopped_at=locked.now)
    needs.queue(db, locked, delay_us=needs.AGAIN_US)
    return stopped


def stop_abandoned(db: Connection, workspace_id: str, environment_id: str, work_id: str) -> None:
    """Count work as stopped whose worker died while it was stopping."""
    try:
        stop(db, workspace_id, environment_id, work_id, force=True)
    except (ConflictError, NotFoundError):
        return  # another poll was quicker, or its session was erased


def _lease_state(row: RowMapping) -> Json:
    """Return the lease as it stands after a heartbeat that was refused."""
    last = row["latest_heartbeat_at"]
    return {
        "last_heartbeat": None if last is None else to_rfc3339(last),
        "lease_extended": False,
        "state": row["state"],
        "ttl_seconds": row["ttl_s"],
    }


def _told(heartbeat_at: int | None) -> str:
    return NO_HEARTBEAT if heartbeat_at is None else to_rfc3339(heartbeat_at)


def _refuse_stopped(row: RowMapping) -> None:
    if row["state"] == "stopped":
        raise ConflictError(f"work {row['id']!r} is stopped already")

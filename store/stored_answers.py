"""Answers kept so that a POST that is sent again has one effect, by `Idempotency-Key` or by what an SDK's resend shows.

Each answer remembers the highest count it was given to, so of two equal messages each keeps its own resends.
"""

import hashlib
import itertools
import time
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from protocol.errors import ConflictError
from protocol.ids import new_id
from store.clock import now_us
from store.resends import Attempt, Given, repeats, was_overtaken
from store.tables import stored_answers

Json = dict[str, Any]

KEY_LIFE_US = 24 * 3600 * 1_000_000
RESEND_LIFE_US = 15 * 60 * 1_000_000

_PURGE_EVERY = 50
_PURGE_AT_MOST = 200

_rows = stored_answers.c
_elapsed: sa.BindParameter[int] = sa.bindparam("elapsed", type_=sa.BigInteger)
_GIVEN = ("id", "api_key_id", "idempotency_key", "fingerprint", "retry_count", "timeout_s", "session_id", "body")
_KEEP = sa.insert(stored_answers).values(
    **{name: sa.bindparam(name, type_=_rows[name].type) for name in _GIVEN},
    received_at=now_us() - _elapsed,
    answered_at=now_us(),
    status=200,
)
_CANDIDATES = (
    sa.select(_rows.id, _rows.retry_count, _rows.received_at, _rows.answered_at, _rows.timeout_s, now_us().label("now"))
    .where(
        _rows.fingerprint == sa.bindparam("request"),
        _rows.idempotency_key.is_(None),
        _rows.answered_at > now_us() - RESEND_LIFE_US,
        sa.or_(_rows.retry_count < sa.bindparam("count"), _rows.received_at > now_us() - _elapsed),
    )
    .order_by(_rows.answered_at, _rows.id)
)


def find(db: Connection, attempt: Attempt) -> Json | None:
    """Return what is stored for the request this attempt repeats, or None; equal attempts wait for this transaction.

    Raises:
        ConflictError: the `Idempotency-Key` was used for another request.
    """
    _serialise(db, attempt)
    if attempt.idempotency_key is not None:
        return _find_by_key(db, attempt)
    return _find_by_count(db, attempt)


def keep(db: Connection, attempt: Attempt, body: Json, *, session_id: str | None = None) -> None:
    """Store what answers this attempt and its resends, in the transaction that has their effect.

    `session_id` names the session or memory version it tells of, with which it is erased.
    """
    row = {
        "id": new_id("ans"),
        "api_key_id": attempt.api_key_id,
        "idempotency_key": attempt.idempotency_key,
        "fingerprint": attempt.fingerprint,
        "retry_count": attempt.retry_count,
        "timeout_s": attempt.timeout_s,
        "session_id": session_id,
        "body": body,
    }
    db.execute(_KEEP, {**row, "elapsed": _elapsed_us(attempt)})
    if next(_kept) % _PURGE_EVERY == 0:
        purge(db)


_kept = itertools.count(1)


def purge(db: Connection) -> None:
    """Delete answers whose time is over, a bounded number of each kind."""
    for expired in (
        _rows.answered_at < now_us() - KEY_LIFE_US,
        sa.and_(
            # The lower bound spares a walk over the keys of a whole day.
            _rows.answered_at.between(now_us() - 4 * RESEND_LIFE_US, now_us() - RESEND_LIFE_US),
            _rows.idempotency_key.is_(None),
        ),
    ):
        oldest = sa.select(_rows.id).where(expired).order_by(_rows.answered_at).limit(_PURGE_AT_MOST)
        chosen = oldest.with_for_update(skip_locked=True)
        db.execute(sa.delete(stored_answers).where(_rows.id.in_(chosen)))


def _serialise(db: Connection, attempt: Attempt) -> None:
    """Let equal attempts pass one after the other; SQLite has one writer anyway."""
    if db.dialect.name != "postgresql":
        return
    name = attempt.fingerprint
    if attempt.idempotency_key is not None:
        name = f"{attempt.api_key_id}\0{attempt.idempotency_key}"
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)
    db.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.literal(number, sa.BigInteger))))


def _elapsed_us(attempt: Attempt) -> int:
    """Return microseconds since the attempt arrived, by which its arrival is told on the database's clock."""
    return int((time.monotonic() - attempt.arrived) * 1_000_000)


def _find_by_key(db: Connection, attempt: Attempt) -> Json | None:
    named = sa.and_(_rows.api_key_id == attempt.api_key_id, _rows.idempotency_key == attempt.idempotency_key)
    is_over = (_rows.answered_at <= now_us() - KEY_LIFE_US).label("is_over")
    row = db.execute(sa.select(_rows.fingerprint, _rows.body, is_over).where(named)).one_or_none()
    if row is None:
        return None
    if row.is_over:
        db.execute(sa.delete(stored_answers).where(named))
        return None
    if row.fingerprint != attempt.fingerprint:
        raise ConflictError(
            "this `Idempotency-Key` was used with another path or body; use a new key for a new request",
            error_code="idempotency_key_reused",
        )
    body: Json = row.body
    return body


def _find_by_count(db: Connection, attempt: Attempt) -> Json | None:
    elapsed = _elapsed_us(attempt)
    named = {"request": attempt.fingerprint, "count": attempt.retry_count, "elapsed": elapsed}
    for row in db.execute(_CANDIDATES, named).all():
        arrival = row.now - elapsed
        given = Given(row.retry_count, row.received_at, row.answered_at, row.timeout_s)
        if repeats(attempt.retry_count, arrival, given):
            return _give(db, row.id, retry_count=attempt.retry_count, received_at=arrival, answered_at=row.now)
        if was_overtaken(attempt.retry_count, arrival, given):
            # With the earlier arrival noted, a second attempt in the same place does not take this answer as well.
            return _give(db, row.id, received_at=arrival)
    return None


def _give(db: Connection, answer_id: str, **changes: int) -> Json:
    body: Json = db.execute(
        sa.update(stored_answers).where(_rows.id == answer_id).values(**changes).returning(_rows.body)
    ).scalar_one()
    return body

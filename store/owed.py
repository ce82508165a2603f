"""What a session owes, as SQL: the one predicate that claim, close and reconciler share."""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from store.clock import now_us
from store.tables import ASKED, QUEUED, asks, inputs, intents, sessions, turns

_due = sa.or_(sessions.c.not_before.is_(None), sessions.c.not_before <= now_us())

_ask = asks.c.session_id == sessions.c.id
_any_ask = sa.exists().where(_ask, ASKED)
_open_ask = sa.exists().where(_ask, ASKED, asks.c.state == "open")
_answered_ask = sa.exists().where(_ask, ASKED, asks.c.state == "answered")
_queued_message = sa.exists().where(inputs.c.session_id == sessions.c.id, QUEUED, inputs.c.kind == "message")

HAS_INTENT = sa.exists().where(
    intents.c.session_id == sessions.c.id,
    intents.c.handled_at.is_(None),
    sa.or_(intents.c.retry_at.is_(None), intents.c.retry_at <= now_us()),
)
"""An interrupt, stop, archive or delete that is due."""
HAS_ANSWERS = sa.and_(_answered_ask, sa.or_(sessions.c.single_answers, sa.not_(_open_ask)))
"""One complete set of answers, or any answer where the runtime takes them singly."""
HAS_MESSAGE = sa.and_(sa.not_(_any_ask), _queued_message)
"""A message, and no approval open before it."""
TAKES_INPUT = sa.and_(sessions.c.stopping_at.is_(None), sessions.c.ended_at.is_(None), sessions.c.held.is_(None))
"""The queue moves: not stopped, not ended, not waiting for a person."""

OWES = sa.or_(
    HAS_INTENT,
    sa.and_(sessions.c.open_turn_id.is_not(None), _due),
    sa.and_(TAKES_INPUT, sessions.c.open_turn_id.is_(None), _due, sa.or_(HAS_ANSWERS, HAS_MESSAGE)),
)
"""The session owes work now."""

_retry_at = (
    sa.select(sa.func.min(intents.c.retry_at))
    .where(intents.c.session_id == sessions.c.id, intents.c.handled_at.is_(None))
    .scalar_subquery()
)

_OUTLOOK = sa.select(
    OWES.label("owes"),
    HAS_INTENT.label("intent"),
    HAS_ANSWERS.label("answers"),
    HAS_MESSAGE.label("message"),
    _any_ask.label("asks"),
    _retry_at.label("retry_at"),
).where(sessions.c.id == sa.bindparam("session"))


def outlook(db: Connection, session_id: str) -> sa.Row[tuple[bool, bool, bool, bool, bool, int | None]]:
    """Return `owes`, and of what kind: `intent`, `answers`, `message`; whether `asks` are open; an intent's `retry_at`.

    Changes to the session's row must be saved before.
    """
    return db.execute(_OUTLOOK, {"session": session_id}).one()


_SHOWN = sa.select(
    sessions.c.id.label("session_id"),
    sessions.c.workspace_id,
    sessions.c.agent_id,
    sessions.c.runtime_alias,
    sessions.c.kind,
)
_SHOWN_OF = _SHOWN.where(sessions.c.id.in_(sa.bindparam("ids", expanding=True)))


def shown(db: Connection, session_ids: Sequence[str]) -> list[dict[str, str]]:
    """Return what the workflows of these sessions are started with: ids, the runtime's alias and kind."""
    return [dict(row) for row in db.execute(_SHOWN_OF, {"ids": list(session_ids)}).mappings()]


def stale(db: Connection, after_us: int, limit: int) -> list[dict[str, str]]:
    """Return sessions that owe work and have not moved for `after_us`, as `shown` does, and whether by an `intent`.

    Each index that is read holds only what is open, so this does not grow with the number of sessions.
    """
    candidates = sa.union(
        sa.select(sessions.c.id).where(sessions.c.open_turn_id.is_not(None)),
        sa.select(inputs.c.session_id).where(QUEUED),
        sa.select(intents.c.session_id).where(intents.c.handled_at.is_(None)),
    ).subquery()
    still = turns.alias()
    alive = sa.exists().where(still.c.id == sessions.c.open_turn_id, still.c.alive_at > now_us() - after_us)
    found = db.execute(
        _SHOWN.add_columns(HAS_INTENT.label("intent"))
        .where(sessions.c.id.in_(sa.select(candidates.c.id)), OWES)
        .where(sessions.c.moved_at < now_us() - after_us, sa.or_(HAS_INTENT, sa.not_(alive)))
        .order_by(sessions.c.moved_at)
        .limit(limit)
    ).mappings()
    return [dict(row) for row in found]

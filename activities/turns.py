"""`run_turn`: claim what the session owes, send it, follow it, close it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from functools import partial

import structlog
from sqlalchemy.exc import SQLAlchemyError
from temporalio import activity

from activities.adapters import Adapters
from activities.following import Follower
from activities.holding import Holding
from activities.laying import Layer
from activities.outcomes import Outcomes
from activities.policy import MOST_FAILURES, backoff_s, error_payload
from activities.sending import Sender
from store import turns
from store.claims import ClaimedTurn, Nothing, claim
from store.engine import Store
from store.event_log import StaleFenceError
from store.live import LiveBus
from workflows.messages import RUN_TURN, SessionOrder, TurnResult

_log = structlog.get_logger()
_BEATS = 3


@contextlib.asynccontextmanager
async def heartbeats() -> AsyncIterator[None]:
    """Heartbeat for the length of the block, a few times in each timeout. Outside an activity nothing happens."""
    timeout = activity.info().heartbeat_timeout if activity.in_activity() else None
    if timeout is None:
        yield
        return
    interval = timeout.total_seconds() / _BEATS
    task = asyncio.create_task(_beat(interval))
    try:
        yield
    finally:
        task.cancel()


async def _beat(interval_s: float) -> None:
    while True:
        # The activity's start is its first sign of life; each further one costs the server a write.
        await asyncio.sleep(interval_s)
        activity.heartbeat()


class TurnActivities:
    """The activity of turn queues."""

    def __init__(self, store: Store, adapters: Adapters, live: LiveBus, holding: Holding, layer: Layer) -> None:
        self._store = store
        self._layer = layer
        self._adapters = adapters
        self._live = live
        self._holding = holding

    @activity.defn(name=RUN_TURN)
    async def run_turn(self, order: SessionOrder) -> TurnResult:
        """Work on the session's next turn until it is closed, postponed or given back."""
        async with heartbeats():
            keyed = self._adapters.keyed()
            claimed = await self._store.write(partial(claim, session_id=order.session_id, keyed=keyed))
            if isinstance(claimed, Nothing):
                return TurnResult(claimed.state, claimed.session_state, claimed.delay_s)
            self._live.announce(claimed.session_id, claimed.session["last_seq"])
            try:
                return await self._work(claimed)
            except StaleFenceError:
                # Another claim has it now, or the session ended: whoever orders next finds out which.
                _log.info("turn_superseded", session_id=claimed.session_id, turn_id=claimed.id)
                return TurnResult("more")

    async def _work(self, turn: ClaimedTurn) -> TurnResult:
        outcomes = Outcomes(self._store, self._live, turn)
        try:
            return await self._send_and_follow(turn, outcomes)
        except (StaleFenceError, SQLAlchemyError):
            raise
        except Exception as error:  # noqa: BLE001 - logged with its traceback, and told on the session
            # No adapter knows it, so it is a defect, here or there: it is told, tried again, and not for ever.
            _log.exception("turn_failed", session_id=turn.session_id, turn_id=turn.id)
            return await self._tell_defect(turn, outcomes, error)

    async def _tell_defect(self, turn: ClaimedTurn, outcomes: Outcomes, error: Exception) -> TurnResult:
        message = f"an unexpected error ({type(error).__name__}) stopped the turn; the worker's log has it"
        count = turn.row["failures"].get("unexpected", 0) + 1
        if count <= MOST_FAILURES["unexpected"]:
            told = error_payload("unknown_error", message, "retrying")
            return await outcomes.postpone(backoff_s(count), "unexpected", told, refused=False)
        row = turn.row
        batch = turns.Batch(cursor=row["cursor"], state=row["state"], idless=row["idless"])
        told = error_payload("unknown_error", message, "exhausted")
        return await outcomes.close(batch, turns.Closing("retries_exhausted", told))

    async def _send_and_follow(self, turn: ClaimedTurn, outcomes: Outcomes) -> TurnResult:
        runtime = await self._adapters.get(turn.session["runtime_id"])
        _log.info("turn_claimed", session_id=turn.session_id, turn_id=turn.id, phase=turn.row["phase"])
        with self._holding.hold(turn.session_id, turn.id) as held:
            sender = Sender(self._store, runtime, turn, held, outcomes, self._layer)
            if turn.row["phase"] == "sending":
                result = await sender.send()
                if result is not None:
                    return result
            follower = Follower(runtime, turn, sender.session(), held, outcomes, attach=not sender.made)
            return await follower.follow()

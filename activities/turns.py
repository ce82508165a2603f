"""`run_turn`: claim what the session owes, send it, follow it, close it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from functools import partial

import structlog
from temporalio import activity

from activities.adapters import Adapters
from activities.following import Follower
from activities.holding import Holding
from activities.outcomes import Outcomes
from activities.sending import Sender
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
        activity.heartbeat()
        await asyncio.sleep(interval_s)


class TurnActivities:
    """The activity of turn queues."""

    def __init__(self, store: Store, adapters: Adapters, live: LiveBus, holding: Holding) -> None:
        self._store = store
        self._adapters = adapters
        self._live = live
        self._holding = holding

    @activity.defn(name=RUN_TURN)
    async def run_turn(self, order: SessionOrder) -> TurnResult:
        """Work on the session's next turn until it is closed, postponed or given back."""
        async with heartbeats():
            claimed = await self._store.write(partial(claim, session_id=order.session_id))
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
        runtime = await self._adapters.get(turn.session["runtime_id"])
        outcomes = Outcomes(self._store, self._live, turn)
        _log.info("turn_claimed", session_id=turn.session_id, turn_id=turn.id, phase=turn.row["phase"])
        with self._holding.hold(turn.session_id, turn.id) as held:
            sender = Sender(self._store, runtime, turn, held, outcomes)
            if turn.row["phase"] == "sending":
                result = await sender.send()
                if result is not None:
                    return result
            follower = Follower(runtime, turn, sender.session(), held, outcomes, attach=not sender.made)
            return await follower.follow()

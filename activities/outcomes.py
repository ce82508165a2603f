"""Ending or postponing a turn, and telling the live bus of what was written."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import structlog

from activities.policy import LINGER_S
from store import turns
from store.claims import ClaimedTurn
from store.engine import Store
from store.live import LiveBus
from workflows.messages import TurnResult

Json = dict[str, Any]

_log = structlog.get_logger()


class Outcomes:
    """Writes for one turn, each under its fence, and announces each write after its commit."""

    def __init__(self, store: Store, live: LiveBus, turn: ClaimedTurn) -> None:
        self._store = store
        self._live = live
        self._turn = turn

    def preview(self, previews: Sequence[Json]) -> None:
        """Show pieces of events that are still being made."""
        if previews:
            self._live.preview(self._turn.session_id, previews)

    async def append(self, batch: turns.Batch) -> None:
        """Store a batch."""
        seq = await self._store.write(partial(turns.append, turn=self._turn, batch=batch))
        self._live.announce(self._turn.session_id, seq)

    async def close(self, batch: turns.Batch, closing: turns.Closing) -> TurnResult:
        """Store the last batch, end the turn, and say whether the session owes more."""
        closed = await self._store.write(partial(turns.close, turn=self._turn, batch=batch, closing=closing))
        self._live.announce(self._turn.session_id, closed.last_seq)
        self._log("turn_closed", stop_reason=closing.stop_reason, failed=closing.error is not None)
        if closed.more:
            return TurnResult("more", closed.session_state)
        lingers = self._turn.brisk and closed.session_state == "idle"
        return TurnResult("idle", closed.session_state, linger_s=LINGER_S if lingers else 0.0)

    async def postpone(self, delay_s: float, kind: str, error: Json | None, *, refused: bool) -> TurnResult:
        """Give the turn back until later."""
        seq = await self._store.write(
            partial(turns.postpone, turn=self._turn, delay_s=delay_s, kind=kind, error=error, refused=refused)
        )
        self._live.announce(self._turn.session_id, seq)
        self._log("turn_postponed", kind=kind, delay_s=round(delay_s, 3))
        return TurnResult("wait", "rescheduling", delay_s)

    def _log(self, event: str, **fields: Any) -> None:
        _log.info(event, session_id=self._turn.session_id, turn_id=self._turn.id, **fields)

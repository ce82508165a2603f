"""The turns this process holds: their liveness is told, and their intents are looked for, for all of them at once."""

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from functools import partial

import sqlalchemy as sa
import structlog
from sqlalchemy.engine import Connection

from store.clock import now_us
from store.engine import Store
from store.tables import intents, turns

_log = structlog.get_logger()
_POLL_S = 1.0
_ALIVE_EVERY = 4
_CHUNK = 500


class Held:
    """A turn in hand. `changed` is set when an intent came, or the worker is to end."""

    def __init__(self, session_id: str, turn_id: str) -> None:
        self.session_id = session_id
        self.turn_id = turn_id
        self.intent = False
        self.shutdown = False
        self.changed = asyncio.Event()


class Holding:
    """All turns held by this process."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._held: set[Held] = set()
        self._ending = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to poll."""
        self._task = asyncio.create_task(self._loop(), name="holding")

    async def close(self) -> None:
        """Stop polling."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def begin_shutdown(self) -> None:
        """Tell every holder that the worker is to end."""
        self._ending = True
        for held in self._held:
            held.shutdown = True
            held.changed.set()

    @contextlib.contextmanager
    def hold(self, session_id: str, turn_id: str) -> Iterator[Held]:
        """Hold a turn for the length of the block."""
        held = Held(session_id, turn_id)
        held.shutdown = self._ending
        self._held.add(held)
        try:
            yield held
        finally:
            self._held.discard(held)

    async def _loop(self) -> None:
        rounds = 0
        while True:
            await asyncio.sleep(_POLL_S)
            rounds += 1
            held = list(self._held)
            try:
                for start in range(0, len(held), _CHUNK):
                    await self._look(held[start : start + _CHUNK], tell=rounds % _ALIVE_EVERY == 0)
            except Exception as error:  # noqa: BLE001 - the next round looks again; turns fail by their own writes
                _log.warning("holding_poll_failed", error=type(error).__name__)

    async def _look(self, held: Sequence[Held], *, tell: bool) -> None:
        by_turn = {one.turn_id: one for one in held}
        for turn_id in await self._store.read(partial(_with_intents, turn_ids=list(by_turn))):
            one = by_turn[turn_id]
            if not one.intent:
                one.intent = True
                one.changed.set()
        if tell:
            await self._store.write(partial(_tell_alive, turn_ids=[one.turn_id for one in held]))


def _with_intents(db: Connection, turn_ids: Sequence[str]) -> list[str]:
    """Return those of the turns that an unhandled intent concerns."""
    ending = sa.and_(intents.c.session_id == turns.c.session_id, intents.c.handled_at.is_(None))
    return list(
        db.execute(
            sa.select(turns.c.id)
            .join(intents, ending)
            .where(turns.c.id.in_(turn_ids), sa.or_(intents.c.kind != "interrupt", intents.c.turn_id == turns.c.id))
            .distinct()
        ).scalars()
    )


def _tell_alive(db: Connection, turn_ids: Sequence[str]) -> None:
    db.execute(sa.update(turns).where(turns.c.id.in_(turn_ids)).values(alive_at=now_us()))

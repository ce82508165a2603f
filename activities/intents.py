"""`handle_intents`: interrupts, stops, archives and deletes, carried out on a queue whose slots turns cannot take."""

import asyncio
from functools import partial
from typing import Any, Literal

import sqlalchemy as sa
import structlog
from sqlalchemy.engine import Connection
from temporalio import activity

from activities.adapters import Adapters, RuntimeGoneError
from activities.policy import CLOSE_ATTEMPTS, END_AFTER_INTERRUPT_S, backoff_s, error_payload
from activities.sending import agent_of
from activities.turns import heartbeats
from runtimes.base import Runtime, Session, Turn, UnsupportedCapabilityError
from store import endings, event_log
from store.clock import read_now
from store.engine import Store
from store.live import LiveBus
from store.tables import asks, sessions, turns
from store.turns import pending_intents
from workflows.messages import HANDLE_INTENTS, TELL_NO_WORKER, SessionOrder

Json = dict[str, Any]

_log = structlog.get_logger()
_POLL_S = 0.1
_ASK_OUTRIGHT_S = 3.0


class IntentActivities:
    """The activities of the control queue."""

    def __init__(self, store: Store, adapters: Adapters, live: LiveBus, *, stop_bound_s: float) -> None:
        self._store = store
        self._adapters = adapters
        self._live = live
        self._stop_bound_s = stop_bound_s

    @activity.defn(name=HANDLE_INTENTS)
    async def handle_intents(self, order: SessionOrder) -> None:
        """Carry out every intent of the session that is due, in the order they were accepted."""
        async with heartbeats():
            for intent in await self._store.read(partial(_due_intents, session_id=order.session_id)):
                _log.info("intent", session_id=order.session_id, kind=intent["kind"], attempts=intent["attempts"])
                if intent["kind"] == "interrupt":
                    await self._interrupt(order.session_id, intent)
                elif intent["kind"] == "stop":
                    await self._stop(order.session_id, intent)
                else:
                    await self._close(order.session_id, intent, intent["kind"])

    @activity.defn(name=TELL_NO_WORKER)
    async def tell_no_worker(self, order: SessionOrder) -> None:
        """Tell the session that no worker takes its runtime's turns."""
        seq = await self._store.write(partial(_tell_no_worker, session_id=order.session_id))
        self._live.announce(order.session_id, seq)

    async def _interrupt(self, session_id: str, intent: sa.RowMapping) -> None:
        view = await self._store.read(partial(_view, session_id=session_id))
        asked = view.asks if view.turn is None else []
        if asked and view.session["native"] is not None:
            done = await self._native(view, intent, lambda runtime, session: runtime.cancel_asks(session, asked))
            if not done:
                return
        seq = await self._store.write(partial(endings.finish_interrupt, session_id=session_id, intent_id=intent["id"]))
        if seq is not None:
            self._live.announce(session_id, seq)
        else:
            await self._interrupt_turn(view, intent)

    async def _interrupt_turn(self, view: "_View", intent: sa.RowMapping) -> None:
        """Ask for the native end; whoever follows the turn sees it. Until then a claim may take the turn up."""
        if view.turn is not None and view.turn["phase"] == "sent":
            turn = view.native_turn(view.turn)
            await self._native(view, intent, lambda runtime, session: runtime.interrupt(session, turn))
        else:
            await self._later(intent, 1.0, observed=False)

    async def _stop(self, session_id: str, intent: sa.RowMapping) -> None:
        view = await self._store.read(partial(_view, session_id=session_id))
        if view.session["ended_at"] is None:
            observed, detail = await self._end_turn(view, intent)
            if observed:
                by = "runtime" if view.turn is not None else "waystation"
                ended = partial(endings.end_stopped, session_id=session_id, observed=True, detail=detail, by=by)
                self._live.announce(session_id, await self._store.write(ended))
        await self._close(session_id, intent, "stop")

    async def _end_turn(self, view: "_View", intent: sa.RowMapping) -> tuple[bool, str]:
        """Have an open turn end natively; return whether that was observed, and what was."""
        if view.turn is None:
            return True, "no turn was open"
        if view.turn["phase"] == "sent":
            turn = view.native_turn(view.turn)
            await self._native(view, intent, lambda runtime, session: runtime.interrupt(session, turn), again_s=0.0)
        waited = 0.0
        while waited < self._stop_bound_s:
            await asyncio.sleep(_POLL_S)
            waited += _POLL_S
            now = await self._store.read(partial(_view, session_id=view.session["id"]))
            if now.turn is None:
                return True, "the turn's end was seen in the runtime's events"
            if waited >= _ASK_OUTRIGHT_S and round(waited / _POLL_S) % 10 == 0 and await self._has_ended(now):
                return True, "the runtime said that the turn has ended"
        return False, f"no end was seen within {self._stop_bound_s:g} s"

    async def _has_ended(self, view: "_View") -> bool:
        if view.turn is None or view.turn["phase"] != "sent":
            return False
        try:
            runtime = await self._adapters.get(view.session["runtime_id"])
            snapshot = await runtime.snapshot(view.native_session(), view.native_turn(view.turn))
        except RuntimeGoneError:
            return False
        except Exception as error:  # noqa: BLE001 - the adapter classifies it, and re-raises what it does not know
            _log.info("snapshot_failed", session_id=view.session["id"], detail=runtime.classify(error).message)
            return False
        return snapshot.status in ("ended", "lost")

    async def _close(self, session_id: str, intent: sa.RowMapping, mode: Literal["stop", "archive", "delete"]) -> None:
        """Close the native session; until that works it is tried again, while the session is ended already."""
        view = await self._store.read(partial(_view, session_id=session_id))
        closed = True
        if view.session["native"] is not None:
            closed = await self._native(view, intent, lambda runtime, session: runtime.close_session(session, mode))
        if mode == "stop":
            detail = "the runtime closed the session" if closed else "end unobserved"
            ended = partial(endings.end_stopped, session_id=session_id, observed=closed, detail=detail, by="runtime")
            self._live.announce(session_id, await self._store.write(ended))
        if not closed and intent["attempts"] < CLOSE_ATTEMPTS:
            return
        if mode == "delete":
            await self._store.write(partial(endings.erase, session_id=session_id))
        else:
            await self._store.write(partial(endings.finish, session_id=session_id, intent_id=intent["id"]))

    async def _native(
        self, view: "_View", intent: sa.RowMapping, call: Any, *, again_s: float = END_AFTER_INTERRUPT_S
    ) -> bool:
        """Make a native call for an intent; return whether it was answered. Either way it is not due again at once."""
        runtime: Runtime | None = None
        try:
            runtime = await self._adapters.get(view.session["runtime_id"])
            async with asyncio.timeout(runtime.capabilities.send_timeout_s):
                await call(runtime, view.native_session())
        except (UnsupportedCapabilityError, RuntimeGoneError) as error:
            _log.info("intent_unsupported", session_id=view.session["id"], detail=str(error))
        except TimeoutError:
            return await self._failed(view, intent, "the runtime did not answer in time")
        except Exception as error:
            if runtime is None:
                raise
            return await self._failed(view, intent, runtime.classify(error).message)
        await self._later(intent, again_s, observed=True)
        return True

    async def _failed(self, view: "_View", intent: sa.RowMapping, detail: str) -> bool:
        _log.warning("intent_failed", session_id=view.session["id"], kind=intent["kind"], detail=detail)
        await self._later(intent, backoff_s(intent["attempts"] + 1), observed=False)
        return False

    async def _later(self, intent: sa.RowMapping, delay_s: float, *, observed: bool) -> None:
        await self._store.write(partial(endings.try_again, intent_id=intent["id"], delay_s=delay_s, observed=observed))


class _View:
    """A session, its open turn and its open asks, as they stood at one moment."""

    def __init__(self, session: Json, turn: Json | None, open_asks: list[Json]) -> None:
        self.session = session
        self.turn = turn
        self.asks = open_asks

    def native_session(self) -> Session:
        return Session(self.session["id"], agent_of(self.session), self.session["native"] or {})

    def native_turn(self, turn: Json) -> Turn:
        return Turn(turn["id"], turn["native"] or {}, turn["cursor"])


def _view(db: Connection, session_id: str) -> _View:
    session = dict(db.execute(sa.select(sessions).where(sessions.c.id == session_id)).mappings().one())
    turn = db.execute(sa.select(turns).where(turns.c.id == session["open_turn_id"])).mappings().one_or_none()
    waiting = db.execute(
        sa.select(asks.c.native)
        .where(asks.c.session_id == session_id, asks.c.state != "closed")
        .order_by(asks.c.position)
    ).scalars()
    return _View(session, dict(turn) if turn is not None else None, list(waiting))


def _due_intents(db: Connection, session_id: str) -> list[sa.RowMapping]:
    now = read_now(db)
    return [row for row in pending_intents(db, session_id) if row["retry_at"] is None or row["retry_at"] <= now]


def _tell_no_worker(db: Connection, session_id: str) -> int:
    """Tell once: not again while the session still waits for a worker."""
    locked = event_log.lock(db, session_id)
    if locked["ended_at"] is None and locked["status"] != "rescheduling":
        message = f"no worker takes turns of runtime kind {locked['kind']!r}; start one, the session goes on by itself"
        error = error_payload("unknown_error", message, "retrying")
        event_log.append_own(db, locked, [("session.error", {"error": error}), ("session.status_rescheduled", {})])
        locked.set(status="rescheduling")
    locked.set(moved_at=locked.now)
    locked.save(db)
    return int(locked["last_seq"])

"""Following a turn that the runtime has acknowledged, until a terminal event or a snapshot ends it."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any, Literal

import structlog

from activities.holding import Held
from activities.outcomes import Outcomes
from activities.policy import (
    END_AFTER_INTERRUPT_S,
    MOST_FAILURES,
    NEEDS_PERSON_DELAY_S,
    RECONNECTS_HELD,
    backoff_s,
    error_payload,
    told,
)
from activities.translation import Translator
from runtimes.base import End, Failure, NativeEvent, Runtime, Session, Turn, UnsupportedCapabilityError
from store import turns
from store.claims import ClaimedTurn
from workflows.messages import TurnResult

Json = dict[str, Any]
_Seen = Literal["end", "dropped", "silent", "detached"]

_log = structlog.get_logger()
_BUFFER = 512
_LINGER_S = 0.004
_SILENCES = 3


class _Pump:
    """Reads a stream of native events into a bounded buffer, so that what waits is taken together."""

    def __init__(self, stream: AsyncIterator[NativeEvent], held: Held) -> None:
        self._stream = stream
        self._held = held
        self._ready: list[NativeEvent] = []
        self._room = asyncio.Event()
        self.error: Exception | None = None
        self.ended = False
        self._task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            async for native in self._stream:
                while len(self._ready) >= _BUFFER:
                    self._room.clear()
                    await self._room.wait()
                self._ready.append(native)
                self._held.changed.set()
        except Exception as error:  # noqa: BLE001 - handed to the follower, who has the adapter classify it
            self.error = error
        finally:
            self.ended = True
            self._held.changed.set()

    @property
    def waiting(self) -> bool:
        """Whether events are there to be taken."""
        return bool(self._ready)

    def take(self) -> list[NativeEvent]:
        """Take what has arrived."""
        ready, self._ready = self._ready, []
        self._room.set()
        return ready

    async def close(self) -> None:
        """Stop reading and close the stream."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        closing = getattr(self._stream, "aclose", None)
        if closing is not None:
            await closing()


class Follower:
    """Follows one turn under its fence. `attach`: its stream was not seen from the start, so a snapshot comes first."""

    def __init__(
        self, runtime: Runtime, turn: ClaimedTurn, session: Session, held: Held, outcomes: Outcomes, *, attach: bool
    ) -> None:
        self._runtime = runtime
        self._turn = turn
        self._session = session
        self._held = held
        self._outcomes = outcomes
        self._attach = attach
        self._translator = Translator(runtime, turn, from_first=not attach)
        self._interrupted_at: float | None = None
        self._silences = 0
        self._failures = 0

    async def follow(self) -> TurnResult:
        """Follow to the end, or until the turn must be given back."""
        if self._attach:
            result = await self._consult()
            if result is not None:
                return result
        while True:
            seen = await self._stream_once()
            if seen == "detached":
                await self._flush()
                return TurnResult("more")
            if self._translator.end is not None and not self._translator.left_out:
                return await self._close(self._translator.end)
            result = await self._consult(silent=seen == "silent")
            if result is not None:
                return result

    def _native_turn(self) -> Turn:
        return Turn(self._turn.id, self._turn.row["native"] or {}, self._turn.row["cursor"])

    async def _stream_once(self) -> _Seen:
        pump = _Pump(self._runtime.events(self._session, self._native_turn()), self._held)
        try:
            return await self._drain(pump)
        finally:
            await pump.close()

    async def _drain(self, pump: _Pump) -> _Seen:
        while True:
            if not pump.waiting and not pump.ended and not await self._wait():
                return "silent"
            if pump.waiting and not pump.ended:
                # What follows within a moment goes into the same transaction.
                await asyncio.sleep(_LINGER_S)
            natives = pump.take()
            if natives:
                self._silences = self._failures = 0
                await self._take_in(natives)
                if self._translator.end is not None:
                    return "end"
            if self._held.intent and self._interrupt_is_due():
                await self._interrupt()
            if self._detaches():
                return "detached"
            if pump.ended and not pump.waiting:
                return self._dropped(pump)

    def _dropped(self, pump: _Pump) -> _Seen:
        self._translator.lose_count()
        if pump.error is not None:
            failure = self._runtime.classify(pump.error)
            self._log("stream_failed", detail=failure.message)
        return "dropped"

    async def _wait(self) -> bool:
        """Wait for anything to happen; False when the runtime has been silent for too long."""
        limit = self._runtime.capabilities.silence_limit_s
        if self._interrupted_at is not None:
            limit = END_AFTER_INTERRUPT_S
        try:
            async with asyncio.timeout(limit):
                await self._held.changed.wait()
        except TimeoutError:
            return False
        self._held.changed.clear()
        return True

    def _detaches(self) -> bool:
        return self._held.shutdown and self._runtime.capabilities.outlives_worker

    async def _take_in(self, natives: Sequence[NativeEvent]) -> None:
        self._translator.add_live(natives)
        self._outcomes.preview(self._translator.take_previews())
        if self._translator.end is None and not self._translator.empty:
            await self._flush()

    async def _flush(self) -> None:
        if not self._translator.empty:
            await self._outcomes.append(self._translator.take())

    def _interrupt_is_due(self) -> bool:
        """Whether the native end is to be asked for, at first or again: a runtime may overlook an early interrupt."""
        return self._interrupted_at is None or time.monotonic() - self._interrupted_at > END_AFTER_INTERRUPT_S

    async def _interrupt(self) -> None:
        """Ask for the native end of a turn that an intent names; from then on its end is expected soon."""
        self._interrupted_at = time.monotonic()
        try:
            await self._runtime.interrupt(self._session, self._native_turn())
        except UnsupportedCapabilityError:
            self._log("interrupt_unsupported")
        except Exception as error:  # noqa: BLE001 - the adapter classifies it, and re-raises what it does not know
            self._log("interrupt_failed", detail=self._runtime.classify(error).message)

    async def _consult(self, *, silent: bool = False) -> TurnResult | None:
        """Ask the runtime outright; None when the turn goes on and its stream is to be taken up again."""
        try:
            async with asyncio.timeout(self._runtime.capabilities.send_timeout_s):
                snapshot = await self._runtime.snapshot(self._session, self._native_turn())
        except TimeoutError:
            failure = Failure("retry", ambiguous=False, message="the runtime did not answer in time")
            return await self._out_of_sight(failure)
        except Exception as error:  # noqa: BLE001 - the adapter classifies it, and re-raises what it does not know
            return await self._out_of_sight(self._runtime.classify(error))
        self._translator.end = None
        self._translator.add_snapshot(snapshot.events)
        self._outcomes.preview(self._translator.take_previews())
        if self._translator.end is not None:
            return await self._close(self._translator.end)
        if snapshot.status == "running":
            await self._flush()
            return await self._goes_on(silent=silent)
        if snapshot.status == "unknown":
            detail = snapshot.detail or "the runtime could not be asked about the turn"
            return await self._out_of_sight(Failure("retry", ambiguous=False, message=detail))
        return await self._tell_lost(snapshot.detail or "the runtime no longer works on it")

    async def _goes_on(self, *, silent: bool) -> TurnResult | None:
        if not silent:
            self._failures += 1
            await asyncio.sleep(min(0.05 * 2 ** min(self._failures, 7), 5.0) if self._failures > 1 else 0.0)
            return None
        self._silences += 1
        if self._silences >= _SILENCES:
            return await self._tell_lost("the runtime showed no sign of life, also after it was asked to stop the turn")
        if self._silences > 1 or self._interrupted_at is not None:
            await self._interrupt()
        return None

    async def _out_of_sight(self, failure: Failure) -> TurnResult | None:
        """Handle a runtime that cannot be asked: at first here, then by giving the slot back until later."""
        if failure.kind == "terminal":
            return await self._tell_lost(failure.message)
        self._failures += 1
        if self._failures <= RECONNECTS_HELD and failure.kind == "retry" and not self._held.shutdown:
            await asyncio.sleep(backoff_s(self._failures, failure.retry_after_s))
            return None
        await self._flush()
        count = self._turn.row["failures"].get("lost_sight", 0) + 1
        if count > MOST_FAILURES["lost_sight"]:
            return await self._tell_lost(failure.message)
        delay_s = NEEDS_PERSON_DELAY_S if failure.kind == "needs_person" else backoff_s(count, failure.retry_after_s)
        return await self._outcomes.postpone(delay_s, "lost_sight", told(failure, "retrying"), refused=False)

    async def _tell_lost(self, detail: str) -> TurnResult:
        """End a turn that will not end by itself; what was received is kept."""
        message = f"the turn did not finish: {detail}"
        error = error_payload("unknown_error", message, "exhausted")
        closing = turns.Closing("retries_exhausted", error, interrupted=self._interrupted_at is not None)
        return await self._outcomes.close(self._translator.take(), closing)

    async def _close(self, end: End) -> TurnResult:
        error = error_payload(end.error_type, end.error, "exhausted") if end.error is not None else None
        closing = turns.Closing(
            end.stop_reason,
            error,
            stop_details=end.stop_details,
            interrupted=end.interrupted,
            void_asks=end.lost_asks,
        )
        return await self._outcomes.close(self._translator.take(), closing)

    def _log(self, event: str, **fields: Any) -> None:
        _log.info(event, session_id=self._turn.session_id, turn_id=self._turn.id, **fields)

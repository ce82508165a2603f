"""Making a turn's one native send, or finding out what became of it."""

import asyncio
import hashlib
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import structlog
from pydantic_core import to_json

from activities.holding import Held
from activities.laying import Layer
from activities.outcomes import Outcomes
from activities.policy import MOST_FAILURES, NEEDS_PERSON_DELAY_S, backoff_s, error_payload, told
from protocol.timestamps import to_rfc3339
from runtimes.base import (
    Absent,
    Agent,
    Answer,
    AskLostError,
    Failure,
    Found,
    Message,
    Runtime,
    Send,
    Session,
    Unknown,
    UnsupportedCapabilityError,
)
from store import native, turns
from store.claims import ClaimedInput, ClaimedTurn
from store.clock import read_now
from store.engine import Store
from workflows.messages import TurnResult

Json = dict[str, Any]

_log = structlog.get_logger()
_AGENT_POLL_S = 0.2


class Sender:
    """Brings a turn from `sending` to `sent`, or ends or postpones it."""

    def __init__(
        self, store: Store, runtime: Runtime, turn: ClaimedTurn, held: Held, outcomes: Outcomes, layer: Layer
    ) -> None:
        self._store = store
        self._layer = layer
        self._mounts: Sequence[str] = ()
        self._runtime = runtime
        self._turn = turn
        self._held = held
        self._outcomes = outcomes
        self.made = False
        """Whether the acknowledged send was made here, so that its stream is seen from its first event."""

    async def send(self) -> TurnResult | None:
        """Return None once the turn is `sent`, or what the workflow is to do instead."""
        while True:
            row = self._turn.row
            if self._turn.decided:
                self._turn.decided = False
                result = await self._make(self._runtime.capabilities.send_timeout_s)
            elif row["attempts"] > 0 and row["send_outcome"] != "refused":
                result = await self._find()
            else:
                result = await self._send_anew()
            if result is not None:
                return result
            if row["phase"] == "sent":
                return None

    def session(self) -> Session:
        """Return the session as the adapter is given it."""
        native = self._turn.session["native"] or {}
        return Session(self._turn.session_id, agent_of(self._turn.session), native, self._mounts)

    async def _send_anew(self) -> TurnResult | None:
        """Decide a send and make it; None when it is sent, or when it must be found out."""
        prepared = await self._prepare()
        if isinstance(prepared, TurnResult):
            return prepared
        timeout_s = self._runtime.capabilities.send_timeout_s
        begun = time.monotonic()
        decided = await self._store.write(
            partial(turns.decide_send, turn=self._turn, timeout_s=timeout_s, native_before=prepared)
        )
        if decided is None:
            return TurnResult("intents")
        left_s = timeout_s - (time.monotonic() - begun)
        if left_s <= 0:
            # Frozen since the decision, so that others may look for the send already: it is not made, but decided anew.
            self._turn.row["send_outcome"] = "refused"
            return None
        return await self._make(left_s)

    async def _prepare(self) -> TurnResult | str | None:
        """Open the native session if there is none, lay its resources, and return the position before the send."""
        try:
            async with asyncio.timeout(self._runtime.capabilities.send_timeout_s * 2):
                if self._turn.session["native"] is None:
                    await self._open_session()
            self._mounts = await self._layer.lay(self._runtime, self.session(), self._turn.session["workspace_id"])
            async with asyncio.timeout(self._runtime.capabilities.send_timeout_s * 2):
                if self._runtime.capabilities.reconcile == "history":
                    return await self._runtime.position(self.session())
                return None
        except Exception as error:  # noqa: BLE001 - the adapter classifies it, and re-raises what it does not know
            return await self._refused(self._classified(error), MOST_FAILURES["retry"])

    async def _open_session(self) -> None:
        agent = agent_of(self._turn.session)
        native_agent = None
        if self._runtime.capabilities.agents == "create":
            native_agent = await self._native_agent(agent)
        await self._store.write(partial(native.begin_open_session, turn=self._turn))
        opened = await self._runtime.open_session(self._turn.session_id, agent, native_agent)
        await self._store.write(partial(native.record_open_session, turn=self._turn, native=opened))

    async def _native_agent(self, agent: Agent) -> Json:
        """Return the agent in the runtime, made once for all sessions of its version."""
        runtime_id = self._turn.session["runtime_id"]
        key = {"runtime_id": runtime_id, "agent_id": agent.id, "fingerprint": fingerprint(agent)}
        patience_s = self._runtime.capabilities.send_timeout_s * 2
        while True:
            begun = await self._store.write(
                partial(native.begin_native_agent, turn_id=self._turn.id, patience_s=patience_s, **key)
            )
            if isinstance(begun, dict):
                return begun
            if begun == "mine":
                return await self._make_native_agent(agent, key)
            await asyncio.sleep(_AGENT_POLL_S)

    async def _make_native_agent(self, agent: Agent, key: dict[str, str]) -> Json:
        try:
            made = await self._runtime.upsert_agent(agent)
        except Exception as error:
            if not self._classified(error).ambiguous:
                await self._store.write(lambda db: native.abandon_native_agent(db, **key))
            raise
        await self._store.write(lambda db: native.record_native_agent(db, native=made, **key))
        return made

    async def _make(self, timeout_s: float) -> TurnResult | None:
        send = self._send_of(timeout_s)
        try:
            async with asyncio.timeout(timeout_s):
                if send.message is not None:
                    acknowledged = await self._runtime.start_turn(self.session(), send)
                else:
                    acknowledged = await self._runtime.respond(self.session(), send)
        except AskLostError:
            error = error_payload("unknown_error", "the runtime no longer has what was answered", "exhausted")
            closing = turns.Closing("end_turn", error, void_asks=True)
            return await self._outcomes.close(turns.Batch(**self._carry()), closing)
        except Exception as error:  # noqa: BLE001 - the adapter classifies it, and re-raises what it does not know
            failure = self._classified(error)
            if failure.ambiguous:
                self._log("send_ambiguous", detail=failure.message)
                return None
            return await self._refused(failure, MOST_FAILURES["retry"])
        await self._record(acknowledged)
        self.made = True
        return None

    async def _record(self, acknowledged: Json) -> None:
        if await self._store.write(partial(turns.record_sent, turn=self._turn, native=acknowledged)):
            self._held.intent = True

    async def _find(self) -> TurnResult | None:
        """Wait until nothing of the send can be accepted any more, then ask whether it was.

        A runtime that takes a key is asked at once: should the send arrive later still, the next is known as the same.
        """
        if self._runtime.capabilities.reconcile != "key":
            waited = await self._wait_past_deadline()
            if waited is not None:
                return waited
        send = self._send_of(self._runtime.capabilities.send_timeout_s)
        try:
            async with asyncio.timeout(self._runtime.capabilities.send_timeout_s):
                found = await self._runtime.find_turn(self.session(), send)
        except Exception as error:  # noqa: BLE001 - the adapter classifies it, and re-raises what it does not know
            return await self._out_of_sight(self._classified(error))
        self._log("send_reconciled", outcome=type(found).__name__.lower())
        if isinstance(found, Found):
            await self._record(found.native)
        elif isinstance(found, Absent):
            self._turn.row["send_outcome"] = "refused"
        else:
            return await self._tell_unknown(found)
        return None

    async def _wait_past_deadline(self) -> TurnResult | None:
        delay_us = int(self._runtime.capabilities.acceptance_delay_s * 1e6)
        until = self._turn.row["send_deadline"] + delay_us
        while True:
            left_s = (until - await self._store.read(read_now)) / 1e6
            if left_s <= 0:
                return None
            if self._held.shutdown:
                return TurnResult("more")
            await asyncio.sleep(min(left_s + 0.001, 1.0))

    async def _tell_unknown(self, unknown: Unknown) -> TurnResult:
        since = to_rfc3339(self._turn.row["send_deadline"])
        message = (
            f"it is unknown whether the runtime accepted this message ({unknown.reason}; asked after {since}); "
            "it was not sent again"
        )
        error = error_payload("unknown_error", message, "exhausted")
        return await self._outcomes.close(turns.Batch(**self._carry()), turns.Closing("retries_exhausted", error))

    async def _refused(self, failure: Failure, most: int) -> TurnResult:
        """Handle a failure before which nothing of this turn was accepted."""
        if failure.kind == "needs_person":
            closing = turns.Closing("retries_exhausted", told(failure, "exhausted"), requeue=True, held=failure.message)
            return await self._outcomes.close(turns.Batch(**self._carry()), closing)
        count = self._turn.row["failures"].get("retry", 0) + 1
        limited = failure.error_type == "model_rate_limited_error"
        if failure.kind == "terminal" or (count > most and not limited):
            closing = turns.Closing("retries_exhausted", told(failure, "exhausted"))
            return await self._outcomes.close(turns.Batch(**self._carry()), closing)
        delay_s = backoff_s(count, failure.retry_after_s)
        return await self._outcomes.postpone(delay_s, "retry", told(failure, "retrying"), refused=True)

    async def _out_of_sight(self, failure: Failure) -> TurnResult:
        """Handle a runtime that cannot be asked about a send that it may have accepted."""
        count = self._turn.row["failures"].get("lost_sight", 0) + 1
        if count > MOST_FAILURES["lost_sight"]:
            return await self._tell_unknown(Unknown(failure.message))
        delay_s = NEEDS_PERSON_DELAY_S if failure.kind == "needs_person" else backoff_s(count, failure.retry_after_s)
        return await self._outcomes.postpone(delay_s, "lost_sight", told(failure, "retrying"), refused=False)

    def _classified(self, error: Exception) -> Failure:
        if isinstance(error, TimeoutError):
            return Failure("retry", ambiguous=True, message="the runtime did not answer in time")
        if isinstance(error, UnsupportedCapabilityError):
            return Failure("terminal", ambiguous=False, message=str(error))
        return self._runtime.classify(error)

    def _send_of(self, timeout_s: float) -> Send:
        answers = [item for item in self._turn.inputs if item.kind == "answer"]
        return Send(
            turn_id=self._turn.id,
            timeout_s=timeout_s,
            message=None if answers else _message(self._turn.inputs),
            answers=[_answer(item) for item in answers],
            native_before=self._turn.row["native_before"],
        )

    def _carry(self) -> Json:
        row = self._turn.row
        return {"cursor": row["cursor"], "state": row["state"], "idless": row["idless"]}

    def _log(self, event: str, **fields: Any) -> None:
        _log.info(event, session_id=self._turn.session_id, turn_id=self._turn.id, **fields)


def agent_of(session: Json) -> Agent:
    """Return the agent of a `sessions` row, as adapters are given it."""
    snapshot, options = session["agent"], session["agent_options"] or {}
    return Agent(
        id=session["agent_id"],
        version=session["agent_version"],
        definition=snapshot,
        options=options.get("options") or {},
        native_id=options.get("native_id"),
        client_tools=bool(session["self_hosted"]),
    )


def fingerprint(agent: Agent) -> str:
    """Return what tells agents in a runtime apart: the version, and what a session may have overridden."""
    digest = hashlib.sha256(to_json([agent.definition, agent.options, agent.native_id])).hexdigest()
    return f"{agent.version}:{digest[:24]}"


def _message(items: Any) -> Message:
    message = next(item for item in items if item.kind == "message")
    system = [block for item in items if item.kind == "system" for block in item.payload["content"]]
    return Message(message.event_id, message.payload["content"], system)


def _answer(item: ClaimedInput) -> Answer:
    payload = item.payload
    if item.type == "user.tool_confirmation":
        allow = payload["result"] == "allow"
        return Answer(
            item.event_id, item.ask_native or {}, "confirmation", allow=allow, deny_message=payload.get("deny_message")
        )
    return Answer(
        item.event_id,
        item.ask_native or {},
        "tool_result" if item.type == "user.tool_result" else "custom_tool_result",
        content=payload.get("content") or (),
        is_error=bool(payload.get("is_error")),
    )

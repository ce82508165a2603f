"""A session's workflow: it lives while the session owes work, and decides only what to run next.

A signal carries no fact; what is owed stands in SQL, and the activities read it there.
"""

import asyncio
from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy, SearchAttributeKey
from temporalio.exceptions import ActivityError, TimeoutError, TimeoutType

from workflows.messages import (
    CONTROL_QUEUE,
    HANDLE_INTENTS,
    LOOK,
    RUN_TURN,
    SESSION_STATE,
    SESSION_WORKFLOW,
    TELL_NO_WORKER,
    WAKE,
    SessionInput,
    SessionOrder,
    TurnResult,
    turn_queue,
)

_ONCE = RetryPolicy(maximum_attempts=1)
_CONTROL_LIMIT = timedelta(minutes=2)
_TURN_LIMIT = timedelta(days=365)
_FIRST_DELAY_S = 0.5
_LONGEST_DELAY_S = 30.0
_STATE = SearchAttributeKey.for_keyword(SESSION_STATE)


@workflow.defn(name=SESSION_WORKFLOW)
class SessionWorkflow:
    """Runs turn after turn, and carries out intents beside them, until nothing is owed."""

    @workflow.init
    def __init__(self, given: SessionInput) -> None:
        self._given = given
        self._order = SessionOrder(given.session_id)
        self._wakes = 0
        self._intents = 0
        self._failures = 0

    @workflow.signal(name=WAKE)
    def wake(self) -> None:
        """Look again at what the session owes, also at intents while a turn runs."""
        self._wakes += 1
        self._intents += 1

    @workflow.signal(name=LOOK)
    def look(self) -> None:
        """Look again at what the session owes; what came is for after the turn that may run."""
        self._wakes += 1

    @workflow.run
    async def run(self, given: SessionInput) -> None:
        """Work until nothing is owed. No await stands between the last look at `_wakes` and the return."""
        while True:
            seen = self._wakes
            result = await self._claim_and_run()
            if result.state == "intents":
                await self._handle_intents()
            elif result.state == "wait":
                self._show(result.session_state)
                await self._sleep(result.delay_s, seen)
            elif result.state == "idle":
                if result.linger_s and not workflow.info().is_continue_as_new_suggested():
                    await self._sleep(result.linger_s, seen)
                if self._wakes == seen:
                    self._show(result.session_state)
                    return
            if workflow.info().is_continue_as_new_suggested():
                workflow.continue_as_new(given)

    async def _claim_and_run(self) -> TurnResult:
        """Run one turn; a wake for intents meanwhile means that there may be one to carry out beside it."""
        turn = workflow.start_activity(
            RUN_TURN,
            self._order,
            result_type=TurnResult,
            task_queue=turn_queue(self._given.kind),
            schedule_to_start_timeout=timedelta(seconds=self._given.schedule_to_start_s),
            start_to_close_timeout=_TURN_LIMIT,
            heartbeat_timeout=timedelta(seconds=self._given.heartbeat_timeout_s),
            retry_policy=_ONCE,
        )
        handled = self._intents
        while not turn.done():
            await workflow.wait_condition(lambda: turn.done() or self._intents != handled)  # noqa: B023 - read at once
            if not turn.done():
                handled = self._intents
                await self._handle_intents()
        try:
            result: TurnResult = await turn
        except ActivityError as error:
            return await self._failed(error)
        self._failures = 0
        return result

    async def _failed(self, error: ActivityError) -> TurnResult:
        """No worker took the turn, or its worker died, or could not reach the database: try again, later each time."""
        cause = error.cause
        if isinstance(cause, TimeoutError):
            if cause.type == TimeoutType.SCHEDULE_TO_START:
                await self._control(TELL_NO_WORKER)
            elif cause.type == TimeoutType.HEARTBEAT:
                return TurnResult("more")
        self._failures += 1
        delay = min(_FIRST_DELAY_S * 2 ** min(self._failures - 1, 10), _LONGEST_DELAY_S)
        return TurnResult("wait", "rescheduling", delay)

    async def _handle_intents(self) -> None:
        if not await self._control(HANDLE_INTENTS):
            await self._sleep(_FIRST_DELAY_S, self._wakes)

    async def _control(self, name: str) -> bool:
        """Run an activity on the control queue, whose slots are its own; return whether it went through."""
        try:
            await workflow.execute_activity(
                name,
                self._order,
                task_queue=CONTROL_QUEUE,
                start_to_close_timeout=_CONTROL_LIMIT,
                heartbeat_timeout=timedelta(seconds=self._given.heartbeat_timeout_s),
                retry_policy=_ONCE,
            )
        except ActivityError:
            return False
        return True

    async def _sleep(self, delay_s: float, seen: int) -> None:
        """Wait, but not longer than until the next wake."""
        try:
            await workflow.wait_condition(lambda: self._wakes != seen, timeout=timedelta(seconds=delay_s))
        except asyncio.TimeoutError:  # noqa: UP041 - what Temporal's event loop raises on every Python version
            return

    def _show(self, state: str) -> None:
        """Show the session's state in Temporal's UI."""
        workflow.upsert_search_attributes([_STATE.value_set(state)])
        workflow.set_current_details(f"state: {state}")

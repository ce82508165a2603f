"""A session as a bare workflow: it lives on, takes each message by signal, and makes one call for it."""

from collections import deque
from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

from benchmarks.baseline.messages import (
    CALL_RUNTIME,
    HOLD,
    HOLD_WORKFLOW,
    SAY,
    TURNS_QUEUE,
    WORKFLOW,
    Call,
    Holding,
    Talk,
)

_ONCE = RetryPolicy(maximum_attempts=1)
_LIMIT = timedelta(days=365)
_HEARTBEAT = timedelta(seconds=8)


@workflow.defn(name=WORKFLOW)
class BareSession:
    """Signal, activity, and again, in one run until Temporal suggests the next."""

    @workflow.init
    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self._texts: deque[str] = deque()

    @workflow.signal(name=SAY)
    def say(self, text: str) -> None:
        """Take a message."""
        self._texts.append(text)

    @workflow.run
    async def run(self, talk: Talk) -> None:
        """Answer message after message."""
        while self._texts or not workflow.info().is_continue_as_new_suggested():
            await workflow.wait_condition(lambda: bool(self._texts))
            await workflow.execute_activity(
                CALL_RUNTIME,
                Call(self._talk, self._texts.popleft()),
                task_queue=TURNS_QUEUE,
                start_to_close_timeout=_LIMIT,
                heartbeat_timeout=_HEARTBEAT,
                retry_policy=_ONCE,
            )
        workflow.continue_as_new(talk)


@workflow.defn(name=HOLD_WORKFLOW)
class BareHold:
    """One activity that lasts."""

    @workflow.run
    async def run(self, holding: Holding) -> None:
        """Wait for it."""
        await workflow.execute_activity(
            HOLD,
            holding,
            task_queue=TURNS_QUEUE,
            start_to_close_timeout=_LIMIT,
            heartbeat_timeout=_HEARTBEAT,
            retry_policy=_ONCE,
        )

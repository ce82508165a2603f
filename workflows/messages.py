"""Names, inputs and results of workflows and activities, and the task queues they run on."""

from dataclasses import dataclass
from typing import Literal

SESSION_WORKFLOW = "SessionWorkflow"
WAKE = "wake"
"""Look again, also while a turn runs: there may be an intent."""
LOOK = "look"
"""Look again, once no turn runs."""
RUN_TURN = "run_turn"
HANDLE_INTENTS = "handle_intents"
TELL_NO_WORKER = "tell_no_worker"

SESSIONS_QUEUE = "sessions"
CONTROL_QUEUE = "control"

AGENT_ID = "AgentId"
RUNTIME_ALIAS = "RuntimeAlias"
SESSION_STATE = "SessionState"
WORKSPACE_ID = "WorkspaceId"


def turn_queue(kind: str) -> str:
    """Return the task queue on which turns of a runtime kind run."""
    return f"turn-{kind}"


@dataclass(frozen=True)
class SessionInput:
    """What a session's workflow knows: where its turns run, and how long it may wait for whom (seconds)."""

    session_id: str
    kind: str
    schedule_to_start_s: float
    heartbeat_timeout_s: float


@dataclass(frozen=True)
class SessionOrder:
    """Input of the activities: the session to act for."""

    session_id: str


@dataclass(frozen=True)
class TurnResult:
    """What a claim and its turn came to.

    `idle`: nothing is owed. `more`: claim again at once. `intents`: intents come first. `wait`: for `delay_s`.
    `linger_s`: how long an idle session's workflow is kept, as its next message is likely to come soon.
    """

    state: Literal["idle", "more", "intents", "wait"]
    session_state: str = "idle"
    delay_s: float = 0.0
    linger_s: float = 0.0

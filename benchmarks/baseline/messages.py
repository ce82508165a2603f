"""Names and inputs of the baseline's workflow and activities, and the queues they run on."""

from dataclasses import dataclass

WORKFLOW = "BareSession"
SAY = "say"
CALL_RUNTIME = "call_runtime"
HOLD = "hold"
HOLD_WORKFLOW = "BareHold"

WORKFLOWS_QUEUE = "bare-sessions"
TURNS_QUEUE = "bare-turns"


@dataclass(frozen=True)
class Talk:
    """A session of the baseline: its native session, where that lives, and who is told of each turn's end."""

    name: str
    native: str
    url: str
    told: str


@dataclass(frozen=True)
class Call:
    """One message on its way to the runtime."""

    talk: Talk
    text: str


@dataclass(frozen=True)
class Holding:
    """How long an activity is to be held, in seconds, and who is told that it has begun."""

    seconds: float
    name: str
    told: str

"""Options of a registered scripted runtime, and what each mode of it can do."""

from typing import Literal

from pydantic import Field

from runtimes.base import RuntimeOptions
from runtimes.capabilities import Capabilities

CAPABILITIES = Capabilities(
    agents="create",
    resume="cursor",
    reconcile="key",
    deltas=True,
    thinking=True,
    interrupt="native",
    approvals=True,
    answers="set",
    custom_tools=True,
    client_tools=True,
    usage="tokens",
    outlives_worker=True,
    system_messages=True,
)


class ScriptedOptions(RuntimeOptions):
    """How the adapter meets the server: as runtimes that take a key, that show a history, or that do neither."""

    mode: Literal["key", "history", "none"] = "key"
    """How a send without an answer is found again: by its key, in the history, or not at all."""
    idless: bool = False
    """Messages and thinking come without native ids, and so without deltas."""
    acceptance_delay_s: float = Field(default=0.0, ge=0)
    """Seconds after a send's deadline within which it may still be accepted."""
    send_timeout_s: float = Field(default=30.0, gt=0)
    """Seconds within which a send is acknowledged, or aborted."""
    silence_limit_s: float = Field(default=60.0, gt=0)
    """Seconds without an event or a heartbeat after which the server is asked for a snapshot."""

    def capabilities(self) -> Capabilities:
        """Return the kind's capabilities, narrowed to these options."""
        return CAPABILITIES.model_copy(
            update={
                "reconcile": self.mode,
                "resume": "history_merge" if self.mode == "history" else "cursor",
                "deltas": not self.idless,
                "acceptance_delay_s": self.acceptance_delay_s,
                "send_timeout_s": self.send_timeout_s,
                "silence_limit_s": self.silence_limit_s,
            }
        )

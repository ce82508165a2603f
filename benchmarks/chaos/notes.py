"""What the clients of a run know: what they sent, and what was acknowledged."""

from dataclasses import dataclass, field

from benchmarks.chaos.messages import Message, Mode
from benchmarks.chaos.queries import OpenAsk


@dataclass(slots=True)
class Note:
    """A message as its client knows it."""

    message: Message
    session_id: str
    acknowledged: bool = False


@dataclass(slots=True)
class Notes:
    """What all clients know in the end."""

    modes: dict[str, Mode] = field(default_factory=dict)
    """Of each session that was created."""
    sent: dict[str, list[Note]] = field(default_factory=dict)
    """By session, in the order of sending."""
    answered: list[OpenAsk] = field(default_factory=list)
    """Whose answers were acknowledged."""
    refused: list[tuple[str, str]] = field(default_factory=list)
    """Session and reason of what was refused."""
    unanswered: list[str] = field(default_factory=list)
    """Why clients gave requests up. What they asked for may have happened, or not, but not twice."""

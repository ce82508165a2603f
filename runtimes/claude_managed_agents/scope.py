"""Where a turn starts and ends in the provider's event log: pure decisions over events as they came.

The provider knows no turns. One log holds all of a session, and its stream starts at "now", so each event that arrives
must be judged: an idle that was announced before our message was processed belongs to an earlier turn.
"""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass, field

from protocol.timestamps import from_rfc3339
from runtimes.base import HEARTBEAT, Json, NativeEvent, Turn

ENDINGS = frozenset({"session.status_idle", "session.status_terminated", "session.deleted"})
_OF_AN_EARLIER_TURN = frozenset({"session.status_idle", "user.interrupt"})
_WITHOUT_ID = frozenset({"event_start", "event_delta", HEARTBEAT})


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the log: the time of the last processed event, and what could be mistaken for later than it."""

    at: str | None
    """`processed_at` of the last event, as the provider writes it; None at the start of the session."""
    known: tuple[str, ...] = ()
    """Ids of the events that have this time, and of those that are queued and have none yet."""

    def dump(self) -> str:
        """Return it as text."""
        return json.dumps({"at": self.at, "known": self.known}, separators=(",", ":"))

    @classmethod
    def load(cls, text: str) -> "Position":
        """Return what `dump` was given."""
        stored = json.loads(text)
        return cls(stored["at"], tuple(stored["known"]))

    @classmethod
    async def read(cls, newest_first: AsyncIterator[Json]) -> "Position":
        """Return the position after a log, reading no more of it than is needed."""
        at: str | None = None
        known: list[str] = []
        async for event in newest_first:
            stamp = event.get("processed_at")
            if at and stamp and stamp != at:
                break
            at = at or stamp
            known.append(event["id"])
        return cls(at, tuple(known))

    def is_before(self, event: Json) -> bool:
        """Whether an event came into the log after the position; queued events are later than all others."""
        if event.get("id") in self.known:
            return False
        stamp = event.get("processed_at")
        return not self.at or not stamp or from_rfc3339(stamp) >= from_rfc3339(self.at)


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last event of a turn that was handed over."""

    at: str
    id: str
    turn: str | None
    """The turn's first event, if it had begun by then; one that answers is given the cursor of the one that asked."""

    def dump(self) -> str:
        """Return it as text."""
        return json.dumps({"at": self.at, "id": self.id, "turn": self.turn}, separators=(",", ":"))

    @classmethod
    def load(cls, text: str | None) -> "Cursor | None":
        """Return what `dump` was given."""
        return cls(**json.loads(text)) if text else None


@dataclass(frozen=True, slots=True)
class Start:
    """From where the log must be read to follow a turn."""

    since: str | None
    """`processed_at` to start at, inclusive; None for the start of the session."""
    skip: frozenset[str]
    """Ids of events at that time that are known."""
    begun: bool
    """Whether the provider had taken up the turn before."""

    @classmethod
    def of(cls, turn: Turn) -> "Start":
        """Return where `turn` goes on: after its cursor, or at its start if it had not begun by then."""
        cursor = Cursor.load(turn.cursor)
        if cursor and cursor.turn == turn.native["events"][0]:
            return cls(cursor.at, frozenset({cursor.id}), begun=True)
        return cls.of_whole(turn)

    @classmethod
    def of_whole(cls, turn: Turn) -> "Start":
        """Return where `turn` started; if that was not recorded, the cursor it was given, else the session's start."""
        since = turn.native.get("since")
        if since is not None:
            position = Position.load(since)
            return cls(position.at, frozenset(position.known), begun=False)
        cursor = Cursor.load(turn.cursor)
        return cls(cursor.at if cursor else None, frozenset(), begun=False)


@dataclass(slots=True)
class Scope:
    """Tells of each event, in the order of the log, whether it is of the turn; one instance for one pass."""

    sent: Sequence[str]
    """Ids of the user's events that started the turn."""
    start: Start
    ended: bool = False
    _waiting: set[str] = field(init=False)
    _seen: set[str] = field(init=False)

    def __post_init__(self) -> None:
        self._waiting = set() if self.start.begun else set(self.sent)
        self._seen = set(self.start.skip)

    @property
    def begun(self) -> bool:
        """Whether the provider has taken up all that was sent."""
        return not self._waiting

    def admit(self, event: Json) -> NativeEvent | None:
        """Return the event as one of the turn, or None where it is not, is still queued, or came before."""
        kind, key, stamp = str(event.get("type")), event.get("id"), event.get("processed_at")
        if kind in _WITHOUT_ID or not isinstance(key, str):
            return NativeEvent(None, kind, event)
        if self.ended or not self._is_new(kind, key, stamp):
            return None
        self._seen.add(key)
        self._waiting.discard(key)
        self.ended = kind in ENDINGS
        cursor = Cursor(stamp, key, self.sent[0] if self.begun else None).dump() if stamp else None
        return NativeEvent(key, kind, event, cursor)

    def _is_new(self, kind: str, key: str, stamp: str | None) -> bool:
        queued = not stamp and kind.startswith(("user.", "system."))
        return key not in self._seen and not queued and (self.begun or kind not in _OF_AN_EARLIER_TURN)

    async def admitted(self, events: AsyncIterator[Json]) -> AsyncGenerator[NativeEvent]:
        """Yield those of the events that are of the turn, until its end."""
        if self.ended:
            return
        async for event in events:
            native = self.admit(event)
            if native is not None:
                yield native
            if self.ended:
                return

"""The native sessions, their accepted sends and open asks, and how they come back from the journal."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from runtimes.scripted.journal import Journal, Record
from runtimes.scripted.ledger import Entry, Ledger
from runtimes.scripted.script import Script, Step
from runtimes.scripted.turns import NativeTurn


@dataclass(frozen=True, slots=True)
class Waiting:
    """What the agent has asked for (native id to step), and where its script goes on once all is answered."""

    asks: dict[str, Step]
    script: Script
    at: int


@dataclass(slots=True)
class NativeSession:
    """One native session. Its history is the list of accepted sends; a position is the number of those before it."""

    id: str
    waystation_session: str | None
    idless: bool
    client_tools: bool
    turns: dict[str, NativeTurn] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    by_key: dict[str, NativeTurn] = field(default_factory=dict)
    fired: Counter[str] = field(default_factory=Counter)
    waiting: Waiting | None = None
    current: NativeTurn | None = None
    closed: bool = False

    @property
    def busy(self) -> bool:
        """Whether a turn is running."""
        return self.current is not None and self.current.status == "running"

    def sends_of(self, key: str) -> list[dict[str, Any]]:
        """Return the accepted sends with a key: one, or none."""
        turn = self.by_key.get(key)
        return [{"turn": turn.id, "key": key}] if turn else []


class Book:
    """All that the server knows: sessions and ledger in memory, every change in the journal."""

    def __init__(self, state: Path) -> None:
        state.mkdir(parents=True, exist_ok=True)
        self.journal = Journal(state / "journal.jsonl")
        self.ledger = Ledger(self.journal)
        self.sessions: dict[str, NativeSession] = {}
        self._turns: dict[str, NativeTurn] = {}

    def restore(self) -> None:
        """Read the journal. Turns that ran when the server ended are lost: nothing runs them any more."""
        restorers = {
            "call": self.ledger.restore_call,
            "accepted": self.ledger.restore_accepted,
            "session": self._restore_session,
            "turn": self._restore_turn,
            "event": self._restore_event,
            "lost": self._restore_lost,
            "fired": self._restore_fired,
            "waiting": self._restore_waiting,
            "closed": self._restore_closed,
            "deleted": self._restore_deleted,
        }
        for record in self.journal.records():
            restorers[record["t"]](record)
        for turn in self._turns.values():
            turn.lose("the server was restarted while the turn ran")
        self._turns.clear()

    def open(self, waystation_session: str | None, idless: bool, client_tools: bool) -> NativeSession:
        """Make a session."""
        session = NativeSession(f"sc{uuid4().hex[:12]}", waystation_session, idless, client_tools)
        self.sessions[session.id] = session
        record: Record = {"t": "session", "id": session.id, "waystation": waystation_session}
        self.journal.add(record | {"idless": idless, "client_tools": client_tools})
        return session

    def accept(self, session: NativeSession, entry: Entry) -> NativeTurn:
        """Take a send into the history and make its turn, which does not run yet."""
        turn = NativeTurn(f"{session.id}-{len(session.history) + 1}", self.journal)
        self._add_turn(session, turn, entry.key, entry.hash)
        self.journal.add({"t": "turn", "id": turn.id, "session": session.id, "key": entry.key, "hash": entry.hash})
        self.ledger.accept(entry, turn.id)
        return turn

    def _add_turn(self, session: NativeSession, turn: NativeTurn, key: str | None, digest: str | None) -> None:
        position = len(session.history) + 1
        session.history.append({"turn": turn.id, "key": key, "position": position, "hash": digest})
        session.turns[turn.id] = session.current = turn
        if key is not None:
            session.by_key[key] = turn

    def fire(self, session: NativeSession, slot: str, times: int, *, count: int = 1) -> int:
        """Count a failure of a script as happened, `count` times at most, and return how often it may happen now."""
        left = min(times - session.fired[slot], count)
        if left <= 0:
            return 0
        session.fired[slot] += left
        self.journal.add({"t": "fired", "session": session.id, "slot": slot, "count": left})
        return left

    def wait_for(self, session: NativeSession, waiting: Waiting | None) -> None:
        """Note what answers the session waits for, or that it waits for none."""
        if waiting is session.waiting:
            return
        session.waiting = waiting
        record: Record = {"t": "waiting", "session": session.id}
        if waiting is not None:
            record["asks"], record["at"] = waiting.asks, waiting.at
            record["digest"], record["steps"] = waiting.script.digest, waiting.script.steps
        self.journal.add(record)

    def close(self, session: NativeSession) -> None:
        """Stop what runs, and refuse what comes."""
        if session.current is not None:
            session.current.stop()
        self.wait_for(session, None)
        if not session.closed:
            session.closed = True
            self.journal.add({"t": "closed", "session": session.id})

    def delete(self, session: NativeSession) -> None:
        """Forget a session. The journal's lines of it stay until the state directory is removed."""
        self.close(session)
        del self.sessions[session.id]
        self.ledger.forget_texts(session.id)
        self.journal.add({"t": "deleted", "session": session.id})

    def _restore_session(self, record: Record) -> None:
        session = NativeSession(record["id"], record["waystation"], record["idless"], record.get("client_tools", False))
        self.sessions[session.id] = session

    def _restore_turn(self, record: Record) -> None:
        turn = self._turns[record["id"]] = NativeTurn(record["id"], self.journal)
        self._add_turn(self.sessions[record["session"]], turn, record["key"], record["hash"])

    def _restore_event(self, record: Record) -> None:
        self._turns[record["turn"]].restore(record["event"])

    def _restore_lost(self, record: Record) -> None:
        turn = self._turns[record["turn"]]
        turn.status, turn.detail = "lost", record["detail"]

    def _restore_fired(self, record: Record) -> None:
        self.sessions[record["session"]].fired[record["slot"]] += record["count"]

    def _restore_waiting(self, record: Record) -> None:
        waiting = None
        if "asks" in record:
            waiting = Waiting(record["asks"], Script(record["digest"], tuple(record["steps"])), record["at"])
        self.sessions[record["session"]].waiting = waiting

    def _restore_closed(self, record: Record) -> None:
        self.sessions[record["session"]].closed = True

    def _restore_deleted(self, record: Record) -> None:
        session = self.sessions.pop(record["session"])
        self.ledger.forget_texts(session.id)

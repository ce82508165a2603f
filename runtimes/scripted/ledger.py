"""Every call that reached the server, in order: so that tests count what arrived, and not what was meant to be sent."""

import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from runtimes.scripted.journal import Journal, Record
from runtimes.scripted.script import digest, said

TEXT_LIMIT = 200
"""Characters of a message that the ledger shows; its hash is of all of it."""


@dataclass(slots=True)
class Entry:
    """One call. `accepted` is false for what was refused, or has not been accepted yet."""

    n: int
    time: float
    call: str
    session: str | None = None
    waystation_session: str | None = None
    key: str | None = None
    text: str | None = None
    hash: str | None = None
    accepted: bool = False
    turn: str | None = None
    attached: bool = False
    """Whether the call came again with a known key, and was given the turn that runs already."""
    system: str | None = None
    """The system message that came with it."""


class Ledger:
    """Entries in memory, by order and by session, and counts that cost nothing to read."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._entries: list[Entry] = []
        self._of_session: dict[str, list[Entry]] = defaultdict(list)
        self._received: Counter[str] = Counter()
        self._accepted: Counter[str] = Counter()
        self._attached: Counter[str] = Counter()

    def record(
        self,
        call: str,
        *,
        session: str | None = None,
        waystation_session: str | None = None,
        key: str | None = None,
        body: dict[str, Any] | None = None,
        accepted: bool = False,
    ) -> Entry:
        """Write down a call as it arrives."""
        entry = Entry(len(self._entries) + 1, time.time(), call, session, waystation_session, key)
        if body is not None:
            text = said(body)
            entry.text, entry.hash, entry.system = text[:TEXT_LIMIT], digest(text), body.get("system")
        entry.accepted = accepted
        self._keep(entry)
        self._journal.add({"t": "call", **{name: value for name, value in asdict(entry).items() if value is not None}})
        return entry

    def accept(self, entry: Entry, turn: str, *, attached: bool = False) -> None:
        """Note that a call was accepted and which native turn it was given."""
        self._mark(entry, turn, attached)
        self._journal.add({"t": "accepted", "n": entry.n, "turn": turn, "attached": attached})

    def restore_call(self, record: Record) -> None:
        """Take a call from the journal."""
        self._keep(Entry(**{name: value for name, value in record.items() if name != "t"}))

    def restore_accepted(self, record: Record) -> None:
        """Take an acceptance from the journal."""
        self._mark(self._entries[record["n"] - 1], record["turn"], record["attached"])

    def forget_texts(self, session: str) -> None:
        """Drop what messages of a deleted session said; that they came stays known."""
        for entry in self._of_session[session]:
            entry.text = entry.system = None

    def entries(self, session: str | None, call: str | None, after: int) -> Sequence[dict[str, Any]]:
        """Return the calls after the n-th, of a session (native or of the control plane), of one name."""
        if session is not None:
            found = [entry for entry in self._of_session.get(session, ()) if entry.n > after]
        else:
            found = self._entries[after:]
        return [asdict(entry) for entry in found if call is None or entry.call == call]

    def summary(self) -> dict[str, Any]:
        """Return how many calls of each name were received and accepted, and how many came again with a known key."""
        calls = {
            call: {"received": count, "accepted": self._accepted[call], "attached": self._attached[call]}
            for call, count in sorted(self._received.items())
        }
        return {"entries": len(self._entries), "calls": calls}

    def _keep(self, entry: Entry) -> None:
        self._entries.append(entry)
        for session in {entry.session, entry.waystation_session} - {None}:
            self._of_session[str(session)].append(entry)
        self._received[entry.call] += 1
        self._accepted[entry.call] += entry.accepted

    def _mark(self, entry: Entry, turn: str, attached: bool) -> None:
        self._accepted[entry.call] += not entry.accepted
        self._attached[entry.call] += attached
        entry.accepted, entry.turn, entry.attached = True, turn, attached

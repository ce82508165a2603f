"""What is known after a run, joined by token: the clients' notes, the runtime's ledger, the log, the API's answers."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from benchmarks.chaos.notes import Notes
from benchmarks.chaos.queries import Log

Json = dict[str, Any]

AMBIGUOUS = "it is unknown whether the runtime accepted this message"
"""How a `session.error` begins that tells of a send whose outcome nobody can know."""
_TOKEN = re.compile(r"m\d+-\d+-\d+")
_ASK = re.compile(r'"ask_id": "([^"]+)"')


def token_in(text: str) -> str | None:
    """Return the token that a text carries."""
    found = _TOKEN.search(text)
    return found.group() if found else None


class Deliveries:
    """What reached the runtime and was accepted there, each native turn once however often its send came again."""

    def __init__(self, ledger: Iterable[Json]) -> None:
        self.messages: dict[str, set[str]] = defaultdict(set)
        """Native turns by token."""
        self.answers: dict[str, set[str]] = defaultdict(set)
        """Native turns that answered, by the native turn that had asked."""
        self._tokens: dict[str, list[tuple[int, int, str]]] = defaultdict(list)
        first_seen: dict[str, int] = {}
        for entry in ledger:
            if not entry["accepted"]:
                continue
            order = first_seen.setdefault(entry["session"], entry["n"])
            if entry["call"] == "start_turn":
                self._message(entry, order)
            elif found := _ASK.search(entry["text"]):
                self.answers[found.group(1).rpartition(":")[0]].add(entry["turn"])

    def _message(self, entry: Json, order: int) -> None:
        token = token_in(entry["text"]) or entry["text"]
        if entry["turn"] not in self.messages[token]:
            self.messages[token].add(entry["turn"])
            position = int(entry["turn"].rpartition("-")[2])
            self._tokens[entry["waystation_session"]].append((order, position, token))

    def tokens(self, session_id: str) -> list[str]:
        """Return the tokens of a session in the order in which the runtime accepted them."""
        return [token for _, _, token in sorted(self._tokens[session_id])]


@dataclass
class Evidence:
    """Everything a run left behind."""

    notes: Notes
    log: Log
    deliveries: Deliveries
    shown: Mapping[str, Sequence[str]]
    """By session: the ids of the events that the API lists."""
    watched: Mapping[str, Sequence[tuple[int, str]]]
    """By session that somebody watched: seq and event id of each frame, as they came."""
    in_sending: frozenset[str]
    stuck: Mapping[str, str]
    """By session: what it was last seen in."""

    @cached_property
    def events(self) -> dict[str, list[str]]:
        """The ids of the user's messages by token: one each, unless a resend was stored again."""
        found: dict[str, list[str]] = defaultdict(list)
        for frames in self.log.frames.values():
            for frame in frames:
                if frame["type"] == "user.message" and frame["processed_at"] is None:
                    found[token_in(text_of(frame)) or frame["event_id"]].append(frame["event_id"])
        return found

    @cached_property
    def told(self) -> dict[str, str]:
        """Turns whose session was told that the outcome of their send is unknown, with the session."""
        return self._errors(ambiguous=True)

    @cached_property
    def failed(self) -> dict[str, str]:
        """Turns that were given up otherwise, with the session."""
        return self._errors(ambiguous=False)

    def _errors(self, *, ambiguous: bool) -> dict[str, str]:
        found = {}
        for session_id, frames in self.log.frames.items():
            for frame in frames:
                if frame["type"] != "session.error":
                    continue
                error = frame["payload"]["error"]
                ended = error["retry_status"]["type"] != "retrying"
                if ended and error["message"].startswith(AMBIGUOUS) == ambiguous:
                    found[str(frame["turn_id"])] = session_id
        return found

    @cached_property
    def turns(self) -> dict[str, set[str]]:
        """The turns by token: the message's own, and those of the answers to what it asked."""
        found: dict[str, set[str]] = defaultdict(set)
        for token, event_ids in self.events.items():
            found[token].update(self._turns_of(event_ids))
        tokens = {ask: token_in(str(frame["payload"])) for ask, frame in self._asking.items()}
        for event_id, row in self.log.inputs.items():
            if asked_by := tokens.get(row["ask_id"]):
                found[asked_by].update(self._turns_of([event_id]))
        return found

    def _turns_of(self, event_ids: Iterable[str]) -> list[str]:
        rows = [self.log.inputs[event_id] for event_id in event_ids]
        return [row["turn_id"] for row in rows if row["turn_id"] is not None]

    @cached_property
    def _asking(self) -> dict[str, Json]:
        frames = (frame for frames in self.log.frames.values() for frame in frames)
        return {frame["event_id"]: frame for frame in frames if frame["event_id"] in self.log.asks}

    @cached_property
    def replies(self) -> dict[str, Counter[str]]:
        """How often each text stands in the log, by token."""
        found: dict[str, Counter[str]] = defaultdict(Counter)
        for frames in self.log.frames.values():
            for frame in frames:
                if frame["type"] in ("agent.message", "agent.tool_result"):
                    text = text_of(frame)
                    found[token_in(text) or ""][text] += 1
        return found

    def was_told(self, token: str) -> bool:
        """Tell whether the session was told of an ambiguous send for a message, or for an answer that it led to."""
        return not self.turns[token].isdisjoint(self.told)


def text_of(frame: Json) -> str:
    """Return the text of a frame's content."""
    return "".join(block.get("text", "") for block in frame["payload"].get("content") or ())

"""Native events of one turn, made alike from OpenCode's stream and from its history.

OpenCode's stream repeats a part whenever it changes and gives its events no lasting identity; its history holds parts
as they are now. Both are brought to one form here: each fact worth an event becomes a native event once, with a key
made of OpenCode's own ids, so it does not matter where a fact was seen. How a turn ended, and what it asks for, is
always taken from a look at the server, never from the stream alone: `session.idle` can be late, early or missing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from runtimes.base import HEARTBEAT, Json, NativeEvent

State = Literal["running", "asks", "ended", "stalled"]


@dataclass(frozen=True, slots=True)
class Look:
    """What the server says of a turn: read in this order, so an idle status means that the messages are final."""

    status: Json | None
    """`{"type": "busy" | "retry", ...}`; None when the session is idle."""
    messages: Sequence[Json]
    """The turn's user message and all after it, oldest first; empty if the user message is not there."""
    permissions: Sequence[Json]

    @property
    def replies(self) -> list[Json]:
        """The assistant's messages of the turn, including those after a compaction in its middle."""
        found = []
        for message in self.messages[1:]:
            if message["info"]["role"] == "assistant":
                found.append(message)
            elif not _is_compaction(message):
                break
        return found

    @property
    def asks(self) -> list[tuple[Json, Json]]:
        """Open permission requests of this turn, each with the tool part that waits for it."""
        waiting = {
            part["callID"]: part
            for message in self.replies
            if not _is_over(message["info"])
            for part in message["parts"]
            if part["type"] == "tool" and part["state"]["status"] == "running"
        }
        pairs = ((request, waiting.get((request.get("tool") or {}).get("callID"))) for request in self.permissions)
        return [(request, part) for request, part in pairs if part is not None] if self.status else []

    @property
    def state(self) -> State:
        """`stalled`: idle without an end; either it has not begun yet, or it never will end."""
        if self.status is not None:
            return "asks" if self.asks else "running"
        replies = self.replies
        return "ended" if replies and _is_over(replies[-1]["info"]) else "stalled"


def _is_over(info: Json) -> bool:
    return "completed" in info["time"] or bool(info.get("error"))


def _is_compaction(message: Json) -> bool:
    # A compaction inserts user messages of its own: a request for the summary, then a synthetic "go on".
    parts = message["parts"]
    return bool(parts) and all(part["type"] == "compaction" or part.get("synthetic") for part in parts)


def _finished(info: Json, part: Json) -> bool:
    return "end" in (part.get("time") or {}) or _is_over(info)


def _tool(part: Json) -> Iterator[NativeEvent]:
    state = part["state"]
    done = state["status"] in ("completed", "error")
    # A tool that is `running` may still wait for permission; with metadata it has begun its work.
    if done or (state["status"] == "running" and "metadata" in state):
        yield NativeEvent(f"{part['id']}:use", "tool.use", {"part": part})
    if done:
        yield NativeEvent(f"{part['id']}:result", "tool.result", {"part": part})


def part_events(info: Json, part: Json) -> Iterator[NativeEvent]:
    """Yield what a part of an assistant's message amounts to so far."""
    kind = part["type"]
    if kind == "tool":
        yield from _tool(part)
    elif kind in ("step-start", "step-finish"):
        yield NativeEvent(f"{part['id']}:{kind}", kind, {"part": part})
    elif kind in ("text", "reasoning") and part["text"] and _finished(info, part) and not info.get("summary"):
        yield NativeEvent(f"{part['id']}:end", kind, {"part": part})


def message_events(info: Json) -> Iterator[NativeEvent]:
    """Yield what an assistant's message amounts to besides its parts."""
    if not _is_over(info):
        return
    if "finish" not in info or info.get("error"):
        data = {"message_id": info["id"], "tokens": info.get("tokens"), "error": info.get("error")}
        yield NativeEvent(f"{info['id']}:broken", "message.broken", data)
    elif info.get("summary"):
        yield NativeEvent(f"{info['id']}:compacted", "compacted", {"message_id": info["id"]})


def _retry(status: Json | None) -> Iterator[NativeEvent]:
    if status and status["type"] == "retry":
        yield NativeEvent(f"retry:{status['next']}", "retry", {"status": status})


def _end(turn: str, answered: str | None, replies: Sequence[Json], error: Json | None) -> NativeEvent:
    info: Json = replies[-1]["info"] if replies else {}
    failure = info.get("error") or error
    aborted = failure["name"] == "MessageAbortedError" if failure else "finish" not in info
    data = {"error": None if aborted else failure, "aborted": aborted, "finish": info.get("finish")}
    return NativeEvent(f"{turn}:idle", "idle", {**data, "answered": answered})


@dataclass
class TurnReader:
    """Reads one turn from stream and looks alike; each native event with a key is returned once."""

    session: str
    turn: str
    """Id of the turn's user message."""
    answered: str | None = None
    """The permission request that this turn of ours answered, if it did."""
    _seen: set[str] = field(default_factory=set)
    _infos: dict[str, Json] = field(default_factory=dict)
    _begun: dict[str, str] = field(default_factory=dict)
    _awaited: set[str] = field(default_factory=set)
    _error: Json | None = None

    def _once(self, events: Iterator[NativeEvent]) -> list[NativeEvent]:
        fresh = [event for event in events if event.key is None or event.key not in self._seen]
        self._seen.update(event.key for event in fresh if event.key)
        return fresh

    def look(self, look: Look, settled: bool = False) -> list[NativeEvent]:
        """Return what a look adds, the turn's end included if it has ended or asks.

        Only once `settled`, the asks are all there are, and an error told without the end of its message is the end.
        """
        return self._once(self._look(look, settled))

    def _look(self, look: Look, settled: bool) -> Iterator[NativeEvent]:
        for message in look.replies:
            info = self._infos[message["info"]["id"]] = message["info"]
            for part in message["parts"]:
                yield from part_events(info, part)
            yield from message_events(info)
        yield from _retry(look.status)
        for request, part in look.asks:
            data = {"permission": request, "part": part, "turn": self.turn}
            yield NativeEvent(request["id"], "permission", data)
        if look.state == "asks" and settled:
            ids = [request["id"] for request, _ in look.asks]
            yield NativeEvent(f"asks:{','.join(ids)}", "asks", {"pending": ids})
        elif look.state == "ended" or (look.state == "stalled" and settled and self._error):
            yield _end(self.turn, self.answered, look.replies, self._error)

    def event(self, event: Json) -> tuple[list[NativeEvent], bool]:
        """Return what an event of the stream adds, and whether it is time for a look."""
        kind, properties = event["type"], event["properties"]
        if kind == "server.heartbeat":
            return [NativeEvent(None, HEARTBEAT, {})], True
        if properties.get("sessionID") != self.session:
            return [], False
        if kind == "session.error":
            self._error = properties.get("error")
        if kind == "permission.asked":
            self._awaited.add(str((properties.get("tool") or {}).get("callID")))
        due = kind in ("session.idle", "session.error", "permission.asked") or self._asks_now(kind, properties)
        return self._once(self._event(kind, properties)), due

    def _asks_now(self, kind: str, properties: Json) -> bool:
        # The request can come before the tool part that says what is asked for.
        return kind == "message.part.updated" and properties["part"].get("callID") in self._awaited

    def _event(self, kind: str, properties: Json) -> Iterator[NativeEvent]:
        if kind == "message.updated" and properties["info"]["role"] == "assistant":
            yield from self._message(properties["info"])
        elif kind == "message.part.updated":
            yield from self._part(properties["part"])
        elif kind == "message.part.delta":
            yield from self._delta(properties)
        elif kind == "session.status":
            yield from _retry(properties["status"])

    def _message(self, info: Json) -> Iterator[NativeEvent]:
        # An earlier turn's last message may still be touched while this one is followed.
        if info["id"] in self._infos or info.get("parentID", "") >= self.turn:
            self._infos[info["id"]] = info
            yield from message_events(info)

    def _part(self, part: Json) -> Iterator[NativeEvent]:
        info = self._infos.get(part["messageID"])
        if info is None:
            return
        if part["type"] in ("text", "reasoning") and not part["text"] and not info.get("summary"):
            self._begun[part["id"]] = part["type"]
        yield from part_events(info, part)

    def _delta(self, properties: Json) -> Iterator[NativeEvent]:
        # Only of a part whose beginning was seen: a preview may end early, but has no hole.
        part = properties["partID"]
        if properties["field"] == "text" and part in self._begun and f"{part}:end" not in self._seen:
            data = {"part_id": part, "kind": self._begun[part], "text": properties["delta"]}
            yield NativeEvent(None, "delta", data)

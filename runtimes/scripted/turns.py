"""A native turn: its numbered events, who waits for more of them, and how it ended."""

import asyncio
from bisect import bisect_right
from dataclasses import dataclass
from typing import Any, Literal

from runtimes.scripted.journal import Journal, encode

Status = Literal["running", "ended", "lost"]


@dataclass(frozen=True, slots=True)
class Frame:
    """One thing in a turn's stream. `body` is the event as JSON; deltas and cuts have none in a snapshot."""

    seq: int
    wire: bytes
    body: bytes | None = None
    split: bool = False


class NativeTurn:
    """Events are kept as the bytes that are sent, so that a reader costs no encoding."""

    __slots__ = (
        "_count",
        "_cuts",
        "_double",
        "_frames",
        "_journal",
        "_readers",
        "_seq",
        "_waiting",
        "detail",
        "id",
        "quiet",
        "status",
        "task",
    )

    def __init__(self, turn_id: str, journal: Journal) -> None:
        self.id = turn_id
        self.status: Status = "running"
        self.detail: str | None = None
        self.quiet = False
        """Whether readers get no heartbeats either."""
        self.task: asyncio.Task[None] | None = None
        self._journal = journal
        self._frames: list[Frame] = []
        self._seq = 0
        self._count = 0
        self._cuts: dict[int, int] = {}
        self._double = False
        self._readers = 0
        self._waiting: list[asyncio.Future[bool]] = []

    def new_id(self) -> str:
        """Return a native id for an event, unique in the session, before the event itself is made."""
        self._count += 1
        return f"{self.id}:{self._count}"

    def emit(self, kind: str, data: dict[str, Any], native_id: str | None = None, *, split: bool = False) -> None:
        """Add an event; it is in the journal before anyone is shown it."""
        self._seq += 1
        event = {"seq": self._seq, "type": kind, **data}
        if native_id is not None:
            event["id"] = native_id
        text = encode(event)
        self._journal.add_line(f'{{"t":"event","turn":"{self.id}","event":{text}}}')
        self._keep(kind, text.encode("utf-8", "surrogatepass"), split=split)
        self._notify()

    def emit_delta(self, kind: str, of: str, text: str, *, split: bool = False) -> None:
        """Add a piece of the event `of`. It is shown live only, and forgotten when the turn ends or the server does."""
        self._seq += 1
        event = encode({"seq": self._seq, "type": "delta", "of": of, "kind": kind, "text": text})
        wire = frame(self._seq, "delta", event.encode("utf-8", "surrogatepass"))
        self._frames.append(Frame(self._seq, wire, split=split))
        self._notify()

    def restore(self, event: dict[str, Any]) -> None:
        """Take an event from the journal."""
        self._seq = event["seq"]
        self._keep(event["type"], encode(event).encode("utf-8", "surrogatepass"))

    def _keep(self, kind: str, body: bytes, *, split: bool = False) -> None:
        wire = frame(self._seq, kind, body)
        if self._double:
            wire, self._double = wire * 2, False
        self._frames.append(Frame(self._seq, wire, body, split))
        if kind == "end":
            self.status = "ended"

    def double_next(self) -> None:
        """Send the next event that is not a delta twice."""
        self._double = True

    def cut(self, times: int) -> None:
        """Cut off the next `times` readers that come to this point."""
        self._seq += 1
        self._cuts[self._seq] = times
        self._frames.append(Frame(self._seq, b""))
        self._notify()

    def end(self, reason: str, *, error: str | None = None, error_type: str | None = None) -> None:
        """End the turn, if it has not ended."""
        if self.status == "running":
            told = {"error": error, "error_type": error_type}
            data = {"reason": reason, **{key: value for key, value in told.items() if value is not None}}
            self.emit("end", data, f"{self.id}:end")

    def lose(self, detail: str) -> None:
        """Stop the turn without an end, as if it had never been able to tell one."""
        if self.status == "running":
            self.status, self.detail = "lost", detail
            self._journal.add({"t": "lost", "turn": self.id, "detail": detail})
            self._notify()

    def stop(self) -> bool:
        """End the turn as interrupted; false if it was over already."""
        if self.status != "running":
            return False
        if self.task is not None:
            self.task.cancel()
        self.end("interrupted")
        return True

    def join(self) -> None:
        """Count a reader."""
        self._readers += 1

    def leave(self) -> None:
        """Forget a reader, and after the last one of a turn that is over, its deltas."""
        self._readers -= 1
        if not self._readers and self.status != "running":
            self._frames = [frame for frame in self._frames if frame.body is not None or frame.seq in self._cuts]

    def read(self, after: int) -> tuple[list[Frame], bool]:
        """Return what comes after a seq, and whether the reader is cut off behind it."""
        start = bisect_right(self._frames, after, key=lambda frame: frame.seq)
        if not self._cuts:
            return self._frames[start:], False
        for end in range(start, len(self._frames)):
            seq = self._frames[end].seq
            if self._cuts.get(seq, 0):
                self._cuts[seq] -= 1
                return self._frames[start : end + 1], True
        return self._frames[start:], False

    async def changed(self, timeout: float) -> bool:
        """Wait until there is more to read; false after `timeout` seconds."""
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[bool] = loop.create_future()
        timer = loop.call_later(timeout, settle, waiting, False)
        self._waiting.append(waiting)
        try:
            return await waiting
        finally:
            timer.cancel()
            if waiting in self._waiting:
                self._waiting.remove(waiting)

    def _notify(self) -> None:
        for waiting in self._waiting:
            settle(waiting, True)
        self._waiting.clear()

    def snapshot(self) -> bytes:
        """Return `{"status", "detail", "events"}` as JSON, deltas left out."""
        bodies = b",".join(frame.body for frame in self._frames if frame.body is not None)
        head = encode({"status": self.status, "detail": self.detail}).encode()
        return head[:-1] + b',"events":[' + bodies + b"]}"


def settle(waiting: asyncio.Future[bool], value: bool) -> None:
    """Give a future its result, unless it has one."""
    if not waiting.done():
        waiting.set_result(value)


def frame(seq: int, kind: str, body: bytes) -> bytes:
    """Return a server-sent event."""
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (seq, kind.encode(), body)

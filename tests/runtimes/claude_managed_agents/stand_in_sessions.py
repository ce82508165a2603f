"""Sessions of the stand-in: an event log, its streams, and an agent that does what the text of a message says.

Texts: `wait` runs until interrupted, `ask` uses a tool that needs approval, `custom` a custom tool, `both` one of each,
`think` thinks first, `stumble` has a passing error, `odd` emits an unknown event type, `fail` gives up, `terminate`
terminates the session; anything else is answered at once.
"""

import asyncio
import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

Json = dict[str, Any]
USAGE = {"input_tokens": 10, "output_tokens": 5, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 2}


@dataclasses.dataclass
class Faults:
    """What goes wrong, when a test says so."""

    answer_lost: bool = False
    """The next send is accepted, and the connection is cut in the middle of the answer."""
    answer_late_s: float = 0.0
    """The next send is accepted, and answered so much later."""
    swallowed_s: float = 0.0
    """The next send is answered so much later, and not accepted."""
    drop_stream_after: int | None = None
    """The next stream breaks after so many frames."""
    error_frame: str | None = None
    """The next stream starts with an error frame of this type."""
    stream_late_s: float = 0.0
    """Every stream answers so much after its request."""
    every_frame_twice: bool = False
    idle_before_message: bool = False
    """An idle of an earlier turn is announced between a message's acceptance and its processing."""
    queued_s: float = 0.0
    """Messages stay in the queue for so long."""
    answers: list[tuple[int, Json, dict[str, str]]] = dataclasses.field(default_factory=list)
    """Status, body and headers of the next requests' answers."""
    pings: bool = False


class Log:
    """A session's events, in order, and the streams that follow them."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self.events: list[Json] = []
        self.queues: set[asyncio.Queue[Json]] = set()
        self._last = datetime.now(UTC)
        self._ids = 0
        self._loop = asyncio.get_running_loop()

    def new_id(self) -> str:
        self._ids += 1
        return f"sevt_{id(self):x}_{self._ids:04d}"

    def stamp(self) -> str:
        self._last = max(datetime.now(UTC), self._last + timedelta(microseconds=1))
        return self._last.isoformat().replace("+00:00", "Z")

    def publish(self, event: Json) -> None:
        for queue in self.queues:
            queue.put_nowait(dict(event))

    def append(self, kind: str, **fields: Any) -> Json:
        event = {"type": kind, "id": fields.pop("id", None) or self.new_id(), "processed_at": self.stamp(), **fields}
        self.events.append(event)
        self.publish(event)
        return event

    def append_soon(self, kind: str) -> None:
        """Append from another thread."""
        self._loop.call_soon_threadsafe(self.append, kind)

    def queue(self, event: Json) -> Json:
        queued = {**event, "id": self.new_id(), "processed_at": None}
        self.events.append(queued)
        self.publish(queued)
        return queued

    def process(self, queued: Json) -> None:
        """Give a queued event its time and, with it, its place."""
        self.events.remove(queued)
        queued["processed_at"] = self.stamp()
        self.events.append(queued)
        self.publish(queued)


class StandInSession:
    """One session: its inbox is worked off in order, an interrupt at once."""

    def __init__(self, session_id: str, body: Json, faults: Faults) -> None:
        self.id, self.body, self.faults = session_id, body, faults
        self.status = "idle"
        self.archived_at: str | None = None
        self.log = Log(faults)
        self.pending: dict[str, str] = {}
        self._inbox: asyncio.Queue[Json] = asyncio.Queue()
        self._running: asyncio.Task[None] | None = None
        self._worker = asyncio.create_task(self._work())

    def close_soon(self) -> None:
        """Stop the agent; from any thread."""
        for task in (self._worker, self._running):
            if task:
                task.get_loop().call_soon_threadsafe(task.cancel)

    def accept(self, events: list[Json]) -> list[Json]:
        accepted = [self.log.queue(event) for event in events]
        echoes = [dict(event) for event in accepted]
        for event in accepted:
            if event["type"] == "user.interrupt":
                self._interrupt(event)
            else:
                self._inbox.put_nowait(event)
        return echoes

    def _interrupt(self, event: Json) -> None:
        self.log.process(event)
        if self._running and not self._running.done():
            self._running.cancel()
        if self.status == "running" or self.pending:
            self.pending.clear()
            self._idle({"type": "end_turn"})

    def _idle(self, reason: Json) -> None:
        self.status = "idle"
        self.log.append("session.status_idle", stop_reason=reason)

    async def _work(self) -> None:
        while True:
            event = await self._inbox.get()
            await asyncio.sleep(self.faults.queued_s)
            if self.faults.idle_before_message and event["type"] == "user.message":
                self.log.append("session.status_idle", stop_reason={"type": "end_turn"})
            self.log.process(event)
            self._running = asyncio.create_task(self._react(event))
            await asyncio.wait([self._running])

    async def _react(self, event: Json) -> None:
        if event["type"] == "user.message":
            await self._turn(event["content"][0]["text"])
        elif event["type"] in ("user.tool_confirmation", "user.custom_tool_result"):
            self._answered(event)

    def _start(self) -> None:
        self.status = "running"
        self.log.append("session.status_running")

    async def _turn(self, text: str) -> None:
        self._start()
        if text == "wait":
            await self._say("Waiting.")
            await asyncio.Event().wait()
        elif text in ("ask", "custom", "both"):
            self._use_tools(text)
        elif text == "terminate":
            self.status = "terminated"
            self.log.append("session.status_terminated")
        elif text == "fail":
            error = {"type": "model_overloaded_error", "message": "m", "retry_status": {"type": "exhausted"}}
            self.log.append("session.error", error=error)
            self._idle({"type": "retries_exhausted"})
        else:
            await self._answer(text)

    async def _answer(self, text: str) -> None:
        if text == "think":
            thinking = self.log.new_id()
            self.log.publish({"type": "event_start", "event": {"type": "agent.thinking", "id": thinking}})
            self.log.append("agent.thinking", id=thinking)
        if text == "stumble":
            error = {"type": "model_overloaded_error", "message": "m", "retry_status": {"type": "retrying"}}
            self.log.append("session.error", error=error)
            self.log.append("session.status_rescheduled")
            self.log.append("session.status_running")
        if text == "odd":
            self.log.append("agent.telepathy", thought={"strength": 3})
        await self._say(f"You said: {text}")
        self._idle({"type": "end_turn"})

    async def _say(self, text: str) -> None:
        start = self.log.append("span.model_request_start")
        key = self.log.new_id()
        self.log.publish({"type": "event_start", "event": {"type": "agent.message", "id": key}})
        for piece in (text[:4], text[4:]):
            content = {"type": "text", "text": piece}
            delta = {"type": "content_delta", "index": 0, "content": content}
            self.log.publish({"type": "event_delta", "event_id": key, "delta": delta})
            await asyncio.sleep(0)
        self.log.append("agent.message", id=key, content=[{"type": "text", "text": text}])
        usage = {"model_usage": USAGE, "is_error": False}
        self.log.append("span.model_request_end", model_request_start_id=start["id"], **usage)

    def _use_tools(self, text: str) -> None:
        if text in ("ask", "both"):
            use = {"name": "bash", "input": {"command": "ls"}, "evaluated_permission": "ask"}
            self.pending[self.log.append("agent.tool_use", **use)["id"]] = "tool_use_id"
        if text in ("custom", "both"):
            custom = self.log.append("agent.custom_tool_use", name="look_up", input={"q": 1}, session_thread_id=None)
            self.pending[custom["id"]] = "custom_tool_use_id"
        self._idle({"type": "requires_action", "event_ids": list(self.pending)})

    def _answered(self, event: Json) -> None:
        use = event.get("tool_use_id") or event["custom_tool_use_id"]
        self.pending.pop(use, None)
        if event["type"] == "user.tool_confirmation":
            denied = event["result"] == "deny"
            text = event.get("deny_message") or "denied" if denied else "a.txt"
            content = [{"type": "text", "text": text}]
            self.log.append("agent.tool_result", tool_use_id=use, content=content, is_error=denied)
        if self.pending:
            self._idle({"type": "requires_action", "event_ids": list(self.pending)})
            return
        self._start()
        self.log.append("agent.message", content=[{"type": "text", "text": "Done."}])
        self._idle({"type": "end_turn"})

    def body_now(self) -> Json:
        return {
            "id": self.id,
            "type": "session",
            "status": "terminated" if self.archived_at else self.status,
            "archived_at": self.archived_at,
            "metadata": self.body.get("metadata") or {},
            "environment_id": self.body["environment_id"],
            "agent": self.body["agent"],
        }

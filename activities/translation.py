"""Between an adapter's `translate` and the log: keys, ids, references and previews."""

from collections.abc import Sequence
from typing import Any

from activities.prices import cost_of
from protocol.ids import event_id
from runtimes.base import (
    HEARTBEAT,
    Ask,
    Delta,
    End,
    Event,
    NativeEvent,
    Reference,
    Runtime,
    Translated,
    Vendor,
)
from store.claims import ClaimedTurn
from store.event_log import NewFrame
from store.turns import Batch, NewAsk
from store.usage import Cost

Json = dict[str, Any]


class Translator:
    """Turns a turn's native events into batches for the log and previews for the live bus.

    `from_first`: the stream is seen from the turn's first event, so that events without an id can be counted.
    """

    def __init__(self, runtime: Runtime, turn: ClaimedTurn, *, from_first: bool) -> None:
        self._runtime = runtime
        self._turn = turn
        self._model: str = turn.session["agent"]["model"]["id"]
        self._state: Json = turn.row["state"]
        self._cursor: str | None = turn.row["cursor"]
        self._idless: int = turn.row["idless"]
        self._counts_live = from_first
        self._started: set[str] = set()
        self.batch = self._new_batch()
        self.previews: list[Json] = []
        self.end: End | None = None
        self.left_out = False
        """Whether live events without an id were left to the snapshot."""

    def add_live(self, natives: Sequence[NativeEvent]) -> None:
        """Add events of a stream, up to an end."""
        for native in natives:
            if self.end is not None:
                return
            self._add(native, live=True)

    def add_snapshot(self, natives: Sequence[NativeEvent]) -> None:
        """Add what an authoritative snapshot holds; those without an id are counted from the turn's first."""
        self.left_out = False
        self._counts_live = False
        before, self._idless = self._idless, 0
        for native in natives:
            if self.end is None:
                self._add(native, live=False)
        self._idless = max(self._idless, before)

    def lose_count(self) -> None:
        """From here on live events without an id cannot be told from those seen before a drop."""
        self._counts_live = False

    def take(self) -> Batch:
        """Return the batch so far and begin the next."""
        batch = self.batch
        batch.cursor, batch.state, batch.idless = self._cursor, self._state, self._idless
        self.batch = self._new_batch()
        return batch

    def take_previews(self) -> list[Json]:
        """Return the previews so far."""
        previews, self.previews = self.previews, []
        return previews

    @property
    def empty(self) -> bool:
        """Whether the batch holds nothing to store."""
        return not (self.batch.frames or self.batch.vendor)

    def _new_batch(self) -> Batch:
        return Batch(cursor=self._cursor, state=self._state, idless=self._idless)

    def _add(self, native: NativeEvent, *, live: bool) -> None:
        if native.cursor is not None:
            self._cursor = native.cursor
        if native.type == HEARTBEAT:
            return
        translation = self._runtime.translate(self._state, native)
        key = native.key or self._counted_key(translation.items, live=live)
        if key is None:
            # It may have been stored before a drop: the snapshot tells, and also how the turn ended.
            self.left_out = True
            return
        self._state = translation.state
        ordinal = 0
        for item in translation.items:
            if isinstance(item, Event | Ask):
                self._add_event(item, key, ordinal)
                ordinal += 1
            elif isinstance(item, Delta):
                self._add_preview(item)
            elif isinstance(item, Vendor):
                self.batch.vendor.append((item.type, item.data))
            else:
                self.end = item

    def _counted_key(self, items: Sequence[Translated], *, live: bool) -> str | None:
        """Return the key of a native event without an id, by counting those that are stored; None where unknown."""
        if not any(isinstance(item, Event | Ask) for item in items):
            return ""
        if live and not self._counts_live:
            return None
        self._idless += 1
        return f"{self._turn.id}~{self._idless}"

    def _add_event(self, item: Event | Ask, key: str, ordinal: int) -> None:
        id_ = event_id(self._turn.session_id, key, ordinal)
        payload = {name: self._resolved(value) for name, value in item.payload.items()}
        self.batch.frames.append(
            NewFrame(
                item.type,
                payload,
                event_id=id_,
                turn_id=self._turn.id,
                native_key=key,
                ordinal=ordinal,
                cost=self._cost(item),
            )
        )
        if isinstance(item, Ask):
            self.batch.asks.append(NewAsk(id_, item.type, item.native, _client_tool(item)))

    def _cost(self, item: Event | Ask) -> Cost | None:
        if not isinstance(item, Event) or item.type != "span.model_request_end":
            return None
        return cost_of(self._model, item.payload["model_usage"], item.cost_usd)

    def _resolved(self, value: Any) -> Any:
        if isinstance(value, Reference):
            return event_id(self._turn.session_id, value.native_key, value.ordinal)
        return value

    def _add_preview(self, delta: Delta) -> None:
        id_ = event_id(self._turn.session_id, delta.native_key, delta.ordinal)
        if id_ not in self._started:
            self._started.add(id_)
            self.previews.append({"type": "event_start", "event": {"type": delta.type, "id": id_}})
        if not delta.text:
            return
        content = {"type": "text", "text": delta.text}
        piece = {"type": "content_delta", "index": delta.index, "content": content}
        self.previews.append({"type": "event_delta", "event_id": id_, "delta": piece})


def _client_tool(ask: Ask) -> str | None:
    """Return what a tool that the client runs waits for first."""
    if not ask.client_tool:
        return None
    return "confirm" if ask.payload.get("evaluated_permission") == "ask" else "run"

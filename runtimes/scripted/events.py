"""From the server's bytes to native events.

Events are cut out of the bytes before anything is decoded, so a character that is split between two reads is whole
again. The event's number and type stand in its JSON as well: only the `data:` line is read.
"""

import json
from collections.abc import AsyncIterator

from runtimes.base import HEARTBEAT, Json, NativeEvent

DATA = b"\ndata: "


async def frames(chunks: AsyncIterator[bytes]) -> AsyncIterator[Json]:
    """Yield the JSON of each server-sent event. A last one without its empty line was cut off, and is dropped."""
    rest = b""
    async for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n\n")
        for frame in whole:
            start = frame.find(DATA)
            if start >= 0:
                yield json.loads(frame[start + len(DATA) :])


def native_event(turn_id: str, data: Json, *, cursor: bool) -> NativeEvent:
    """Return an event of a turn; `cursor` says whether the stream can be resumed after it.

    A delta has a key of its own, so that it is never counted among the events without a native id.
    """
    kind = data["type"]
    if kind == HEARTBEAT:
        return NativeEvent(None, kind, data)
    key = f"{turn_id}:d{data['seq']}" if kind == "delta" else data.get("id")
    return NativeEvent(key, kind, data, f"{turn_id}:{data['seq']}" if cursor else None)


def seq_after(turn_id: str, cursor: str | None) -> int:
    """Return where a turn's stream goes on; 0 if the cursor is of an earlier turn."""
    owner, _, seq = (cursor or "").rpartition(":")
    return int(seq) if owner == turn_id else 0

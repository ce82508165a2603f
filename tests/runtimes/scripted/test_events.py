from collections.abc import AsyncIterator

from runtimes.base import Json
from runtimes.scripted.events import frames, native_event, seq_after
from runtimes.scripted.stream import HEARTBEAT
from runtimes.scripted.turns import frame


async def chunked(stream: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(stream), size):
        yield stream[start : start + size]


async def read(stream: bytes, size: int) -> list[Json]:
    return [data async for data in frames(chunked(stream, size))]


async def test_events_are_whole_however_they_are_cut() -> None:
    stream = frame(1, "message", '{"seq":1,"text":"é🚂\\n\\ndata: "}'.encode()) + HEARTBEAT
    expected = [{"seq": 1, "text": "é🚂\n\ndata: "}, {"type": "heartbeat"}]
    for size in range(1, len(stream) + 1):
        assert await read(stream, size) == expected


async def test_event_cut_off_is_dropped() -> None:
    assert await read(frame(1, "message", b"{}")[:-1], 7) == []


async def test_comment_is_no_event() -> None:
    assert await read(b": ping\n\n", 100) == []


def test_delta_has_key_of_its_own() -> None:
    event = native_event("t", {"seq": 4, "type": "delta", "of": "t:1"}, cursor=True)
    assert (event.key, event.cursor) == ("t:d4", "t:4")


def test_message_without_id_has_no_key() -> None:
    assert native_event("t", {"seq": 4, "type": "message"}, cursor=False).key is None


def test_cursor_of_earlier_turn_starts_anew() -> None:
    assert (seq_after("t-2", "t-2:7"), seq_after("t-2", "t-1:7"), seq_after("t-2", None)) == (7, 0, 0)

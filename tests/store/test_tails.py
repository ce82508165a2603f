import asyncio
import gc
import pathlib
import random
import re
import sys
from collections.abc import AsyncIterator

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from protocol.errors import InvalidRequestError, NotFoundError, OverloadedError
from store.engine import Store
from store.event_log import NewFrame
from store.live import LiveBus, open_live
from store.tables import events, sessions
from store.tails import Tails
from store.viewers import MOST_BYTES, MOST_PIECES, Viewer
from tests.store.live_log import WORKSPACE, insert_session, message, write


@pytest.fixture
async def bus(db_store: Store, tmp_path: pathlib.Path) -> AsyncIterator[LiveBus]:
    bus = open_live(db_store, tmp_path)
    await bus.start()
    yield bus
    await bus.close()


@pytest.fixture
async def tails(db_store: Store, bus: LiveBus) -> AsyncIterator[Tails]:
    tails = Tails(db_store, bus, 10_000)
    yield tails
    await tails.close()


@pytest.fixture
async def session_id(db_store: Store) -> str:
    return await db_store.write(insert_session)


def start(event_id: str, type_: str = "agent.message") -> dict[str, object]:
    return {"type": "event_start", "event": {"type": type_, "id": event_id}}


def delta(event_id: str, text: str) -> dict[str, object]:
    content = {"type": "text", "text": text}
    return {"type": "event_delta", "event_id": event_id, "delta": {"type": "content_delta", "index": 0, "content": content}}  # fmt: skip  # noqa: E501


def ids(data: bytes) -> list[int]:
    """Return the places of the frames in a piece of a stream."""
    return [int(found) for found in re.findall(rb"^id: (\d+)$", data, re.MULTILINE)]


async def seen(viewer: Viewer, last: int, timeout: float = 20.0) -> list[int]:
    """Follow a viewer up to the place `last`."""
    places: list[int] = []
    async with asyncio.timeout(timeout):
        while not places or places[-1] < last:
            data = await viewer.next(timeout)
            assert data is not None
            places += ids(data)
    return places


async def text_of(viewer: Viewer, timeout: float = 0.2) -> str:
    """Return what a viewer gives until nothing has come for `timeout` seconds."""
    data = b""
    while more := await viewer.next(timeout):
        data += more
    return data.decode()


async def test_viewer_begins_now_or_where_it_is_told(
    db_store: Store, bus: LiveBus, tails: Tails, session_id: str
) -> None:
    await write(db_store, bus, session_id, *(message(str(n)) for n in range(5)))
    now = await tails.open(session_id, WORKSPACE)
    after = await tails.open(session_id, WORKSPACE, after=2)
    start_ = await tails.open(session_id, WORKSPACE, after=0)
    await write(db_store, bus, session_id, message("new"))
    assert await seen(now, 6) == [6]
    assert await seen(after, 6) == [3, 4, 5, 6]
    assert await seen(start_, 6) == [1, 2, 3, 4, 5, 6]
    for viewer in (now, after, start_):
        assert await viewer.next(0.01) == b""
        viewer.close()
        assert await viewer.next(0.01) is None
    assert tails.count == 0
    assert tails._tails == {}
    assert bus._watches == {}


async def test_what_cannot_be_viewed_is_refused(db_store: Store, bus: LiveBus, session_id: str) -> None:
    tails = Tails(db_store, bus, 1)
    deleted = await db_store.write(insert_session)
    delete = sa.update(sessions).where(sessions.c.id == deleted).values(deleted_at=1)
    await db_store.write(lambda db: db.execute(delete))
    for unknown, workspace in (("session_no", WORKSPACE), (session_id, "wrkspc_other"), (deleted, WORKSPACE)):
        with pytest.raises(NotFoundError):
            await tails.open(unknown, workspace)
    with pytest.raises(InvalidRequestError):
        await tails.open(session_id, WORKSPACE, after=1)
    viewer = await tails.open(session_id, WORKSPACE, after=0)
    with pytest.raises(OverloadedError):
        await tails.open(session_id, WORKSPACE)
    viewer.close()
    (await tails.open(session_id, WORKSPACE)).close()
    assert bus._watches == {}
    await tails.close()
    with pytest.raises(OverloadedError):
        await tails.open(session_id, WORKSPACE)


@pytest.mark.timeout(240)
async def test_thousand_drops_miss_nothing_and_double_nothing(
    db_store: Store, bus: LiveBus, tails: Tails, session_id: str
) -> None:
    total, clients, drops = 1200, 10, 100

    async def produce() -> None:
        done = 0
        while done < total:
            count = min(random.choice((1, 1, 2, 3, 40)), total - done)
            await write(db_store, bus, session_id, *(message("x") for _ in range(count)))
            done += count
            await asyncio.sleep(0.002)

    async def consume() -> list[int]:
        places: list[int] = []
        for number in range(drops + 1):
            viewer = await tails.open(session_id, WORKSPACE, after=places[-1] if places else 0)
            goal = total if number == drops else min(total, len(places) + random.randint(0, 2 * total // drops))
            while len(places) < goal:
                data = await viewer.next(5)
                assert data
                places += ids(data)
            viewer.close()
        return places

    results = await asyncio.gather(produce(), *(consume() for _ in range(clients)))
    for places in results[1:]:
        assert places == list(range(1, total + 1))
    assert tails.count == 0


async def test_safety_poll_alone_suffices(db_store: Store, bus: LiveBus, tails: Tails, session_id: str) -> None:
    viewers = [await tails.open(session_id, WORKSPACE) for _ in range(3)]
    for last in (2, 4):
        await write(db_store, None, session_id, message("a"), message("b"))
        for viewer in viewers:
            assert await seen(viewer, last, 5) == [last - 1, last]


async def test_one_read_serves_all_viewers(
    db_store: Store, bus: LiveBus, tails: Tails, session_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewers = [await tails.open(session_id, WORKSPACE) for _ in range(50)]
    reads = 0
    read = db_store.read

    async def counted(work: object) -> object:
        nonlocal reads
        reads += 1
        return await read(work)  # type: ignore[arg-type]

    monkeypatch.setattr(db_store, "read", counted)
    await write(db_store, bus, session_id, message("a"))
    for viewer in viewers:
        assert await seen(viewer, 1) == [1]
    assert reads <= 3


async def test_slow_viewer_lags_alone_and_catches_up(
    db_store: Store, bus: LiveBus, tails: Tails, session_id: str
) -> None:
    slow, quick = await tails.open(session_id, WORKSPACE), await tails.open(session_id, WORKSPACE)
    total = 4 * MOST_PIECES
    reader = asyncio.create_task(seen(quick, total))
    for _ in range(total // 8):
        await write(db_store, bus, session_id, *(message("x") for _ in range(8)))
    assert await reader == list(range(1, total + 1))
    assert slow.lagging
    assert len(slow._buffer) == MOST_PIECES
    assert not quick.lagging
    assert await seen(slow, total) == list(range(1, total + 1))
    assert await slow.next(0.01) == b""
    assert not slow.lagging
    await write(db_store, bus, session_id, message("x"))
    assert await seen(slow, total + 1) == [total + 1]


async def test_buffer_is_bounded_by_bytes_too(db_store: Store, bus: LiveBus, tails: Tails, session_id: str) -> None:
    slow = await tails.open(session_id, WORKSPACE)
    for _ in range(8):
        await write(db_store, bus, session_id, message("x" * 100_000))
    await asyncio.sleep(0.3)
    assert slow.lagging
    assert slow._size <= MOST_BYTES
    await write(db_store, bus, session_id, message("y" * 2 * MOST_BYTES), message("z"))
    assert await seen(slow, 10) == list(range(1, 11))
    assert slow._page < 32
    await write(db_store, bus, session_id, message("y" * 2 * MOST_BYTES))
    assert await seen(slow, 11) == [11]


async def test_previews_go_to_those_who_asked(db_store: Store, bus: LiveBus, tails: Tails, session_id: str) -> None:
    both = await tails.open(session_id, WORKSPACE, deltas=frozenset({"agent.message", "agent.thinking"}))
    one = await tails.open(session_id, WORKSPACE, deltas=frozenset({"agent.message"}))
    none = await tails.open(session_id, WORKSPACE)
    bus.preview(session_id, [start("t", "agent.thinking"), start("m"), delta("m", "he")])
    bus.preview(session_id, [delta("m", "llo"), delta("unstarted", "no")])
    await write(db_store, bus, session_id, message("hello", event_id="m"))
    bus.preview(session_id, [start("m"), delta("m", "late")])
    texts = [await text_of(viewer) for viewer in (both, one, none)]
    events_ = [re.findall(r"^event: (.*)$", text, re.MULTILINE) for text in texts]
    assert events_ == [
        ["event_start", "event_start", "event_delta", "agent.message"],
        ["event_start", "event_delta", "agent.message"],
        ["agent.message"],
    ]
    assert '"text":"hello"' in texts[0].split("event: agent.message")[0]
    assert texts[0].count("id: ") == 1


async def test_late_previews_of_a_known_message_are_dropped(
    db_store: Store, bus: LiveBus, tails: Tails, session_id: str
) -> None:
    viewer = await tails.open(session_id, WORKSPACE, deltas=frozenset({"agent.message"}))
    bus.preview(session_id, [start("m"), delta("m", "a")])
    await asyncio.sleep(0.1)
    bus.preview(session_id, [delta("m", "b")])
    bus._tell(session_id, await write(db_store, None, session_id, message("ab", event_id="m")))
    text = await text_of(viewer)
    assert re.findall(r"^event: (.*)$", text, re.MULTILINE) == ["event_start", "event_delta", "agent.message"]
    replay = await tails.open(session_id, WORKSPACE, after=0, deltas=frozenset({"agent.message"}))
    assert "agent.message" in await text_of(replay)
    bus.preview(session_id, [start("m"), delta("m", "c")])
    assert await text_of(replay) == ""


async def test_previews_end_at_a_gap(bus: LiveBus, tails: Tails, session_id: str) -> None:
    viewer = await tails.open(session_id, WORKSPACE, deltas=frozenset({"agent.message"}))
    told = bus._tell
    for number, text in enumerate("abcd"):
        bus.preview(session_id, [start("m"), delta("m", text)] if number == 0 else [delta("m", text)])
        bus._tell = (lambda *_: None) if number == 1 else told  # type: ignore[method-assign]
        bus._previews.flush(session_id)
    text = await text_of(viewer)
    assert re.findall(r'"text":"(.)"', text) == ["a"]
    bus.preview(session_id, [start("m"), delta("m", "again")])
    assert '"again"' in await text_of(viewer)


async def test_deleted_session_ends_its_streams(db_store: Store, bus: LiveBus, tails: Tails, session_id: str) -> None:
    await write(db_store, bus, session_id, message("a"))
    live = await tails.open(session_id, WORKSPACE)
    behind = await tails.open(session_id, WORKSPACE, after=0)

    def erase(db: Connection) -> None:
        db.execute(sa.delete(events).where(events.c.session_id == session_id))
        db.execute(sa.update(sessions).where(sessions.c.id == session_id).values(deleted_at=1_700_000_000_000_000))

    await db_store.write(erase)
    bus.announce(session_id, 1)
    for viewer in (live, behind):
        text = await text_of(viewer, 0.9)
        assert text.startswith("event: session.deleted\ndata: ")
        assert '"processed_at":"2023-11-14T22:13:20.000000Z"' in text
        assert await viewer.next(0.01) is None
    assert tails.count == 0


async def test_erased_session_ends_its_streams_without_a_word(db_store: Store, tails: Tails, session_id: str) -> None:
    viewer = await tails.open(session_id, WORKSPACE)
    await db_store.write(lambda db: db.execute(sa.delete(sessions).where(sessions.c.id == session_id)))
    assert "session.deleted" in await text_of(viewer, 4)


async def test_deletion_told_by_the_log_is_the_last_event(
    db_store: Store, bus: LiveBus, tails: Tails, session_id: str
) -> None:
    live = await tails.open(session_id, WORKSPACE)
    behind = await tails.open(session_id, WORKSPACE, after=0)
    await write(db_store, bus, session_id, message("a"), NewFrame("session.deleted", {}))
    for viewer in (live, behind):
        text = await text_of(viewer, 2)
        assert re.findall(r"^(?:id|event): (.*)$", text, re.MULTILINE) == ["1", "agent.message", "2", "session.deleted"]
        assert await viewer.next(0.01) is None


async def test_closing_ends_every_stream_at_once(db_store: Store, bus: LiveBus, session_id: str) -> None:
    tails = Tails(db_store, bus, 100)
    waiting = [asyncio.create_task((await tails.open(session_id, WORKSPACE)).next(30)) for _ in range(10)]
    await asyncio.sleep(0.01)
    async with asyncio.timeout(1):
        await tails.close()
        assert await asyncio.gather(*waiting) == [None] * 10


async def test_database_away_for_a_while_loses_nothing(
    db_store: Store, bus: LiveBus, tails: Tails, session_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = await tails.open(session_id, WORKSPACE)
    behind = await tails.open(session_id, WORKSPACE, after=0)
    read = db_store.read
    away = True

    async def failing(work: object) -> object:
        if away:
            raise ConnectionRefusedError
        return await read(work)  # type: ignore[arg-type]

    monkeypatch.setattr(db_store, "read", failing)
    reader = asyncio.create_task(seen(behind, 1))
    await write(db_store, bus, session_id, message("a"))
    await asyncio.sleep(0.3)
    away = False
    assert await seen(live, 1, 5) == [1]
    assert await reader == [1]


async def test_idle_viewers_cost_little(db_store: Store, bus: LiveBus, tails: Tails) -> None:
    sessions_ = [await db_store.write(insert_session) for _ in range(100)]
    sizes = []
    for _ in range(2):
        gc.collect()
        sizes.append(sum(sys.getsizeof(thing) for thing in gc.get_objects()))
        kept = [await tails.open(session_id, WORKSPACE) for session_id in sessions_]
    assert (sizes[1] - sizes[0]) / len(kept) < 8_000


async def test_other_processes_appends_are_seen(
    db_store: Store, tails: Tails, session_id: str, tmp_path: pathlib.Path
) -> None:
    viewer = await tails.open(session_id, WORKSPACE, deltas=frozenset({"agent.message"}))
    arguments = ("-m", "tests.store.live_writer", db_store.url, str(tmp_path), session_id, "100")
    child = await asyncio.create_subprocess_exec(sys.executable, *arguments)
    data = b""
    async with asyncio.timeout(40):
        while not ids(data) or ids(data)[-1] < 100:
            data += await viewer.next(30) or b""
    assert ids(data) == list(range(1, 101))
    for number in range(100):
        final = data.index(b'"id":"sevt_%d","processed_at"' % number)
        assert data.rfind(b'"event_id":"sevt_%d"' % number) < final
    assert data.count(b"event: event_delta") > 50
    assert await child.wait() == 0

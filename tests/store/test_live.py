import asyncio
import pathlib
import sys
from collections.abc import AsyncIterator

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from store.engine import Store, open_store
from store.live import Hint, LiveBus, Preview, Watch, open_live
from store.live_bus import PACKET_BYTES
from store.tables import sessions
from tests.store.live_log import insert_session, message, write


@pytest.fixture
async def bus(db_store: Store, tmp_path: pathlib.Path) -> AsyncIterator[LiveBus]:
    bus = open_live(db_store, tmp_path)
    await bus.start()
    yield bus
    await bus.close()


@pytest.fixture
async def other(db_store: Store, tmp_path: pathlib.Path, bus: LiveBus) -> AsyncIterator[LiveBus]:
    """A second bus on the same database, as another process has it."""
    store = open_store(db_store.url)
    other = open_live(store, tmp_path)
    await other.start()
    yield other
    await other.close()
    await store.close()


def start(event_id: str, type_: str = "agent.message") -> dict[str, object]:
    return {"type": "event_start", "event": {"type": type_, "id": event_id}}


def delta(event_id: str, text: str, index: int = 0) -> dict[str, object]:
    content = {"type": "text", "text": text}
    return {"type": "event_delta", "event_id": event_id, "delta": {"type": "content_delta", "index": index, "content": content}}  # fmt: skip  # noqa: E501


async def taken(watch: Watch, count: int, timeout: float = 5.0) -> list[Hint]:
    """Return at least `count` hints."""
    hints: list[Hint] = []
    async with asyncio.timeout(timeout):
        while len(hints) < count:
            assert await watch.wait(timeout)
            hints += watch.take()
    return hints


def previews_of(hints: list[Hint]) -> list[Preview]:
    return [preview for hint in hints if not isinstance(hint, int) for preview in hint]


async def test_announcement_reaches_own_process_at_once(bus: LiveBus) -> None:
    watch, elsewhere = bus.watch("s1"), bus.watch("s2")
    bus.announce("s1", 3)
    bus.announce("s1", 5)
    bus.announce("s1", 4)
    assert watch.take() == [5]
    assert watch.take() == elsewhere.take() == []
    watch.close()
    watch.close()
    bus.announce("s1", 6)
    assert watch.take() == []


async def test_wait_ends_after_its_time(bus: LiveBus) -> None:
    watch = bus.watch("s1")
    assert not await watch.wait(0.01)
    asyncio.get_running_loop().call_later(0.01, bus.announce, "s1", 1)
    assert await watch.wait(5)
    assert await watch.wait(5)
    assert watch.take() == [1]
    assert not await watch.wait(0.01)


async def test_announcement_reaches_another_bus(bus: LiveBus, other: LiveBus) -> None:
    watch = other.watch("s1")
    bus.announce("s1", 7)
    assert await taken(watch, 1, 0.9) == [7]


async def test_previews_arrive_before_what_follows_them(bus: LiveBus, other: LiveBus) -> None:
    watches = [bus.watch("s1"), other.watch("s1")]
    for watch in watches:
        watch.previews = True
    bus.preview("s1", [start("e1"), delta("e1", "a")])
    bus.announce("s1", 1)
    bus.preview("s1", [start("e2"), delta("e2", "b")])
    bus.announce("s1", 2)
    expected = [
        [Preview(0, start("e1")), Preview(0, delta("e1", "a"))],
        1,
        [Preview(0, start("e2")), Preview(0, delta("e2", "b"))],
        2,
    ]
    for watch in watches:
        assert await taken(watch, 4, 0.9) == expected


async def test_previews_are_merged_for_a_moment(bus: LiveBus, other: LiveBus) -> None:
    watches = [bus.watch("s1"), other.watch("s1")]
    for watch in watches:
        watch.previews = True
    began = asyncio.get_running_loop().time()
    bus.preview("s1", [start("e1")])
    while asyncio.get_running_loop().time() < began + 0.4:
        bus.preview("s1", [delta("e1", "x"), delta("e2", "y")])
        await asyncio.sleep(0.001)
    bus.preview("s1", [delta("e1", "end")])
    for watch in watches:
        shown: list[Preview] = []
        while not any("end" in str(preview.event) for preview in shown):
            shown += previews_of(await taken(watch, 1))
        assert len(shown) <= 2 * 9 + 1
        mine = [preview for preview in shown[1:] if preview.event["event_id"] == "e1"]
        texts = [preview.event["delta"]["content"]["text"] for preview in mine]
        places = [preview.at for preview in mine]
        assert places == [sum(map(len, texts[:number])) for number in range(len(texts))]


async def test_unwatched_previews_are_not_kept(bus: LiveBus) -> None:
    watch = bus.watch("s1")
    bus.preview("s1", [start("e1")])
    await asyncio.sleep(0.08)
    assert watch.take() == []
    watch.previews = True
    for number in range(1000):
        bus.preview("s1", [start(f"e{number}")])
        bus._previews.flush("s1")
    assert len(previews_of(watch.take())) == 256


async def test_packets_stay_below_the_limit(bus: LiveBus, other: LiveBus, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[bytes] = []
    take = bus._take_packets

    def noted() -> list[bytes]:
        packets = take()
        sent.extend(packets)
        return packets

    monkeypatch.setattr(bus, "_take_packets", noted)
    watch = other.watch("s1")
    watch.previews = True
    text = "\x00é漢🎉\n" * 2000
    bus.preview("s1", [start("e1"), delta("e1", text), *(delta("e1", half) for half in ("\ud83d", "\ude00", "\ud83d"))])
    for number in range(500):
        bus.announce(f"session_{number:026}", number)
    got: list[Preview] = []
    while sum(len(preview.event["delta"]["content"]["text"]) for preview in got[1:]) < len(text) + 2:
        got += previews_of(await taken(watch, 1))
    assert "".join(preview.event["delta"]["content"]["text"] for preview in got[1:]) == text + "😀�"
    assert len(sent) > 5
    assert max(map(len, sent)) <= PACKET_BYTES


async def test_safety_poll_finds_what_was_not_told(bus: LiveBus, db_store: Store) -> None:
    quiet, grown, deleted, stopped = [await db_store.write(insert_session) for _ in range(4)]
    watches = [bus.watch(session_id) for session_id in (quiet, grown, deleted, stopped, "session_erased")]
    for watch in watches:
        watch.seq = 0
    assert await taken(watches[4], 1, 3) == [0]

    def change(db: Connection) -> None:
        db.execute(sa.update(sessions).where(sessions.c.id == deleted).values(deleted_at=5))
        db.execute(sa.update(sessions).where(sessions.c.id == stopped).values(stopping_at=5))

    await write(db_store, None, grown, message("a"), message("b"))
    await db_store.write(change)
    assert await taken(watches[1], 1, 3) == [2]
    assert await taken(watches[2], 1, 3) == [0]
    assert await taken(watches[3], 1, 3) == [0]
    assert watches[0].take() == []
    await asyncio.sleep(1.2)
    assert [watch.take() for watch in watches] == [[], [], [], [], []]


async def test_safety_poll_tells_again_what_was_forgotten(bus: LiveBus, db_store: Store) -> None:
    session_id = await db_store.write(insert_session)
    watch = bus.watch(session_id)
    await write(db_store, bus, session_id, message("a"))
    assert await taken(watch, 1) == [1]
    await asyncio.sleep(1.2)
    assert watch.take() == []
    watch.forget()
    assert await taken(watch, 1, 3) == [1]


async def test_one_poll_serves_all_watches(bus: LiveBus, db_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    session_id = await db_store.write(insert_session)
    watches = [bus.watch(f"s{number}") for number in range(1500)] + [bus.watch(session_id) for _ in range(10)]
    await write(db_store, None, session_id, message("a"))
    reads = 0
    read = db_store.read

    async def counted(work: object) -> object:
        nonlocal reads
        reads += 1
        return await read(work)  # type: ignore[arg-type]

    monkeypatch.setattr(db_store, "read", counted)
    await taken(watches[-1], 1, 3)
    await asyncio.sleep(1.5)
    assert all(watch.take() for watch in watches[:-1])
    assert reads <= 3


async def test_announcements_of_another_process_arrive(bus: LiveBus, db_store: Store, tmp_path: pathlib.Path) -> None:
    session_id = await db_store.write(insert_session)
    watch = bus.watch(session_id)
    watch.previews = True
    arguments = ("-m", "tests.store.live_writer", db_store.url, str(tmp_path), session_id, "50")
    child = await asyncio.create_subprocess_exec(sys.executable, *arguments)
    hints: list[Hint] = []
    async with asyncio.timeout(40):
        while 50 not in hints:
            await watch.wait(5)
            hints += watch.take()
        assert await child.wait() == 0
    places = [hint for hint in hints if isinstance(hint, int)]
    assert places == sorted(places)
    shown = previews_of(hints)
    assert len(shown) == 100
    assert shown[-1].event["delta"]["content"]["text"] == "49"

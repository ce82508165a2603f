from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from protocol.errors import InvalidRequestError
from protocol.frames import Frame
from store.engine import Store
from store.event_log import NewFrame
from store.event_pages import CreatedAt, Page, frames_after, list_events
from tests.store.live_log import append, insert_session, message, process


def _user(text: str) -> NewFrame:
    return NewFrame("user.message", {"content": [{"type": "text", "text": text}]}, event_id=text, queued=True)


def _seqs(frames: list[Frame]) -> list[int | None]:
    return [frame.seq for frame in frames]


def _mixed_log(db: Connection) -> str:
    """1 q1, 2 q2, 3 q3 queued; 4 q1 processed; 5 a, 6 thinking, 7 b; q2 and q3 still wait."""
    session_id = insert_session(db)
    append(db, session_id, [_user("q1"), _user("q2"), _user("q3")])
    process(db, session_id, "q1")
    append(db, session_id, [message("a", event_id="a"), NewFrame("agent.thinking", {}, event_id="t")])
    append(db, session_id, [message("b", event_id="b")])
    return session_id


def _walk(db: Connection, session_id: str, limit: int, **filters: object) -> list[str]:
    ids: list[str] = []
    cursor = None
    while True:
        page: Page = list_events(db, session_id, limit=limit, cursor=cursor, **filters)  # type: ignore[arg-type]
        ids += [frame.event_id for frame in page.frames]
        cursor = page.next_page
        if cursor is None:
            return ids


async def test_frames_after_gives_every_frame(db_store: Store) -> None:
    session_id = await db_store.write(_mixed_log)
    frames = await db_store.read(lambda db: frames_after(db, session_id, 2, 3))
    assert [(frame.seq, frame.event_id, frame.processed_at is None) for frame in frames] == [
        (3, "q3", True),
        (4, "q1", False),
        (5, "a", False),
    ]
    assert frames[2].event()["content"] == [{"type": "text", "text": "a"}]
    assert frames[0].event()["processed_at"] is None
    assert await db_store.read(lambda db: frames_after(db, session_id, 7, 10)) == []


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 1000])
async def test_list_shows_each_event_once(db_store: Store, limit: int) -> None:
    session_id = await db_store.write(_mixed_log)
    up = await db_store.read(lambda db: _walk(db, session_id, limit))
    down = await db_store.read(lambda db: _walk(db, session_id, limit, order="desc"))
    assert up == ["q1", "a", "t", "b", "q2", "q3"]
    assert down == up[::-1]


@pytest.mark.parametrize("limit", [1, 2, 1000])
@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_list_by_types_and_time(db_store: Store, limit: int, order: str) -> None:
    session_id = await db_store.write(_mixed_log)

    frames = await db_store.read(lambda db: frames_after(db, session_id, 0, 100))
    times = {frame.event_id: frame.processed_at for frame in frames if frame.processed_at is not None}
    expected = {
        (): ["q1", "a", "t", "b", "q2", "q3"],
        ("agent.message",): ["a", "b"],
        ("agent.thinking", "user.message"): ["q1", "t", "q2", "q3"],
        ("agent.thinking", "agent.thinking"): ["t"],
        ("session.error",): [],
    }
    bounds = {
        CreatedAt(gt=times["a"]): ["t", "b"],
        CreatedAt(gte=times["a"]): ["a", "t", "b"],
        CreatedAt(lt=times["t"]): ["q1", "a"],
        CreatedAt(gte=times["a"], lte=times["t"]): ["a", "t"],
        CreatedAt(gt=times["b"]): [],
        CreatedAt(lt=times["q1"]): [],
        CreatedAt(gt=times["a"], lt=times["t"]): [],
    }
    step = 1 if order == "asc" else -1
    for types, ids in expected.items():
        found = await db_store.read(lambda db, types=types: _walk(db, session_id, limit, order=order, types=types))  # type: ignore[misc]
        assert found == ids[::step]
    for bound, ids in bounds.items():
        found = await db_store.read(lambda db, bound=bound: _walk(db, session_id, limit, order=order, created_at=bound))  # type: ignore[misc]
        assert found == ids[::step]
    both = await db_store.read(
        lambda db: _walk(
            db, session_id, limit, order=order, types=["agent.message"], created_at=CreatedAt(gt=times["a"])
        )
    )
    assert both == ["b"]


async def test_next_page_begins_with_what_was_processed_since(db_store: Store) -> None:
    session_id = await db_store.write(_mixed_log)
    first = await db_store.read(lambda db: list_events(db, session_id, limit=5))
    assert [frame.event_id for frame in first.frames][-1] == "q2"
    await db_store.write(lambda db: process(db, session_id, "q2"))
    await db_store.write(lambda db: append(db, session_id, [message("c", event_id="c")]))
    second = await db_store.read(lambda db: list_events(db, session_id, limit=5, cursor=first.next_page))
    assert [(frame.event_id, frame.processed_at is None) for frame in second.frames] == [
        ("q2", False),
        ("c", False),
        ("q3", True),
    ]
    assert second.next_page is None


async def test_list_downwards_misses_nothing_processed_meanwhile(db_store: Store) -> None:
    session_id = await db_store.write(_mixed_log)
    first = await db_store.read(lambda db: list_events(db, session_id, limit=1, order="desc"))
    await db_store.write(lambda db: process(db, session_id, "q2"))
    second = await db_store.read(
        lambda db: list_events(db, session_id, limit=100, order="desc", cursor=first.next_page)
    )
    assert [frame.event_id for frame in (*first.frames, *second.frames)] == ["q3", "q2", "b", "t", "a", "q1"]


@pytest.mark.parametrize("bad", ["x", "!!!", "e30", "WzEsMiwzXQ", "a" * 5000, "é"])
async def test_cursor_of_nothing_is_refused(db_store: Store, bad: str) -> None:
    session_id = await db_store.write(_mixed_log)
    with pytest.raises(InvalidRequestError):
        await db_store.read(lambda db: list_events(db, session_id, cursor=bad))


async def test_cursor_of_another_list_is_refused(db_store: Store) -> None:
    session_id = await db_store.write(_mixed_log)
    other = await db_store.write(_mixed_log)
    page = await db_store.read(lambda db: list_events(db, session_id, limit=1))
    for arguments in ({"order": "desc"}, {"types": ["agent.message"]}, {"created_at": CreatedAt(gt=1)}):
        with pytest.raises(InvalidRequestError):
            await db_store.read(
                lambda db, arguments=arguments: list_events(db, session_id, cursor=page.next_page, **arguments)  # type: ignore[misc]
            )
    with pytest.raises(InvalidRequestError):
        await db_store.read(lambda db: list_events(db, other, cursor=page.next_page))


async def test_page_is_never_longer_than_allowed(db_store: Store) -> None:
    session_id = await db_store.write(insert_session)
    await db_store.write(lambda db: append(db, session_id, [message(str(n)) for n in range(1005)]))
    page = await db_store.read(lambda db: list_events(db, session_id, limit=5000))
    assert len(page.frames) == 1000
    rest = await db_store.read(lambda db: list_events(db, session_id, limit=5000, cursor=page.next_page))
    assert _seqs(rest.frames) == [1001, 1002, 1003, 1004, 1005]
    assert rest.next_page is None


async def test_lists_walk_one_index(db_store: Store) -> None:
    """SQLite's plans name the index of each step; a scan or a sort of the whole log would show."""
    if db_store.dialect != "sqlite":
        return
    session_id = await db_store.write(_mixed_log)
    plans: list[str] = []

    def explain(db: Connection) -> None:
        def look(connection: Connection, _c: object, statement: str, parameters: Any, *_: object) -> None:
            if statement.startswith("SELECT"):
                rows = connection.connection.cursor().execute("EXPLAIN QUERY PLAN " + statement, parameters)
                plans.extend(row[3] for row in rows.fetchall())

        sa.event.listen(db, "before_cursor_execute", look)
        list_events(db, session_id)
        list_events(db, session_id, types=["agent.message", "agent.thinking"], created_at=CreatedAt(gt=1, lt=2**60))
        sa.event.remove(db, "before_cursor_execute", look)

    await db_store.read(explain)
    searched = [plan for plan in plans if "events" in plan]
    assert searched
    assert all(plan.startswith("SEARCH events USING") for plan in searched)
    assert any("events_by_type" in plan for plan in searched)
    assert any("events_by_time" in plan for plan in searched)

from collections.abc import AsyncIterator

from runtimes.base import Json, Turn
from runtimes.claude_managed_agents.scope import Cursor, Position, Scope, Start

TIMES = [f"2026-11-22T14:00:0{second}Z" for second in range(10)]
TURN = Turn("turn_1", {"events": ["m"], "since": Position(TIMES[1], ("i0",)).dump()})


def event(key: str, kind: str, second: int | None) -> Json:
    return {"type": kind, "id": key, "processed_at": None if second is None else TIMES[second]}


def admitted(scope: Scope, *events: Json) -> list[str | None]:
    return [native.key for native in map(scope.admit, events) if native]


async def listed(*events: Json) -> AsyncIterator[Json]:
    for item in events:
        yield item


def test_idle_before_the_message_is_processed_is_of_an_earlier_turn() -> None:
    scope = Scope(["m"], Start.of(TURN))
    late, queued = event("i1", "session.status_idle", 2), event("m", "user.message", None)
    assert admitted(scope, late, queued, event("m", "user.message", 3), event("a", "agent.message", 4)) == ["m", "a"]
    assert not scope.ended


def test_end_of_the_session_counts_before_the_message_too() -> None:
    scope = Scope(["m"], Start.of(TURN))
    assert admitted(scope, event("t", "session.status_terminated", 2)) == ["t"]
    assert scope.ended


def test_turn_begins_when_all_that_was_sent_is_processed() -> None:
    scope = Scope(["c1", "c2"], Start.of(Turn("t", {"events": ["c1", "c2"], "since": None})))
    first, idle = event("c1", "user.tool_confirmation", 1), event("i1", "session.status_idle", 2)
    assert admitted(scope, first, idle) == ["c1"]
    last, end = event("c2", "user.tool_confirmation", 3), event("i2", "session.status_idle", 4)
    assert admitted(scope, last, end) == ["c2", "i2"]


def test_nothing_follows_the_end() -> None:
    scope = Scope(["m"], Start.of(TURN))
    events = [event("m", "user.message", 3), event("i1", "session.status_idle", 4), event("a", "agent.message", 5)]
    assert admitted(scope, *events) == ["m", "i1"]


def test_cursor_of_the_turn_that_asked_is_not_of_the_turn_that_answers() -> None:
    asked = Cursor(TIMES[4], "i1", "earlier").dump()
    start = Start.of(Turn("t", TURN.native, asked))
    assert (start.since, start.begun) == (TIMES[1], False)


def test_cursor_before_the_beginning_starts_over() -> None:
    start = Start.of(Turn("t", TURN.native, Cursor(TIMES[4], "a", None).dump()))
    assert (start.since, start.begun) == (TIMES[1], False)


def test_cursor_after_the_beginning_goes_on() -> None:
    start = Start.of(Turn("t", TURN.native, Cursor(TIMES[4], "a", "m").dump()))
    assert (start.since, start.skip, start.begun) == (TIMES[4], frozenset({"a"}), True)


async def test_position_knows_what_shares_its_time() -> None:
    newest_first = [event("q", "user.message", None), event("b", "x", 3), event("a", "x", 3), event("z", "x", 2)]
    position = await Position.read(listed(*newest_first))
    assert position == Position(TIMES[3], ("q", "b", "a"))
    assert Position.load(position.dump()) == position
    assert [item["id"] for item in newest_first if position.is_before(item)] == []
    assert position.is_before(event("c", "x", 3))
    assert position.is_before(event("d", "x", None))


async def test_position_in_an_empty_log_is_before_everything() -> None:
    position = await Position.read(listed())
    assert position.is_before(event("a", "x", 0))


def test_times_are_compared_as_times() -> None:
    position = Position("2026-11-22T14:00:00Z", ())
    assert position.is_before({"id": "a", "processed_at": "2026-11-22T14:00:00.5Z"})
    assert not position.is_before({"id": "a", "processed_at": "2026-11-22T13:59:59.999999999Z"})

"""The three ways of finding a send again, and of taking up a stream."""

from collections.abc import AsyncIterator

import httpx2
import pytest

from runtimes.base import Absent, Answer, Found, Send, Turn, Unknown
from runtimes.scripted.testing import ScriptedServer

from .driver import Driver, driving, kinds, script, texts
from .test_faults import wait_for_acceptance


@pytest.fixture
async def by_history(server: ScriptedServer) -> AsyncIterator[Driver]:
    async with driving(server.url, mode="history") as driver:
        yield driver


@pytest.fixture
async def by_nothing(server: ScriptedServer) -> AsyncIterator[Driver]:
    async with driving(server.url, mode="none") as driver:
        yield driver


async def lose(driver: Driver, send: Send) -> None:
    with pytest.raises((httpx2.HTTPError, TimeoutError)):
        await driver.send(send)


async def runs(server: ScriptedServer, driver: Driver) -> int:
    """How many native turns the session's sends have made."""
    entries = await server.ledger(driver.session.id)
    return len({entry["turn"] for entry in entries if entry["call"] in ("start_turn", "respond") and entry["turn"]})


async def test_key_finds_the_send(server: ScriptedServer, driver: Driver) -> None:
    send = await driver.prepare(script({"lose_answer": True}, {"say": "here"}))
    await lose(driver, send)
    found = await driver.runtime.find_turn(driver.session, send)
    assert isinstance(found, Found)
    assert texts(await driver.follow(Turn(send.turn_id, found.native))) == ["here"]
    assert await runs(server, driver) == 1


async def test_key_proves_absence(driver: Driver) -> None:
    send = await driver.prepare(script({"hang_before_answer": True}, {"say": "x"}), timeout_s=0.4)
    await lose(driver, send)
    assert await driver.runtime.find_turn(driver.session, send) == Absent()


async def test_same_key_again_is_the_same_turn(server: ScriptedServer, driver: Driver) -> None:
    send = await driver.prepare("hello")
    first, second = await driver.send(send), await driver.send(send)
    assert first.native == second.native
    assert kinds(await driver.follow(second)) == ["message", "usage", "end"]
    assert await runs(server, driver) == 1
    assert [entry["attached"] for entry in await server.ledger(driver.session.id, "start_turn")] == [False, True]


async def test_same_key_before_late_acceptance_runs_once(server: ScriptedServer, driver: Driver) -> None:
    send = await driver.prepare(script({"accept_late": 1.0}, {"say": "once"}), timeout_s=0.4)
    await lose(driver, send)
    assert texts(await driver.follow(await driver.send(send))) == ["once"]
    await wait_for_acceptance(server, driver)
    assert await runs(server, driver) == 1


async def test_answers_with_the_same_key_are_taken_once(server: ScriptedServer, driver: Driver) -> None:
    (ask,) = driver.asks(await driver.run(script({"tool": "a", "ask": True}, {"lose_answer": True}, {"say": "x"})))
    send = await driver.prepare(answers=[Answer("sevt_2", ask.native, "confirmation")])
    await lose(driver, send)
    assert kinds(await driver.follow(await driver.send(send))) == ["tool_result", "message", "end"]
    assert await runs(server, driver) == 2


async def test_history_finds_the_send(by_history: Driver) -> None:
    await by_history.run("equal")
    send = await by_history.prepare(script({"lose_answer": True}, {"say": "here"}))
    await lose(by_history, send)
    found = await by_history.runtime.find_turn(by_history.session, send)
    assert isinstance(found, Found)
    assert texts(await by_history.follow(Turn(send.turn_id, found.native))) == ["here"]


async def test_history_finds_answers(by_history: Driver) -> None:
    (ask,) = by_history.asks(await by_history.run(script({"custom_tool": "a"}, {"lose_answer": True})))
    content = [{"type": "text", "text": "é"}]
    send = await by_history.prepare(answers=[Answer("sevt_2", ask.native, "custom_tool_result", content=content)])
    await lose(by_history, send)
    assert isinstance(await by_history.runtime.find_turn(by_history.session, send), Found)


async def test_earlier_equal_text_is_not_the_send(by_history: Driver) -> None:
    text = script({"hang_before_answer": True}, {"say": "x"})
    await lose(by_history, await by_history.prepare(text, timeout_s=0.4))
    await by_history.run(text)
    send = await by_history.prepare(text)
    assert await by_history.runtime.find_turn(by_history.session, send) == Absent()


async def test_two_equal_sends_since_then_cannot_be_told_apart(by_history: Driver) -> None:
    send = await by_history.prepare("equal")
    for _ in range(2):
        await by_history.follow(await by_history.send(send))
    assert isinstance(await by_history.runtime.find_turn(by_history.session, send), Unknown)


async def test_history_without_recorded_position_knows_nothing(by_history: Driver) -> None:
    send = Send("turn_x", 1.0, (await by_history.prepare("x")).message)
    assert isinstance(await by_history.runtime.find_turn(by_history.session, send), Unknown)


async def test_history_is_read_again_instead_of_resumed(by_history: Driver) -> None:
    turn = await by_history.start("hello")
    first, again = await by_history.follow(turn), await by_history.follow(turn)
    assert [event for event in first if event.type != "delta"] == again
    assert all(event.cursor is None for event in first)


async def test_without_key_or_history_nothing_is_known(server: ScriptedServer, by_nothing: Driver) -> None:
    send = await by_nothing.prepare(script({"lose_answer": True}, {"say": "here"}))
    await lose(by_nothing, send)
    assert isinstance(await by_nothing.runtime.find_turn(by_nothing.session, send), Unknown)
    assert all(entry["key"] is None for entry in await server.ledger(by_nothing.session.id))


async def test_known_turn_is_resumed_in_every_mode(by_nothing: Driver) -> None:
    turn = await by_nothing.start("hello")
    events = await by_nothing.follow(turn)
    message = next(event for event in events if event.type == "message")
    assert kinds(await by_nothing.follow(Turn(turn.id, turn.native, message.cursor))) == ["usage", "end"]
    assert (await by_nothing.snapshot(turn)).status == "ended"


async def test_modes_tell_their_capabilities(server: ScriptedServer, driver: Driver, by_history: Driver) -> None:
    assert (driver.runtime.capabilities.reconcile, driver.runtime.capabilities.resume) == ("key", "cursor")
    told = by_history.runtime.capabilities
    assert (told.reconcile, told.resume) == ("history", "history_merge")
    async with driving(server.url, mode="none", idless=True, silence_limit_s=3) as other:
        told = other.runtime.capabilities
        assert (told.reconcile, told.resume, told.deltas, told.silence_limit_s) == ("none", "cursor", False, 3)


async def test_idless_server_gives_messages_no_ids(server: ScriptedServer) -> None:
    async with driving(server.url, idless=True) as driver:
        events = await driver.run(script({"think": "a"}, {"say": "b"}, {"tool": "c"}))
        assert "delta" not in {event.type for event in events}
        assert [event.type for event in events if event.key is None] == ["thinking", "message"]


async def test_stream_nobody_follows_is_closed_with_the_runtime(server: ScriptedServer) -> None:
    async with driving(server.url) as driver:
        turn = await driver.start(script({"sleep": 60}))
        await driver.runtime.interrupt(driver.session, turn)

"""What the server still knows after it was killed."""

import httpx2
import pytest

from runtimes.base import Absent, Answer, Found, Turn
from runtimes.scripted.player import CRASH_EXIT_CODE
from runtimes.scripted.testing import ScriptedServer

from .driver import driving, kinds, script, texts


async def test_sessions_turns_and_ledger_survive_a_kill(own_server: ScriptedServer) -> None:
    async with driving(own_server.url) as driver:
        send = await driver.prepare("hello")
        turn = await driver.send(send)
        events = [event for event in await driver.follow(turn) if event.type != "delta"]
        before = await own_server.ledger()
        await own_server.restart()
        assert (await own_server.ledger())[: len(before)] == before
        assert list((await driver.snapshot(turn)).events) == events
        assert await driver.runtime.find_turn(driver.session, send) == Found(turn.native)
        assert (await driver.send(send)).native == turn.native
        assert kinds(await driver.run("again")) == ["message", "usage", "end"]


async def test_running_turn_is_lost_by_a_kill(own_server: ScriptedServer) -> None:
    async with driving(own_server.url) as driver:
        turn = await driver.start(script({"say": "one"}, {"sleep": 60}))
        assert texts(await driver.follow_until(turn, "message")) == ["one"]
        await own_server.restart()
        snapshot = await driver.snapshot(turn)
        assert (snapshot.status, texts(snapshot.events)) == ("lost", ["one"])
        assert "restarted" in (snapshot.detail or "")


async def test_pending_asks_survive_a_kill(own_server: ScriptedServer) -> None:
    async with driving(own_server.url) as driver:
        (ask,) = driver.asks(await driver.run(script({"tool": "bash", "ask": True}, {"say": "after"})))
        await own_server.restart()
        assert texts(await driver.answer(Answer("sevt_2", ask.native, "confirmation"))) == ["after"]


async def test_deleted_session_stays_deleted(own_server: ScriptedServer) -> None:
    async with driving(own_server.url) as driver:
        await driver.run("hello")
        await driver.runtime.close_session(driver.session, "delete")
        await own_server.restart()
        with pytest.raises(httpx2.HTTPStatusError, match="404"):
            await driver.start("more")
        assert {entry["text"] for entry in await own_server.ledger(driver.session.id, "start_turn")} >= {None}
        assert "hello" not in str(await own_server.ledger())


async def test_crash_loses_the_turn_once(own_server: ScriptedServer) -> None:
    async with driving(own_server.url) as driver:
        text = script({"say": "one"}, {"crash": True}, {"say": "two"})
        turn = await driver.start(text)
        seen, _ = await driver.follow_to_the_cut(turn)
        assert texts(seen) == ["one"]
        assert await own_server.wait_exit() == CRASH_EXIT_CODE
        await own_server.start()
        snapshot = await driver.snapshot(turn)
        assert (snapshot.status, texts(snapshot.events)) == ("lost", ["one"])
        assert texts(await driver.run(text)) == ["one", "two"]


async def test_crash_before_the_answer_is_an_accepted_send(own_server: ScriptedServer) -> None:
    async with driving(own_server.url) as driver:
        send = await driver.prepare(script({"crash": "before_answer"}, {"say": "one"}))
        with pytest.raises(httpx2.TransportError) as lost:
            await driver.send(send)
        assert driver.runtime.classify(lost.value).ambiguous
        await own_server.wait_exit()
        await own_server.start()
        found = await driver.runtime.find_turn(driver.session, send)
        assert isinstance(found, Found)
        assert (await driver.snapshot(Turn(send.turn_id, found.native))).status == "lost"


async def test_refusals_are_still_counted_after_a_kill(own_server: ScriptedServer) -> None:
    async with driving(own_server.url) as driver:
        send = await driver.prepare(script({"refuse": {"status": 503}}, {"say": "now"}))
        with pytest.raises(httpx2.HTTPStatusError, match="503"):
            await driver.send(send)
        await own_server.restart()
        assert await driver.runtime.find_turn(driver.session, send) == Absent()
        assert texts(await driver.follow(await driver.send(send))) == ["now"]

"""Each failure that a script can ask for: what the adapter sees, and what the server did all the same."""

import asyncio
import time

import httpx2
import pytest

from runtimes.base import Failure, Turn
from runtimes.scripted.testing import ScriptedServer

from .driver import Driver, driving, kept, kinds, script, texts


async def failure(driver: Driver, text: str, *, timeout_s: float = 5.0) -> Failure:
    try:
        await driver.start(text, timeout_s=timeout_s)
    except (httpx2.HTTPError, TimeoutError) as error:
        return driver.runtime.classify(error)
    pytest.fail("the send was accepted")


async def accepted(server: ScriptedServer, driver: Driver) -> list[bool]:
    """What became of the sends that reached the server."""
    return [entry["accepted"] for entry in await server.ledger(driver.session.id, "start_turn")]


async def wait_for_acceptance(server: ScriptedServer, driver: Driver) -> None:
    while not all(await accepted(server, driver)):  # noqa: ASYNC110 - the other process has no event to wait for
        await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("refuse", "kind"),
    [
        ({"status": 429, "retry_after": 1.5}, "retry"),
        ({"status": 500}, "retry"),
        ({"status": 503}, "retry"),
        ({"status": 401}, "needs_person"),
        ({"status": 400}, "terminal"),
    ],
)
async def test_refused_once_then_accepted(
    server: ScriptedServer, driver: Driver, refuse: dict[str, float], kind: str
) -> None:
    text = script({"refuse": refuse}, {"say": "now"})
    told = await failure(driver, text)
    assert (told.kind, told.ambiguous, told.retry_after_s) == (kind, False, refuse.get("retry_after"))
    assert kinds(await driver.run(text)) == ["message", "end"]
    assert await accepted(server, driver) == [False, True]


async def test_failures_are_counted_for_each_text_and_session(server: ScriptedServer, driver: Driver) -> None:
    text = script({"refuse": {"status": 500}, "times": 2}, {"say": "now"})
    for _ in range(2):
        assert (await failure(driver, text)).kind == "retry"
    assert texts(await driver.run(text)) == ["now"]
    assert (await failure(driver, text + " ")).kind == "retry"
    async with driving(server.url) as other:
        assert (await failure(other, text)).kind == "retry"


async def test_hang_before_answer_is_never_accepted(server: ScriptedServer, driver: Driver) -> None:
    text = script({"hang_before_answer": True}, {"say": "now"})
    told = await failure(driver, text, timeout_s=0.4)
    assert (told.kind, told.ambiguous) == ("retry", True)
    assert await accepted(server, driver) == [False]


async def test_lost_answer_leaves_an_accepted_turn(server: ScriptedServer, driver: Driver) -> None:
    told = await failure(driver, script({"lose_answer": True}, {"say": "here"}))
    assert (told.kind, told.ambiguous) == ("retry", True)
    assert await accepted(server, driver) == [True]


async def test_late_acceptance_comes_after_the_client_left(server: ScriptedServer, driver: Driver) -> None:
    started = time.monotonic()
    told = await failure(driver, script({"accept_late": 1.0}, {"say": "late"}), timeout_s=0.4)
    assert told.ambiguous
    assert await accepted(server, driver) == [False]
    await wait_for_acceptance(server, driver)
    assert time.monotonic() - started >= 1.0


async def test_late_acceptance_is_followed_by_who_waits(driver: Driver) -> None:
    assert texts(await driver.run(script({"accept_late": 0.1}, {"say": "late"}))) == ["late"]


async def test_hang_is_accepted_and_silent(driver: Driver) -> None:
    turn = await driver.start(script({"hang": True}))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            assert await driver.follow(turn) == []
    assert (await driver.snapshot(turn)).status == "running"
    await driver.runtime.interrupt(driver.session, turn)


async def test_cut_stream_is_resumed_without_loss(driver: Driver) -> None:
    turn = await driver.start(script({"say": "one"}, {"cut": True}, {"say": "two"}, {"sleep": 0.1}, {"say": "three"}))
    seen, error = await driver.follow_to_the_cut(turn)
    assert driver.runtime.classify(error).kind == "retry"
    assert texts(seen) == ["one"]
    rest = await driver.follow(Turn(turn.id, turn.native, seen[-1].cursor))
    assert texts(rest) == ["two", "three"]


async def test_cut_may_hit_the_resumed_stream_too(driver: Driver) -> None:
    turn = await driver.start(script({"say": "one"}, {"cut": True, "times": 2}, {"say": "two"}))
    for _ in range(2):
        with pytest.raises(httpx2.RemoteProtocolError):
            await driver.follow(turn)
    assert texts(await driver.follow(turn)) == ["one", "two"]


async def test_cut_and_lost_turn_says_so(driver: Driver) -> None:
    turn = await driver.start(script({"say": "one"}, {"cut_lost": True}, {"say": "two"}))
    with pytest.raises(httpx2.RemoteProtocolError):
        await driver.follow(turn)
    snapshot = await driver.snapshot(turn)
    assert (snapshot.status, texts(snapshot.events)) == ("lost", ["one"])
    assert kinds(await driver.follow(turn)) == ["message"]
    assert kinds(await driver.run("next")) == ["message", "usage", "end"]


async def test_stream_may_end_before_it_began(driver: Driver) -> None:
    turn = await driver.start(script({"end_before_open": True}, {"say": "one"}))
    assert await driver.follow(turn) == []
    assert kinds(await driver.follow(turn)) == ["message", "end"]


async def test_duplicate_comes_twice_on_the_stream_only(driver: Driver) -> None:
    turn = await driver.start(script({"duplicate": True}, {"say": "one"}, {"say": "two"}))
    events = await driver.follow(turn)
    assert texts(events) == ["one", "one", "two"]
    assert len({event.key for event in events if event.type == "message"}) == 2
    assert texts((await driver.snapshot(turn)).events) == ["one", "two"]


async def test_equal_messages_without_id_are_distinct(driver: Driver) -> None:
    turn = await driver.start(script({"idless": 3, "say": "x"}))
    events = await driver.follow(turn)
    assert [(event.key, event.data["text"]) for event in events if event.type == "message"] == [(None, "x")] * 3
    assert kept((await driver.snapshot(turn)).events) == kept(events)


async def test_turn_goes_on_without_its_reader(driver: Driver) -> None:
    turn = await driver.start(script({"say": "one"}, {"sleep": 0.15}, {"say": "two"}))
    assert texts(await driver.follow_until(turn, "message")) == ["one"]
    assert texts(await driver.follow(turn)) == ["one", "two"]


async def test_unreachable_server_accepted_nothing(own_server: ScriptedServer) -> None:
    async with driving(own_server.url) as driver:
        await own_server.kill()
        told = await failure(driver, "hello")
        assert (told.kind, told.ambiguous) == ("retry", False)
        assert not (await driver.runtime.check()).ok

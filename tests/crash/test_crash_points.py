"""Every crash point of the engine: the process is killed exactly there, restarted, and nothing is lost or doubled."""

import asyncio
import contextlib
import secrets
import sys
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from tests.driver import Driver, script
from tests.stack import Part, Stack

Json = dict[str, Any]
pytestmark = pytest.mark.timeout(180)


@contextlib.asynccontextmanager
async def crash(stack: Stack, part: Part, module: str, point: str) -> AsyncIterator[None]:
    """Run the block with `part` set to die at `point`; see that it does, and start it again as it was."""
    part.kill()
    usual = part.command, part.env
    part.command, part.env = [sys.executable, "-m", module], {**part.env, "CRASH_AT": point}
    part.start()
    if part is stack.api:
        await stack.wait_for_api()
    try:
        yield
        for _ in range(1200):
            if not part.running:
                break
            await asyncio.sleep(0.05)
        assert not part.running, f"{point} was never reached\n{part.tail()}"
        assert part.process is not None
        assert part.process.returncode == -9, part.tail()
    finally:
        part.kill()
        part.command, part.env = usual
        part.start()
        if part is stack.api:
            await stack.wait_for_api()


def crash_worker(stack: Stack, point: str) -> contextlib.AbstractAsyncContextManager[None]:
    return crash(stack, stack.worker, "tests.crash.crashing_worker", point)


def crash_api(stack: Stack, point: str) -> contextlib.AbstractAsyncContextManager[None]:
    return crash(stack, stack.api, "tests.crash.crashing_api", point)


async def make_driver(stack: Stack, mode: str = "key") -> Driver:
    """Create a session on a runtime of the mode, on the one scripted server."""
    alias = f"scripted-{mode}"
    async with stack.http() as http:
        body = {"alias": alias, "kind": "scripted", "base_url": stack.scripted.url}
        options = {"mode": mode, "send_timeout_s": 3.0, "acceptance_delay_s": 0.2}
        made = await http.post("/v1/runtimes", json={**body, "options": options})
        assert made.status_code in (200, 409), made.text
    return await Driver.create(stack, await stack.make_agent(extra_body={"runtime": alias}))


async def accepted_turns(driver: Driver) -> list[Json]:
    """Return what the runtime's own ledger says it accepted in the session."""
    entries = await driver.stack.scripted.ledger(driver.id)
    return [
        entry
        for entry in entries
        if entry["call"] in ("start_turn", "respond") and entry["accepted"] and not entry.get("attached")
    ]


async def assert_answered_once(driver: Driver, text: str, idles: int = 1) -> None:
    await driver.wait_idle(idles, within_s=60)
    assert (await driver.texts()).count(f"You said: {text}") == 1
    assert len([entry for entry in await accepted_turns(driver)]) == idles
    await assert_log_is_whole(driver)


async def assert_log_is_whole(driver: Driver) -> None:
    """The stream, replayed from the start, has every seq once, and each event at most queued and processed."""
    seqs: list[int] = []
    async with (
        driver.stack.http() as http,
        http.stream("GET", f"/v1/sessions/{driver.id}/events/stream", params={"after": 0}) as response,
    ):
        with contextlib.suppress(httpx2.ReadTimeout):
            async for line in response.aiter_lines():
                if line.startswith("id:"):
                    seqs.append(int(line[3:]))
                if "session.status_idle" in line or "session.status_terminated" in line:
                    last = await driver.client.beta.sessions.retrieve(driver.id)
                    if last.status in ("idle", "terminated") and len(seqs) >= await frame_count(driver):
                        break
    assert seqs == list(range(1, len(seqs) + 1))


async def frame_count(driver: Driver) -> int:
    events = await driver.events()
    inputs = [event for event in events if event.type.startswith("user.") and event.processed_at is not None]
    return len(events) + len(inputs)


def token() -> str:
    return secrets.token_hex(4)


async def test_after_accept_commits(stack: Stack) -> None:
    driver, text = await make_driver(stack), token()
    async with crash_api(stack, "after:accept:1"):
        with contextlib.suppress(httpx2.HTTPError):
            async with stack.http() as http:
                event = {"type": "user.message", "content": [{"type": "text", "text": text}]}
                await http.post(f"/v1/sessions/{driver.id}/events", json={"events": [event]})
    await assert_answered_once(driver, text)


async def test_after_the_wake(stack: Stack) -> None:
    driver, text = await make_driver(stack), token()
    async with crash_api(stack, "returned:start_workflow:1"):
        with contextlib.suppress(httpx2.HTTPError):
            async with stack.http() as http:
                event = {"type": "user.message", "content": [{"type": "text", "text": text}]}
                await http.post(f"/v1/sessions/{driver.id}/events", json={"events": [event]})
    await assert_answered_once(driver, text)


@pytest.mark.parametrize("mode", ["key", "history", "none"])
async def test_after_claim(stack: Stack, mode: str) -> None:
    driver, text = await make_driver(stack, mode), token()
    await driver.send("first")
    await driver.wait_idle()
    async with crash_worker(stack, "after:claim:1"):
        await driver.send(text)
    if mode == "history":
        await assert_answered_once(driver, text, 2)
        return
    # The claim had decided the send in the same transaction in no mode: nothing was sent yet, so it is sent.
    await assert_answered_once(driver, text, 2)


async def test_after_open_session_answers_before_its_reference_is_stored(stack: Stack) -> None:
    driver, text = await make_driver(stack), token()
    async with crash_worker(stack, "before:record_open_session:1"):
        await driver.send(text)
    await assert_answered_once(driver, text)


@pytest.mark.parametrize("mode", ["key", "history"])
@pytest.mark.parametrize("point", ["during:start_turn:1", "before:record_sent:1"])
async def test_during_the_send_and_before_sent(stack: Stack, mode: str, point: str) -> None:
    driver, text = await make_driver(stack, mode), token()
    steps = [{"accept_late": 1.0}] if point.startswith("during") else []
    async with crash_worker(stack, point):
        await driver.send(script(*steps, {"say": text}))
    await driver.wait_idle(within_s=60)
    assert await driver.texts() == [text]
    assert await driver.errors() == []
    assert len(await accepted_turns(driver)) == 1
    await assert_log_is_whole(driver)


@pytest.mark.parametrize("point", ["during:start_turn:1", "before:record_sent:1"])
async def test_an_ambiguous_send_is_told_where_nothing_can_be_asked(stack: Stack, point: str) -> None:
    driver, text = await make_driver(stack, "none"), token()
    steps = [{"accept_late": 1.0}] if point.startswith("during") else []
    async with crash_worker(stack, point):
        await driver.send(script(*steps, {"say": text}))
    await driver.wait_idle(within_s=60)
    [error] = await driver.errors()
    assert "unknown whether the runtime accepted" in error
    assert len(await accepted_turns(driver)) == 1
    await driver.send("usable")
    await driver.wait_idle(2)
    assert (await driver.texts())[-1] == "You said: usable"


@pytest.mark.parametrize("count", [1, 2, 3])
async def test_after_each_append(stack: Stack, count: int) -> None:
    driver = await make_driver(stack)
    words = [token() for _ in range(4)]
    steps: list[Json] = []
    for word in words:
        steps += [{"say": word}, {"sleep": 0.3}]
    async with crash_worker(stack, f"after:append:{count}"):
        await driver.send(script(*steps))
    await driver.wait_idle(within_s=60)
    assert await driver.texts() == words
    assert len(await accepted_turns(driver)) == 1
    await assert_log_is_whole(driver)


@pytest.mark.parametrize("where", ["before", "after"])
async def test_around_close(stack: Stack, where: str) -> None:
    driver, text = await make_driver(stack), token()
    async with crash_worker(stack, f"{where}:close:1"):
        await driver.send(text)
    await assert_answered_once(driver, text)
    await driver.send("again")
    await driver.wait_idle(2)


@pytest.mark.parametrize("mode", ["key", "history"])
async def test_during_an_answer(stack: Stack, mode: str) -> None:
    driver = await make_driver(stack, mode)
    await driver.send(script({"tool": "a", "input": {}, "ask": True, "result": "ran"}, {"say": "after"}))
    [ask] = (await driver.wait_idle()).stop_reason.event_ids
    async with crash_worker(stack, "before:record_sent:1"):
        await driver.send_event(type="user.tool_confirmation", tool_use_id=ask, result="allow")
    await driver.wait_idle(2, within_s=60)
    assert await driver.texts() == ["after"]
    assert (await driver.types()).count("agent.tool_result") == 1


async def long_turn(stack: Stack) -> Driver:
    driver = await make_driver(stack)
    await driver.send(script({"say": "begun"}, {"sleep": 60}, {"say": "never"}))
    await driver.wait_for("agent.message")
    return driver


async def test_after_an_interrupt_commits(stack: Stack) -> None:
    driver = await long_turn(stack)
    async with crash_api(stack, "after:accept:1"):
        with contextlib.suppress(httpx2.HTTPError):
            async with stack.http() as http:
                await http.post(f"/v1/sessions/{driver.id}/events", json={"events": [{"type": "user.interrupt"}]})
    await driver.wait_idle(within_s=60)
    assert await driver.texts() == ["begun"]


async def test_after_an_interrupts_native_call(stack: Stack) -> None:
    driver = await long_turn(stack)
    async with crash_worker(stack, "returned:interrupt:1"):
        await driver.interrupt()
    await driver.wait_idle(within_s=60)
    assert await driver.texts() == ["begun"]


@pytest.mark.parametrize("point", ["after:request_stop:1"])
async def test_after_a_stop_commits(stack: Stack, point: str) -> None:
    driver = await long_turn(stack)
    async with crash_api(stack, point):
        with contextlib.suppress(httpx2.HTTPError):
            async with stack.http() as http:
                await http.post(f"/v1/sessions/{driver.id}/stop")
    await driver.wait_for("session.status_terminated", within_s=60)


@pytest.mark.parametrize("point", ["returned:interrupt:1", "returned:close_session:1"])
async def test_after_a_stops_native_call(stack: Stack, point: str) -> None:
    driver = await long_turn(stack)
    async with crash_worker(stack, point), stack.http() as http:
        await http.post(f"/v1/sessions/{driver.id}/stop")
    await driver.wait_for("session.status_terminated", within_s=60)
    assert await driver.status() == "terminated"


@pytest.mark.parametrize("point", ["after:delete:1"])
async def test_after_a_delete_commits(stack: Stack, point: str) -> None:
    driver = await make_driver(stack)
    await driver.send("hello")
    await driver.wait_idle()
    async with crash_api(stack, point):
        with contextlib.suppress(httpx2.HTTPError):
            async with stack.http() as http:
                await http.delete(f"/v1/sessions/{driver.id}")
    await assert_erased(driver)


async def test_after_a_deletes_native_call(stack: Stack) -> None:
    driver = await make_driver(stack)
    await driver.send("hello")
    await driver.wait_idle()
    async with crash_worker(stack, "returned:close_session:1"):
        await driver.client.beta.sessions.delete(driver.id)
    await assert_erased(driver)


async def assert_erased(driver: Driver) -> None:
    """The runtime was told to delete, and the session is unknown."""
    for _ in range(600):
        if any(entry["call"] == "delete_session" for entry in await driver.stack.scripted.ledger(driver.id)):
            break
        await asyncio.sleep(0.1)
    else:
        raise AssertionError("the native session was never deleted")
    async with driver.stack.http() as http:
        assert (await http.get(f"/v1/sessions/{driver.id}")).status_code == 404


@pytest.mark.parametrize("where", ["before", "after"])
async def test_around_the_commit_of_a_tool_use_for_a_worker(stack: Stack, where: str) -> None:
    environment = await stack.sdk.beta.environments.create(name="own", config={"type": "self_hosted"})
    agent = await stack.make_agent(extra_body={"runtime": "scripted"})
    session = await stack.sdk.beta.sessions.create(agent=agent, environment_id=environment.id)
    driver = Driver(stack, stack.sdk, session.id)
    async with crash_worker(stack, f"{where}:close:1"):
        await driver.send(script({"tool": "bash", "input": {}}, {"say": "after"}))
    [use] = (await driver.wait_idle(within_s=60)).stop_reason.event_ids
    work = stack.sdk.beta.environments.work
    assert [(item.data.id, item.state) async for item in work.list(environment.id)] == [(session.id, "queued")]
    await driver.send_event(
        type="user.tool_result", tool_use_id=use, content=[{"type": "text", "text": "ran elsewhere"}]
    )
    await driver.wait_idle(2, within_s=60)
    assert await driver.texts() == ["bash returned: ran elsewhere", "after"]
    assert (await driver.types()).count("agent.tool_use") == 1

"""Sessions in a self-hosted environment, served by the official SDK's own `EnvironmentWorker`."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.driver import Driver, script
from tests.stack import Stack

TOOLS = [{"type": "agent_toolset_20260401"}]
WRITE = {"tool": "write", "input": {"file_path": "note.txt", "content": "made on the worker's machine"}}
READ = {"tool": "read", "input": {"file_path": "note.txt"}}


@pytest.fixture
async def driver(stack: Stack) -> Driver:
    """A session in a self-hosted environment of its own."""
    environment = await stack.sdk.beta.environments.create(name="own", config={"type": "self_hosted"})
    agent = await stack.make_agent(tools=TOOLS)
    session = await stack.sdk.beta.sessions.create(agent=agent, environment_id=environment.id)
    return Driver(stack, stack.sdk, session.id)


async def environment_of(driver: Driver) -> str:
    return (await driver.client.beta.sessions.retrieve(driver.id)).environment_id


async def work_of(driver: Driver) -> list[Any]:
    """Return the environment's work, oldest first."""
    listed = driver.client.beta.environments.work.list(environment_id=await environment_of(driver))
    return [item async for item in listed][::-1]


@contextlib.asynccontextmanager
async def worker(driver: Driver, workdir: Path, **options: Any) -> AsyncIterator[None]:
    """Run the SDK's worker, as it is, with a key that opens nothing but what it needs."""
    options = {"max_idle": 0.5, **options}
    async with driver.stack.http() as http:
        scope = {"scope": "environment", "environment_id": await environment_of(driver)}
        key = (await http.post("/v1/api_keys", json={"name": "worker", **scope})).json()["key"]
    runs = driver.client.beta.environments.work.worker(
        environment_id=await environment_of(driver), environment_key=key, workdir=workdir, **options
    )
    task = asyncio.create_task(runs.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(condition: Callable[[], Any], within_s: float = 20.0) -> Any:
    """Return what a condition returns once that is true."""
    async with asyncio.timeout(within_s):
        while True:
            if found := await condition():
                return found
            await asyncio.sleep(0.05)


async def ended(driver: Driver, after: str) -> bool:
    """Whether the agent said something, and then ended its turn."""
    processed = [event for event in await driver.events() if event.processed_at is not None]
    if not processed or processed[-1].type != "session.status_idle" or (await driver.texts())[-1:] != [after]:
        return False
    return bool(processed[-1].stop_reason.type == "end_turn")


async def stopped(driver: Driver) -> bool:
    work = await work_of(driver)
    return bool(work) and all(item.state == "stopped" for item in work)


@pytest.mark.timeout(90)
async def test_the_sdks_worker_takes_and_finishes_work(driver: Driver, tmp_path: Path) -> None:
    async with worker(driver, tmp_path):
        await driver.send(script(WRITE, READ, {"tool": "bash", "input": {"command": "cat note.txt"}}, {"say": "done"}))
        await until(lambda: ended(driver, "done"))
        assert (tmp_path / "note.txt").read_text() == "made on the worker's machine"
        await until(lambda: stopped(driver))
    results = [event for event in await driver.events() if event.type == "user.tool_result"]
    uses = [event for event in await driver.events() if event.type == "agent.tool_use"]
    assert [result.tool_use_id for result in results] == [use.id for use in uses]
    assert [use.evaluated_permission for use in uses] == ["allow"] * 3
    assert not any(result.is_error for result in results)
    texts = await driver.texts()
    assert "made on the worker's machine" in texts[1]
    assert "made on the worker's machine" in texts[2]
    assert texts[-1] == "done"
    [item] = await work_of(driver)
    assert item.data.id == driver.id
    assert None not in (item.acknowledged_at, item.started_at, item.latest_heartbeat_at, item.stopped_at)


@pytest.mark.timeout(90)
async def test_work_waits_for_a_worker_and_a_later_message_gets_new_work(driver: Driver, tmp_path: Path) -> None:
    await driver.send(script(WRITE, {"say": "first"}))
    idle = await driver.wait_idle()
    [use] = await driver.wait_for("agent.tool_use")
    assert (idle.stop_reason.type, idle.stop_reason.event_ids) == ("requires_action", [use.id])
    [item] = await work_of(driver)
    assert item.state == "queued"
    async with worker(driver, tmp_path):
        await until(lambda: ended(driver, "first"))
        await until(lambda: stopped(driver))
        await driver.send(script(READ, {"say": "second"}))
        await until(lambda: ended(driver, "second"))
        await until(lambda: stopped(driver))
    assert len(await work_of(driver)) == 2


@pytest.mark.timeout(90)
@pytest.mark.parametrize("verdict", ["allow", "deny"])
async def test_a_tool_that_asks_is_run_only_if_it_is_allowed(driver: Driver, tmp_path: Path, verdict: str) -> None:
    async with worker(driver, tmp_path):
        await driver.send(script({**WRITE, "ask": True}, {"say": "after"}))
        [use] = (await driver.wait_idle()).stop_reason.event_ids
        assert await work_of(driver) == []
        await driver.send_event(type="user.tool_confirmation", tool_use_id=use, result=verdict)
        await until(lambda: ended(driver, "after"))
        if verdict == "allow":
            await until(lambda: stopped(driver))
    assert (tmp_path / "note.txt").exists() is (verdict == "allow")
    results = [event.type for event in await driver.events() if "tool_result" in event.type]
    assert results == (["user.tool_result"] if verdict == "allow" else ["agent.tool_result"])
    [confirmation] = [event for event in await driver.events() if event.type == "user.tool_confirmation"]
    assert confirmation.processed_at is not None


@pytest.mark.timeout(90)
async def test_a_stopped_session_ends_its_worker(driver: Driver, tmp_path: Path) -> None:
    async with worker(driver, tmp_path, tools=[], max_idle=None):
        await driver.send(script(WRITE))

        async def active() -> bool:
            return [item.state for item in await work_of(driver)] == ["active"]

        await until(active)
        async with driver.stack.http() as http:
            assert (await http.post(f"/v1/sessions/{driver.id}/stop")).json()["status"] == "terminated"
        await until(lambda: stopped(driver))


@pytest.mark.timeout(120)
async def test_work_of_a_dead_worker_is_taken_over(driver: Driver, tmp_path: Path) -> None:
    await driver.send(script(WRITE, {"say": "done"}))
    await driver.wait_idle()
    environment = await environment_of(driver)
    work = driver.client.beta.environments.work
    taken = await work.poll(environment, block_ms=999)
    assert taken is not None
    await work.ack(taken.id, environment_id=environment)
    beat = await work.heartbeat(
        taken.id, environment_id=environment, expected_last_heartbeat="NO_HEARTBEAT", desired_ttl_seconds=1
    )
    assert (beat.state, beat.ttl_seconds, beat.lease_extended) == ("active", 1, True)
    async with worker(driver, tmp_path):
        await until(lambda: ended(driver, "done"))
        await until(lambda: stopped(driver))
    assert (tmp_path / "note.txt").exists()
    [item] = await work_of(driver)
    assert item.id == taken.id

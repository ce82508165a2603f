"""One walk, by the strict SDK, on every runtime: agent, session, stream, message, approval, answer, interrupt, stop."""

import asyncio
from typing import Any

import pytest

from tests.driver import Driver
from tests.walk.conftest import Ground

pytestmark = pytest.mark.timeout(240)
TURN_S = 60.0


async def test_walk(ground: Ground) -> None:
    driver = await Driver.create(ground.stack, ground.agent_id)
    streamed: list[Any] = []
    stream = await driver.client.beta.sessions.events.stream(driver.id, event_deltas=["agent.message"])
    reading = asyncio.create_task(read(stream, streamed))

    await driver.send(ground.message)
    assert (await driver.wait_idle(1, TURN_S)).stop_reason.type == "end_turn"
    assert "hello" in (await driver.texts())[-1]

    await driver.send(ground.asking)
    idle = await driver.wait_idle(2, TURN_S)
    assert idle.stop_reason.type == "requires_action"
    [ask] = idle.stop_reason.event_ids
    await driver.send_event(type="user.tool_confirmation", tool_use_id=ask, result="allow")
    assert (await driver.wait_idle(3, TURN_S)).stop_reason.type == "end_turn"
    results = [event for event in await driver.events() if event.type == "agent.tool_result"]
    assert [result.tool_use_id for result in results] == [ask]

    await driver.send(ground.long)
    await driver.wait_for("session.status_running", 4, TURN_S)
    await asyncio.sleep(1.5)
    await driver.interrupt()
    assert (await driver.wait_idle(4, TURN_S)).stop_reason.type == "end_turn"

    session = await driver.client.beta.sessions.retrieve(driver.id)
    assert session.usage.output_tokens

    await driver.send(ground.long)
    await driver.wait_for("session.status_running", 5, TURN_S)
    async with ground.stack.http() as http:
        stopped = await http.post(f"/v1/sessions/{driver.id}/stop")
    assert stopped.status_code == 200, stopped.text
    await driver.wait_for("session.status_terminated", 1, TURN_S)

    await asyncio.wait_for(reading, 20)
    await stream.close()
    await assert_stream_is_the_log(driver, streamed)


async def read(stream: Any, streamed: list[Any]) -> None:
    """Read a stream until the session has ended."""
    async for event in stream:
        streamed.append(event)
        if event.type == "session.status_terminated":
            return


async def assert_stream_is_the_log(driver: Driver, streamed: list[Any]) -> None:
    """What was streamed is what is listed, in order, and previews name the events they became."""
    listed = [event.id for event in await driver.events() if event.processed_at is not None]
    final = [event for event in streamed if getattr(event, "processed_at", None) is not None]
    assert [event.id for event in final] == listed
    begun = {event.event.id for event in streamed if event.type == "event_start"}
    assert begun & {event.id for event in final if event.type == "agent.message"}

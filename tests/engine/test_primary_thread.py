"""The primary thread of a session that works: its stream, and its figures."""

import asyncio
from typing import Any

import pytest

from tests.driver import Driver
from tests.stack import Stack


@pytest.mark.timeout(60)
async def test_the_primary_thread_is_the_session(stack: Stack) -> None:
    driver = await Driver.create(stack, await stack.make_agent())
    threads = stack.sdk.beta.sessions.threads
    [thread] = [item async for item in threads.list(driver.id)]
    seen: list[Any] = []
    async with await threads.events.stream(thread.id, session_id=driver.id, event_deltas=["agent.message"]) as stream:
        await driver.send("hello")
        async with asyncio.timeout(30):
            async for event in stream:
                seen.append(event)
                if event.type == "session.status_idle":
                    break
    told = [event.id for event in seen if event.type not in ("event_start", "event_delta") and event.processed_at]
    assert told == [event.id for event in await driver.events()]
    assert "event_delta" in {event.type for event in seen}
    session = await stack.sdk.beta.sessions.retrieve(driver.id)
    thread = await threads.retrieve(thread.id, session_id=driver.id)
    assert thread.status == session.status == "idle"
    assert thread.usage is not None
    assert thread.usage.output_tokens == session.usage.output_tokens == 3
    assert thread.stats is not None
    assert thread.stats.active_seconds == session.stats.active_seconds
    listed = [event async for event in threads.events.list(thread.id, session_id=driver.id)]
    assert listed == await driver.events()

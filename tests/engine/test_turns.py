"""Sessions end to end on the scripted runtime, through the official SDK."""

import asyncio
import secrets
import time

import pytest

from tests.driver import Driver, script
from tests.stack import Stack


@pytest.fixture
async def driver(stack: Stack) -> Driver:
    return await Driver.create(stack, await stack.make_agent())


async def test_a_message_is_answered(driver: Driver) -> None:
    await driver.send("hello")
    idle = await driver.wait_idle()
    assert idle.stop_reason.type == "end_turn"
    assert await driver.texts() == ["You said: hello"]
    assert await driver.types() == [
        "user.message",
        "session.status_running",
        "agent.message",
        "span.model_request_start",
        "span.model_request_end",
        "session.status_idle",
    ]
    session = await driver.client.beta.sessions.retrieve(driver.id)
    assert (session.status, session.usage.output_tokens) == ("idle", 3)


async def test_create_returns_while_a_long_turn_runs(stack: Stack) -> None:
    agent = await stack.make_agent()
    began = time.monotonic()
    driver = await Driver.create(
        stack,
        agent,
        initial_events=[{"type": "user.message", "content": [{"type": "text", "text": script({"sleep": 30})}]}],
    )
    assert time.monotonic() - began < 5
    await driver.wait_for("session.status_running")
    await driver.interrupt()
    await driver.wait_idle()


async def test_messages_sent_during_a_turn_keep_their_order(driver: Driver) -> None:
    await driver.send(script({"sleep": 1}, {"say": "first"}))
    for word in ("second", "third", "fourth"):
        await driver.send(word)
    await driver.wait_idle(4)
    assert await driver.texts() == ["first", *(f"You said: {word}" for word in ("second", "third", "fourth"))]


async def test_an_approval_is_asked_and_allowed(driver: Driver) -> None:
    await driver.send(
        script({"tool": "bash", "input": {"command": "ls"}, "ask": True, "result": "a.txt"}, {"say": "done"})
    )
    idle = await driver.wait_idle()
    assert idle.stop_reason.type == "requires_action"
    [tool_use] = [event for event in await driver.events() if event.type == "agent.tool_use"]
    assert idle.stop_reason.event_ids == [tool_use.id]
    await driver.send_event(type="user.tool_confirmation", tool_use_id=tool_use.id, result="allow")
    assert (await driver.wait_idle(2)).stop_reason.type == "end_turn"
    [result] = [event for event in await driver.events() if event.type == "agent.tool_result"]
    assert result.tool_use_id == tool_use.id
    assert await driver.texts() == ["done"]


async def test_a_denial_reaches_the_agent(driver: Driver) -> None:
    await driver.send(script({"tool": "rm", "input": {}, "ask": True}, {"say": "then not"}))
    [ask] = (await driver.wait_idle()).stop_reason.event_ids
    await driver.send_event(type="user.tool_confirmation", tool_use_id=ask, result="deny", deny_message="too risky")
    await driver.wait_idle(2)
    [result] = [event for event in await driver.events() if event.type == "agent.tool_result"]
    assert result.is_error
    assert await driver.texts() == ["then not"]


async def test_an_incomplete_set_of_answers_says_what_remains(driver: Driver) -> None:
    await driver.send(
        script({"ask_all": [{"tool": "a", "input": {}}, {"custom_tool": "price", "input": {}}]}, {"say": "ok"})
    )
    first, second = (await driver.wait_idle()).stop_reason.event_ids
    await driver.send_event(type="user.tool_confirmation", tool_use_id=first, result="allow")
    assert (await driver.wait_idle(2)).stop_reason.event_ids == [second]
    await driver.send_event(
        type="user.custom_tool_result", custom_tool_use_id=second, content=[{"type": "text", "text": "3 euro"}]
    )
    assert (await driver.wait_idle(3)).stop_reason.type == "end_turn"
    assert "3 euro" in " ".join(await driver.texts())


async def test_an_answer_passes_messages_queued_before_it(driver: Driver) -> None:
    await driver.send(script({"tool": "a", "input": {}, "ask": True}, {"say": "answered"}))
    [ask] = (await driver.wait_idle()).stop_reason.event_ids
    await driver.send("queued")
    await driver.send_event(type="user.tool_confirmation", tool_use_id=ask, result="allow")
    await driver.wait_idle(3)
    assert await driver.texts() == ["answered", "You said: queued"]


async def test_an_interrupt_ends_the_turn_and_spares_the_queue(driver: Driver) -> None:
    await driver.send(script({"say": "begun"}, {"sleep": 60}, {"say": "never"}))
    await driver.wait_for("agent.message")
    await driver.send("next")
    await driver.interrupt()
    await driver.wait_idle(2)
    assert await driver.texts() == ["begun", "You said: next"]
    [interrupt] = [event for event in await driver.events() if event.type == "user.interrupt"]
    assert interrupt.processed_at is not None


async def test_an_interrupt_voids_open_approvals(driver: Driver) -> None:
    await driver.send(script({"tool": "a", "input": {}, "ask": True}, {"say": "never"}))
    await driver.wait_idle()
    await driver.interrupt()
    assert (await driver.wait_idle(2)).stop_reason.type == "end_turn"
    await driver.send("and now")
    await driver.wait_idle(3)
    assert await driver.texts() == ["You said: and now"]


async def test_stop_ends_a_running_session(stack: Stack, driver: Driver) -> None:
    await driver.send(script({"say": "begun"}, {"sleep": 60}))
    await driver.wait_for("agent.message")
    await driver.send("void")
    async with stack.http() as http:
        stopped = await http.post(f"/v1/sessions/{driver.id}/stop")
    assert stopped.status_code == 200
    assert stopped.json()["status"] == "terminated"
    assert stopped.json()["end"]["observed"] is True
    processed = [event.type for event in await driver.events() if event.processed_at is not None]
    assert processed[-1] == "session.status_terminated"
    assert await driver.texts() == ["begun"]


async def test_a_rate_limit_is_waited_out(driver: Driver) -> None:
    await driver.send(script({"refuse": {"status": 429, "retry_after": 1}}, {"say": "through"}))
    await driver.wait_idle()
    assert await driver.texts() == ["through"]
    assert "session.status_rescheduled" in await driver.types()


async def test_a_refused_credential_holds_the_queue(driver: Driver) -> None:
    await driver.send(script({"refuse": {"status": 401}}, {"say": "mended"}))
    await driver.wait_idle()
    async with driver.stack.http() as http:
        assert (await http.get(f"/v1/sessions/{driver.id}")).json()["held"]
    await driver.send("next")
    await driver.wait_idle(3)
    assert await driver.texts() == ["mended", "You said: next"]


@pytest.mark.parametrize("step", [{"cut": True}, {"end_before_open": True}, {"duplicate": True}])
async def test_a_broken_stream_loses_and_doubles_nothing(driver: Driver, step: dict[str, bool]) -> None:
    steps = (
        [step, {"say": "one"}, {"say": "two"}] if "end_before_open" in step else [{"say": "one"}, step, {"say": "two"}]
    )
    await driver.send(script(*steps))
    await driver.wait_idle()
    assert await driver.texts() == ["one", "two"]
    assert await driver.errors() == []


async def test_a_lost_turn_is_told_and_the_session_goes_on(driver: Driver) -> None:
    await driver.send(script({"say": "kept"}, {"cut_lost": True}, {"say": "never"}))
    await driver.wait_idle()
    assert await driver.texts() == ["kept"]
    assert len(await driver.errors()) == 1
    await driver.send("again")
    await driver.wait_idle(2)
    assert (await driver.texts())[-1] == "You said: again"


async def test_equal_events_without_an_id_are_all_kept(driver: Driver) -> None:
    await driver.send(script({"idless": 3, "say": "same"}, {"cut": True}, {"idless": 2, "say": "same"}))
    await driver.wait_idle()
    assert await driver.texts() == ["same"] * 5


async def test_a_lost_answer_is_found_and_not_sent_twice(stack: Stack, driver: Driver) -> None:
    token = secrets.token_hex(4)
    await driver.send(script({"lose_answer": True}, {"say": token}))
    await driver.wait_idle(within_s=50)
    assert await driver.texts() == [token]


async def test_temporal_shows_agent_runtime_and_state(stack: Stack, driver: Driver) -> None:
    await driver.send("hello")
    await driver.wait_idle()
    async with stack.http() as http:
        session = (await http.get(f"/v1/sessions/{driver.id}")).json()
    assert session["temporal"]["workflow_id"] == driver.id
    from temporalio.client import Client

    client = await Client.connect(f"127.0.0.1:{stack.temporal_port}")
    for _ in range(100):
        description = await client.get_workflow_handle(driver.id).describe()
        shown = {pair.key.name: pair.value for pair in description.typed_search_attributes.search_attributes}
        if shown.get("SessionState") == "idle":
            break
        await asyncio.sleep(0.1)
    assert shown["SessionState"] == "idle"
    assert shown["RuntimeAlias"] == "scripted"
    assert shown["AgentId"] == session["agent"]["id"]
    assert "scripted" in (await description.static_summary() or "")

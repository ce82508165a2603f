import pytest

from runtimes.base import Absent, Answer, Ask, AskLostError, Event, Found, Reference, Send, Session, Turn, Unknown
from runtimes.claude_managed_agents.runtime import ClaudeManagedAgentsRuntime as Runtime
from tests.runtimes.claude_managed_agents.following import Followed, follow, run
from tests.runtimes.claude_managed_agents.stand_in import StandIn

REASON = "Not on a Sunday."


def answer(ask: Ask, allow: bool = True) -> Answer:
    if ask.type == "agent.custom_tool_use":
        content = [{"type": "text", "text": "42"}]
        return Answer("sevt_answer", ask.native, "custom_tool_result", content=content)
    deny = None if allow else REASON
    return Answer("sevt_answer", ask.native, "confirmation", allow=allow, deny_message=deny)


async def answers_to(runtime: Runtime, session: Session, asked: Followed, allow: bool = True) -> Send:
    position = await runtime.position(session)
    answers = [answer(ask, allow) for ask in asked.asks]
    return Send("turn_2", 5.0, answers=answers, native_before=position)


async def respond(runtime: Runtime, session: Session, asked: Followed, allow: bool = True) -> Followed:
    native = await runtime.respond(session, await answers_to(runtime, session, asked, allow))
    # The engine starts a turn that answers from the state and cursor that the turn that asked ended with.
    return await follow(runtime, session, Turn("turn_2", native, asked.cursor), asked.state)


async def test_ask_ends_the_turn_and_allow_goes_on(runtime: Runtime, session: Session) -> None:
    asked = await run(runtime, session, "ask")
    assert asked.end.stop_reason == "requires_action"
    assert asked.asks[0].payload["input"] == {"command": "ls"}
    answered = await respond(runtime, session, asked)
    assert answered.texts == ["Done."]
    assert answered.end.stop_reason == "end_turn"


async def test_tool_result_refers_to_its_use(runtime: Runtime, session: Session) -> None:
    asked = await run(runtime, session, "ask")
    answered = await respond(runtime, session, asked)
    result = next(item for item in answered.items if isinstance(item, Event) and item.type == "agent.tool_result")
    assert result.payload["tool_use_id"] == Reference(asked.asks[0].native["id"])


async def test_deny_reaches_the_provider(runtime: Runtime, session: Session) -> None:
    answered = await respond(runtime, session, await run(runtime, session, "ask"), allow=False)
    result = next(item for item in answered.items if isinstance(item, Event) and item.type == "agent.tool_result")
    assert result.payload["is_error"]
    assert result.payload["content"][0]["text"] == REASON


async def test_custom_tool_is_asked_and_answered(runtime: Runtime, session: Session) -> None:
    asked = await run(runtime, session, "custom")
    assert [ask.type for ask in asked.asks] == ["agent.custom_tool_use"]
    assert "session_thread_id" not in asked.asks[0].payload
    assert (await respond(runtime, session, asked)).texts == ["Done."]


async def test_set_of_answers_goes_in_one_send(runtime: Runtime, session: Session, stand_in: StandIn) -> None:
    asked = await run(runtime, session, "both")
    assert (await respond(runtime, session, asked)).texts == ["Done."]
    assert stand_in.received[-1] == ["user.tool_confirmation", "user.custom_tool_result"]


async def test_answer_to_a_lost_ask_is_told(runtime: Runtime, session: Session) -> None:
    asked = await run(runtime, session, "ask")
    await runtime.cancel_asks(session, [ask.native for ask in asked.asks])
    with pytest.raises(AskLostError):
        await respond(runtime, session, asked)
    assert (await run(runtime, session, "on")).texts == ["You said: on"]


async def test_refused_answer_to_a_pending_ask_is_no_lost_ask(
    runtime: Runtime, session: Session, stand_in: StandIn
) -> None:
    asked = await run(runtime, session, "ask")
    send = await answers_to(runtime, session, asked)
    stand_in.faults.answers.append((400, {"type": "error", "error": {"type": "invalid_request_error"}}, {}))
    with pytest.raises(Exception, match="400") as refused:
        await runtime.respond(session, send)
    assert runtime.classify(refused.value).kind == "terminal"


async def test_lost_answer_to_answers_is_found(runtime: Runtime, session: Session, stand_in: StandIn) -> None:
    asked = await run(runtime, session, "both")
    send = await answers_to(runtime, session, asked)
    assert await runtime.find_turn(session, send) == Absent()
    stand_in.faults.answer_lost = True
    with pytest.raises(Exception, match="Connection") as lost:
        await runtime.respond(session, send)
    assert runtime.classify(lost.value).ambiguous
    found = await runtime.find_turn(session, send)
    assert isinstance(found, Found)
    assert (await follow(runtime, session, Turn("turn_2", found.native, asked.cursor), asked.state)).texts == ["Done."]


async def test_part_of_the_answers_is_not_known(runtime: Runtime, session: Session) -> None:
    asked = await run(runtime, session, "both")
    send = await answers_to(runtime, session, asked)
    await runtime.respond(session, Send("turn_2", 5.0, answers=send.answers[:1], native_before=send.native_before))
    assert isinstance(await runtime.find_turn(session, send), Unknown)


async def test_part_of_the_answers_asks_for_the_rest(runtime: Runtime, session: Session) -> None:
    asked = await run(runtime, session, "both")
    send = await answers_to(runtime, session, asked)
    native = await runtime.respond(
        session, Send("turn_2", 5.0, answers=send.answers[:1], native_before=send.native_before)
    )
    rest = await follow(runtime, session, Turn("turn_2", native, asked.cursor), asked.state)
    assert rest.end.stop_reason == "requires_action"

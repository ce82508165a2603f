from runtimes.base import Event, Message, Reference, Send, Session, Turn
from runtimes.claude_managed_agents.runtime import ClaudeManagedAgentsRuntime as Runtime
from tests.runtimes.claude_managed_agents.following import follow, run, start
from tests.runtimes.claude_managed_agents.stand_in import StandIn


async def test_message_becomes_events_and_end(runtime: Runtime, session: Session) -> None:
    followed = await run(runtime, session, "hello")
    assert followed.types == ["span.model_request_start", "agent.message", "span.model_request_end"]
    assert followed.texts == ["You said: hello"]
    assert followed.end.stop_reason == "end_turn"
    assert not followed.end.interrupted


async def test_usage_refers_to_its_request(runtime: Runtime, session: Session) -> None:
    followed = await run(runtime, session, "hello")
    started = next(native.key for native in followed.natives if native.type == "span.model_request_start")
    ended = next(item for item in followed.items if isinstance(item, Event) and item.type == "span.model_request_end")
    assert ended.payload["model_usage"]["input_tokens"] == 10
    assert ended.payload["model_request_start_id"] == Reference(started or "")


async def test_system_message_follows_the_user_message(runtime: Runtime, session: Session, stand_in: StandIn) -> None:
    spoken = Message("sevt_1", [{"type": "text", "text": "hi"}], [{"type": "text", "text": "Be kind."}])
    send = Send("turn_1", 5.0, spoken, native_before=await runtime.position(session))
    followed = await follow(runtime, session, Turn("turn_1", await runtime.start_turn(session, send)))
    assert stand_in.received == [["user.message", "system.message"]]
    assert followed.texts == ["You said: hi"]


async def test_deltas_belong_to_the_final_event(runtime: Runtime, session: Session, stand_in: StandIn) -> None:
    stand_in.faults.queued_s = 0.3
    followed = await run(runtime, session, "hello")
    final = next(native.key for native in followed.natives if native.type == "agent.message")
    assert {delta.native_key for delta in followed.deltas} == {final}
    assert "".join(delta.text for delta in followed.deltas) == "You said: hello"


async def test_thinking_is_announced(runtime: Runtime, session: Session, stand_in: StandIn) -> None:
    stand_in.faults.queued_s = 0.3
    followed = await run(runtime, session, "think")
    final = next(native.key for native in followed.natives if native.type == "agent.thinking")
    assert next((delta.type, delta.native_key) for delta in followed.deltas) == ("agent.thinking", final)
    assert "agent.thinking" in followed.types


async def test_second_turn_has_only_its_own(runtime: Runtime, session: Session) -> None:
    await run(runtime, session, "one")
    followed = await run(runtime, session, "two")
    assert followed.texts == ["You said: two"]


async def test_history_is_read_from_the_turn_on(runtime: Runtime, session: Session, stand_in: StandIn) -> None:
    await run(runtime, session, "one")
    turn = await start(runtime, session, "two")
    before = len(stand_in.asked("GET", "/events"))
    await follow(runtime, session, turn)
    assert [query.get("created_at[gte]") is not None for query in stand_in.asked("GET", "/events")[before:]] == [True]


async def test_idle_of_earlier_turn_is_not_the_end(runtime: Runtime, session: Session, stand_in: StandIn) -> None:
    await run(runtime, session, "one")
    stand_in.faults.idle_before_message = True
    stand_in.faults.queued_s = 0.2
    assert (await run(runtime, session, "two")).texts == ["You said: two"]


async def test_passing_error_is_not_the_end(runtime: Runtime, session: Session) -> None:
    followed = await run(runtime, session, "stumble")
    assert followed.types[0] == "session.error"
    assert followed.texts == ["You said: stumble"]


async def test_unknown_event_type_is_kept_apart(runtime: Runtime, session: Session) -> None:
    followed = await run(runtime, session, "odd")
    assert followed.vendors == ["agent.telepathy"]
    assert followed.texts == ["You said: odd"]


async def test_exhausted_retries_end_the_turn(runtime: Runtime, session: Session) -> None:
    followed = await run(runtime, session, "fail")
    assert followed.types == ["session.error"]
    assert followed.end.stop_reason == "retries_exhausted"


async def test_terminated_session_ends_with_error(runtime: Runtime, session: Session) -> None:
    followed = await run(runtime, session, "terminate")
    assert followed.end.stop_reason == "retries_exhausted"
    assert followed.end.error


async def test_interrupt_ends_the_turn_as_interrupted(runtime: Runtime, session: Session, stand_in: StandIn) -> None:
    turn = await start(runtime, session, "wait")
    await stand_in.until_running(session.native["session_id"])
    assert (await runtime.interrupt(session, turn)).status == "accepted"
    followed = await follow(runtime, session, turn)
    assert followed.end.stop_reason == "end_turn"
    assert followed.end.interrupted


async def test_interrupt_after_the_end_does_nothing(runtime: Runtime, session: Session, stand_in: StandIn) -> None:
    turn = await start(runtime, session, "hello")
    await follow(runtime, session, turn)
    assert (await runtime.interrupt(session, turn)).status == "already_done"
    events = stand_in.sessions[session.native["session_id"]].log.events
    assert "user.interrupt" not in [event["type"] for event in events]
    assert not (await run(runtime, session, "again")).end.interrupted

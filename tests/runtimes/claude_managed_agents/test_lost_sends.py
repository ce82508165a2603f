import pytest

from runtimes.base import Absent, Found, Session, Turn, Unknown
from runtimes.claude_managed_agents.runtime import ClaudeManagedAgentsRuntime as Runtime
from tests.runtimes.claude_managed_agents.following import follow, message, run
from tests.runtimes.claude_managed_agents.stand_in import StandIn


async def test_send_whose_answer_is_lost_is_found(runtime: Runtime, session: Session, stand_in: StandIn) -> None:
    await run(runtime, session, "same")
    send = message("same", native_before=await runtime.position(session))
    stand_in.faults.answer_lost = True
    with pytest.raises(Exception, match="Connection") as lost:
        await runtime.start_turn(session, send)
    assert runtime.classify(lost.value).ambiguous
    found = await runtime.find_turn(session, send)
    assert isinstance(found, Found)
    assert (await follow(runtime, session, Turn(send.turn_id, found.native))).texts == ["You said: same"]
    assert stand_in.received == [["user.message"], ["user.message"]]


async def test_send_that_outlasts_its_deadline_is_found(runtime: Runtime, session: Session, stand_in: StandIn) -> None:
    stand_in.faults.answer_late_s = 5.0
    stand_in.faults.queued_s = 1.0
    send = message("slow", native_before=await runtime.position(session), timeout_s=0.3)
    with pytest.raises((TimeoutError, Exception)) as late:
        await runtime.start_turn(session, send)
    assert runtime.classify(late.value).ambiguous
    assert isinstance(await runtime.find_turn(session, send), Found)


async def test_equal_text_of_earlier_turn_is_not_found(runtime: Runtime, session: Session, stand_in: StandIn) -> None:
    await run(runtime, session, "same")
    stand_in.faults.swallowed_s = 1.0
    send = message("same", native_before=await runtime.position(session), timeout_s=0.3)
    with pytest.raises((TimeoutError, Exception)) as late:
        await runtime.start_turn(session, send)
    assert runtime.classify(late.value).ambiguous
    assert await runtime.find_turn(session, send) == Absent()


async def test_queued_send_is_found(runtime: Runtime, session: Session, stand_in: StandIn) -> None:
    await run(runtime, session, "same")
    send = message("same", native_before=await runtime.position(session))
    stand_in.faults.queued_s = 5.0
    sent = await runtime.start_turn(session, send)
    assert await runtime.find_turn(session, send) == Found(sent)
    assert (await runtime.snapshot(session, Turn(send.turn_id, sent))).status == "running"


async def test_other_text_is_absent(runtime: Runtime, session: Session) -> None:
    position = await runtime.position(session)
    await run(runtime, session, "this")
    assert await runtime.find_turn(session, message("that", native_before=position)) == Absent()


async def test_without_position_nothing_is_known(runtime: Runtime, session: Session) -> None:
    await run(runtime, session, "same")
    assert isinstance(await runtime.find_turn(session, message("same")), Unknown)


async def test_position_of_long_history_is_cheap(runtime: Runtime, session: Session, stand_in: StandIn) -> None:
    for _ in range(5):
        await run(runtime, session, "hello")
    before = len(stand_in.asked("GET", "/events"))
    await runtime.position(session)
    asked = stand_in.asked("GET", "/events")[before:]
    assert [(query["order"], query["limit"]) for query in asked] == [("desc", "20")]

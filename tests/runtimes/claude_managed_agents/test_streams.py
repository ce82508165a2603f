import asyncio
import dataclasses

import pytest

from runtimes.base import HEARTBEAT, End, Session, Turn
from runtimes.claude_managed_agents.runtime import ClaudeManagedAgentsRuntime as Runtime
from tests.runtimes.claude_managed_agents.following import follow, run, start
from tests.runtimes.claude_managed_agents.stand_in import StandIn


@pytest.mark.parametrize("frames", range(11))
async def test_dropped_stream_is_taken_up_again(
    runtime: Runtime, session: Session, stand_in: StandIn, frames: int
) -> None:
    stand_in.faults.queued_s = 0.3
    stand_in.faults.drop_stream_after = frames
    followed = await run(runtime, session, "hello")
    keys = [native.key for native in followed.natives if native.key]
    assert len(keys) == len(set(keys))
    assert followed.types == ["span.model_request_start", "agent.message", "span.model_request_end"]
    assert followed.streams <= 2


async def test_frames_that_come_twice_count_once(runtime: Runtime, session: Session, stand_in: StandIn) -> None:
    stand_in.faults.queued_s = 0.2
    stand_in.faults.every_frame_twice = True
    followed = await run(runtime, session, "hello")
    assert followed.texts == ["You said: hello"]


async def test_stream_that_opens_late_misses_nothing(runtime: Runtime, session: Session, stand_in: StandIn) -> None:
    stand_in.faults.stream_late_s = 0.4
    followed = await run(runtime, session, "hello")
    assert followed.types == ["span.model_request_start", "agent.message", "span.model_request_end"]
    assert followed.streams == 1


async def test_every_cursor_resumes(runtime: Runtime, session: Session) -> None:
    turn = await start(runtime, session, "hello")
    whole = await follow(runtime, session, turn)
    natives = [native for native in whole.natives if native.cursor]
    for number, native in enumerate(natives[:-1], 1):
        rest = await follow(runtime, session, dataclasses.replace(turn, cursor=native.cursor))
        assert [event.key for event in rest.natives if event.key] == [event.key for event in natives[number:]]


async def test_pings_are_heartbeats(runtime: Runtime, session: Session, stand_in: StandIn) -> None:
    stand_in.faults.pings = True
    stand_in.faults.queued_s = 0.4
    followed = await run(runtime, session, "hello")
    assert HEARTBEAT in [native.type for native in followed.natives]
    assert followed.texts == ["You said: hello"]


async def test_two_sessions_follow_at_once(runtime: Runtime, session: Session) -> None:
    other = dataclasses.replace(session, native=await runtime.open_session("session_2", session.agent, None))
    both = await asyncio.gather(run(runtime, session, "one"), run(runtime, other, "two"))
    assert [followed.texts for followed in both] == [["You said: one"], ["You said: two"]]


async def test_stream_the_provider_breaks_off_is_classified(
    runtime: Runtime, session: Session, stand_in: StandIn
) -> None:
    stand_in.faults.error_frame = "overloaded_error"
    turn = await start(runtime, session, "wait")
    with pytest.raises(Exception, match="overloaded_error") as broken:
        await follow(runtime, session, turn)
    failure = runtime.classify(broken.value)
    assert (failure.kind, failure.ambiguous, failure.error_type) == ("retry", False, "model_overloaded_error")


async def test_snapshot_of_running_turn(runtime: Runtime, session: Session) -> None:
    turn = await start(runtime, session, "wait")
    snapshot = await runtime.snapshot(session, turn)
    assert snapshot.status == "running"


async def test_snapshot_of_ended_turn_has_its_end(runtime: Runtime, session: Session) -> None:
    await run(runtime, session, "one")
    turn = await start(runtime, session, "two")
    whole = await follow(runtime, session, turn)
    await run(runtime, session, "three")
    snapshot = await runtime.snapshot(session, turn)
    assert snapshot.status == "ended"
    assert [event.key for event in snapshot.events] == [native.key for native in whole.natives if native.key]


async def test_snapshot_of_archived_session_ends(runtime: Runtime, session: Session) -> None:
    turn = await start(runtime, session, "hello")
    await follow(runtime, session, turn)
    await runtime.close_session(session, "archive")
    never = Turn("turn_2", {"events": ["sevt_never"], "since": await runtime.position(session)})
    snapshot = await runtime.snapshot(session, never)
    assert snapshot.status == "ended"
    end = runtime.translate({}, snapshot.events[-1]).items[0]
    assert isinstance(end, End)
    assert end.error


async def test_snapshot_of_deleted_session_is_lost(runtime: Runtime, session: Session) -> None:
    turn = await start(runtime, session, "hello")
    await follow(runtime, session, turn)
    await runtime.close_session(session, "delete")
    assert (await runtime.snapshot(session, turn)).status == "lost"


async def test_snapshot_of_a_send_nobody_lists_is_lost(runtime: Runtime, session: Session) -> None:
    never = Turn("turn_1", {"events": ["sevt_never"], "since": await runtime.position(session)})
    assert (await runtime.snapshot(session, never)).status == "lost"


async def test_deletion_interrupts_what_runs(runtime: Runtime, session: Session, stand_in: StandIn) -> None:
    following = asyncio.create_task(run(runtime, session, "wait"))
    await stand_in.until_running(session.native["session_id"])
    await runtime.close_session(session, "delete")
    assert (await following).end.interrupted


async def test_deletion_by_others_ends_the_turn(runtime: Runtime, session: Session, stand_in: StandIn) -> None:
    following = asyncio.create_task(run(runtime, session, "wait"))
    await stand_in.until_running(session.native["session_id"])
    await asyncio.sleep(0.3)
    stand_in.sessions[session.native["session_id"]].log.append_soon("session.deleted")
    assert (await following).end.error

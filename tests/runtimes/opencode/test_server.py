"""The adapter against the real OpenCode server."""

import asyncio
import pathlib
import time

import httpx2
import pytest
from pydantic import SecretStr

from runtimes.base import Absent, Answer, AskLostError, Connection, Found, Send, Session
from runtimes.opencode.client import StatusError
from runtimes.opencode.runtime import OpenCodeRuntime
from runtimes.opencode.testing import OpenCodeServer
from tests.fake_model import FakeModel
from tests.runtimes.opencode.driver import Conversation, a_send, an_agent, converse

pytestmark = [pytest.mark.opencode, pytest.mark.timeout(120)]

USAGE = {
    "input_tokens": 110,
    "output_tokens": 20,
    "cache_read_input_tokens": 50,
    "cache_creation_input_tokens": 0,
}


async def until(condition: object, seconds: float = 15.0) -> None:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.05)


def running(server: OpenCodeServer, command: str) -> list[int]:
    return [pid for pid, line in server.processes() if line == command]


async def test_check_tells_version_and_wrong_password(runtime: OpenCodeRuntime, server: OpenCodeServer) -> None:
    health = await runtime.check()
    assert health.ok
    assert "1.18.33" in health.detail
    other = OpenCodeRuntime(Connection("rt_2", server.url, SecretStr("wrong"), runtime.connection.options))
    health = await other.check()
    assert not health.ok
    assert "password" in health.detail
    await other.close()


async def test_message_is_answered_with_usage(runtime: OpenCodeRuntime, fake_model: FakeModel) -> None:
    talk = await converse(runtime, an_agent(system="Be brief as a stone."))
    log = await talk.say("hello")
    assert log.text == "You said: hello"
    assert log.end is not None
    assert (log.end.stop_reason, log.end.error, log.end.interrupted) == ("end_turn", None, False)
    assert [item.type for item in log.stored.values()] == [
        "span.model_request_start",
        "agent.message",
        "span.model_request_end",
    ]
    assert log.of("span.model_request_end")[0].payload["model_usage"] == USAGE
    sent = next(request for request in reversed(fake_model.requests) if request.user_text == "hello")
    assert "Be brief as a stone." in sent.body["messages"][0]["content"]


async def test_deltas_make_the_message(runtime: OpenCodeRuntime) -> None:
    talk = await converse(runtime, an_agent())
    await talk.say("hello")
    log = await talk.say("SLOW:8")
    key = next(key for key, item in log.stored.items() if "word8" in str(item.payload))
    pieces = [delta for delta in log.deltas if delta.native_key == key[0]]
    assert len(pieces) >= 8
    assert "".join(piece.text for piece in pieces) == "".join(f"word{n} " for n in range(1, 9))


async def test_thinking_is_told(runtime: OpenCodeRuntime) -> None:
    talk = await converse(runtime, an_agent())
    log = await talk.say("THINK:of stones\nhello")
    assert [item.payload for item in log.of("agent.thinking")] == [{}]


async def test_tool_runs_in_the_session_folder(runtime: OpenCodeRuntime, tmp_path: pathlib.Path) -> None:
    talk = await converse(runtime, an_agent())
    log = await talk.say("RUN:echo made > here.txt; pwd")
    (use,) = log.of("agent.tool_use")
    (result,) = log.of("agent.tool_result")
    folder = tmp_path / talk.session.id
    assert use.payload["name"] == "bash"
    assert use.payload["evaluated_permission"] == "allow"
    assert use.payload["input"]["command"] == "echo made > here.txt; pwd"
    assert log.used_by(result) is use
    assert result.payload["is_error"] is False
    assert str(folder) in result.payload["content"][0]["text"]
    assert (folder / "here.txt").read_text() == "made\n"
    assert log.text.startswith("Done: ")
    assert [item.payload["model_usage"] for item in log.of("span.model_request_end")] == [USAGE, USAGE]


async def test_tools_of_the_agent_alone_are_offered(runtime: OpenCodeRuntime, fake_model: FakeModel) -> None:
    talk = await converse(runtime, an_agent())
    await talk.say("which tools?")
    sent = next(request for request in reversed(fake_model.requests) if request.user_text == "which tools?")
    offered = {tool["function"]["name"] for tool in sent.body["tools"]}
    assert {"bash", "edit", "write", "read", "glob", "grep"} <= offered
    assert not offered & {"task", "question", "todowrite"}


async def test_approval_allowed_runs_the_tool(runtime: OpenCodeRuntime) -> None:
    talk = await converse(runtime, an_agent("always_ask"))
    log = await talk.say("RUN:echo allowed")
    assert log.end is not None
    assert log.end.stop_reason == "requires_action"
    (ask,) = log.asks
    assert ask.payload["input"]["command"] == "echo allowed"
    assert ask.payload["evaluated_permission"] == "ask"
    assert not log.of("agent.tool_result")
    await talk.answer(ask, allow=True)
    await talk.follow()
    (result,) = log.of("agent.tool_result")
    assert log.used_by(result) is ask
    assert result.payload["content"] == [{"type": "text", "text": "allowed\n"}]
    assert log.of("agent.tool_use") == [ask]
    assert (log.end.stop_reason, log.end.lost_asks) == ("end_turn", False)
    assert log.text == "Done: allowed"


@pytest.mark.parametrize("message", [None, "use ls instead"])
async def test_approval_denied_is_an_error_result(runtime: OpenCodeRuntime, message: str | None) -> None:
    talk = await converse(runtime, an_agent("always_ask"))
    log = await talk.say("RUN:touch denied")
    await talk.answer(log.asks[0], allow=False, message=message)
    await talk.follow()
    (result,) = log.of("agent.tool_result")
    assert result.payload["is_error"] is True
    assert (message or "rejected") in result.payload["content"][0]["text"]
    assert log.end is not None
    assert (log.end.stop_reason, log.end.lost_asks, log.end.error) == ("end_turn", False, None)
    # Natively a plain refusal ends the turn; with a message the model goes on.
    assert bool(log.text) is bool(message)
    assert (await talk.say("still there?")).text.endswith("You said: still there?")


async def test_two_asks_are_answered_one_by_one(runtime: OpenCodeRuntime) -> None:
    talk = await converse(runtime, an_agent("always_ask"))
    log = await talk.say("RUN:echo first\nRUN:echo second")
    assert len(log.asks) == 2
    first, second = log.asks
    await talk.answer(first, allow=True)
    await talk.follow()
    assert log.end is not None
    assert log.end.stop_reason == "requires_action"
    await talk.answer(second, allow=True)
    await talk.follow()
    assert (log.end.stop_reason, log.end.lost_asks) == ("end_turn", False)
    assert {log.used_by(result).payload["input"]["command"] for result in log.of("agent.tool_result")} == {
        "echo first",
        "echo second",
    }


async def test_denial_voids_the_other_ask(runtime: OpenCodeRuntime) -> None:
    talk = await converse(runtime, an_agent("always_ask"))
    log = await talk.say("RUN:echo first\nRUN:echo second")
    await talk.answer(log.asks[0], allow=False)
    await talk.follow()
    assert log.end is not None
    assert (log.end.stop_reason, log.end.lost_asks) == ("end_turn", True)
    assert [result.payload["is_error"] for result in log.of("agent.tool_result")] == [True, True]
    with pytest.raises(AskLostError):
        await talk.answer(log.asks[1], allow=True)


async def test_interrupt_ends_the_shell_child(runtime: OpenCodeRuntime, server: OpenCodeServer) -> None:
    talk = await converse(runtime, an_agent())
    await talk.start("RUN:sleep 301")
    await until(lambda: running(server, "sleep 301"))
    result = await runtime.interrupt(talk.session, talk.turn)
    assert result.status == "accepted"
    log = await talk.follow()
    assert log.end is not None
    assert (log.end.stop_reason, log.end.interrupted) == ("end_turn", True)
    await until(lambda: not running(server, "sleep 301"))
    assert (await runtime.interrupt(talk.session, talk.turn)).status == "already_done"
    assert log.of("span.model_request_end")[0].payload["is_error"] is True
    assert (await talk.say("still there?")).text.endswith("You said: still there?")


async def test_interrupt_right_after_the_send(runtime: OpenCodeRuntime) -> None:
    talk = await converse(runtime, an_agent())
    await talk.start("SLOW:80")
    assert (await runtime.interrupt(talk.session, talk.turn)).status == "accepted"
    began = time.monotonic()
    log = await talk.follow()
    assert log.end is not None
    assert log.end.interrupted
    assert time.monotonic() - began < 10


async def test_cancelled_asks_are_gone(runtime: OpenCodeRuntime) -> None:
    talk = await converse(runtime, an_agent("always_ask"))
    log = await talk.say("RUN:echo never")
    asks = [ask.native for ask in log.asks]
    await runtime.cancel_asks(talk.session, asks)
    await runtime.cancel_asks(talk.session, asks)
    snapshot = await runtime.snapshot(talk.session, talk.turn)
    assert snapshot.status == "ended"
    for native in snapshot.events:
        log.take(runtime, native)
    assert log.end is not None
    assert (log.end.interrupted, log.end.lost_asks) == (True, True)
    again = await talk.say("RUN:echo again")
    assert again.end is not None
    assert again.end.stop_reason == "requires_action"
    assert len(again.asks) == 2


async def test_snapshot_says_the_same_as_the_stream(runtime: OpenCodeRuntime) -> None:
    talk = await converse(runtime, an_agent())
    log = await talk.say("THINK:hm\nRUN:echo same")
    seen = dict(log.stored)
    snapshot = await runtime.snapshot(talk.session, talk.turn)
    assert snapshot.status == "ended"
    other = Conversation(runtime, talk.session).log
    for native in [*snapshot.events, *snapshot.events]:
        other.take(runtime, native)
    assert other.stored == seen
    assert other.end == log.end


async def test_attaching_in_mid_turn_misses_nothing(runtime: OpenCodeRuntime) -> None:
    talk = await converse(runtime, an_agent())
    await talk.say("hello")
    await talk.start("RUN:sleep 2; echo late")
    await asyncio.sleep(1.5)
    assert (await runtime.snapshot(talk.session, talk.turn)).status == "running"
    log = await talk.follow()
    assert log.text.endswith("Done: late")
    assert len(log.of("agent.tool_use")) == len(log.of("agent.tool_result")) == 1


async def test_two_sessions_have_folders_and_events_of_their_own(
    runtime: OpenCodeRuntime, tmp_path: pathlib.Path
) -> None:
    one, other = await converse(runtime, an_agent()), await converse(runtime, an_agent())
    logs = await asyncio.gather(one.say("RUN:echo one > mine"), other.say("RUN:echo other > mine"))
    assert [log.of("agent.tool_use")[0].payload["input"]["command"] for log in logs] == [
        "echo one > mine",
        "echo other > mine",
    ]
    assert (tmp_path / one.session.id / "mine").read_text() == "one\n"
    assert (tmp_path / other.session.id / "mine").read_text() == "other\n"


async def test_send_whose_answer_was_lost_is_found(runtime: OpenCodeRuntime) -> None:
    talk = await converse(runtime, an_agent())
    await talk.say("the same text")
    send = a_send("the same text", await runtime.position(talk.session))
    assert await runtime.find_turn(talk.session, send) == Absent()
    native = await runtime.start_turn(talk.session, send)
    assert await runtime.find_turn(talk.session, send) == Found(native)


async def test_answer_whose_answer_was_lost_is_found(runtime: OpenCodeRuntime) -> None:
    talk = await converse(runtime, an_agent("always_ask"))
    log = await talk.say("RUN:echo x")
    send = Send("turn_a", 30.0, answers=(Answer("sevt_2", log.asks[0].native, "confirmation"),))
    assert await runtime.find_turn(talk.session, send) == Absent()
    native = await runtime.respond(talk.session, send)
    assert await runtime.find_turn(talk.session, send) == Found(native)


async def test_model_error_ends_the_turn_with_it(runtime: OpenCodeRuntime) -> None:
    talk = await converse(runtime, an_agent())
    log = await talk.say("FAIL:401")
    assert log.end is not None
    assert log.end.stop_reason == "retries_exhausted"
    assert log.end.error_type == "model_request_failed_error"
    assert "scripted failure 401" in str(log.end.error)


async def test_missing_folder_ends_the_turn_with_an_error(server: OpenCodeServer) -> None:
    options = {"workspaces_root": "/nonexistent/workspaces", "lost_after_s": 5.0}
    runtime = OpenCodeRuntime(Connection("rt_3", server.url, SecretStr(server.password), options))
    talk = await converse(runtime, an_agent())
    log = await talk.say("hello")
    assert log.end is not None
    assert log.end.stop_reason == "retries_exhausted"
    assert "NotFound" in str(log.end.error)
    await runtime.close()


async def test_kill_in_mid_turn_is_lost_and_the_next_turn_works(
    runtime: OpenCodeRuntime, server: OpenCodeServer
) -> None:
    talk = await converse(runtime, an_agent())
    await talk.start("RUN:sleep 302")
    await until(lambda: running(server, "sleep 302"))
    following = asyncio.create_task(talk.follow())
    await asyncio.sleep(0.5)
    await asyncio.to_thread(server.kill)
    with pytest.raises(httpx2.TransportError) as caught:
        await following
    failure = runtime.classify(caught.value)
    assert (failure.kind, failure.ambiguous) == ("retry", False)
    assert (await runtime.snapshot(talk.session, talk.turn)).status == "unknown"
    # As the README says: the shell of a server that crashed goes on.
    assert running(server, "sleep 302")
    await asyncio.to_thread(server.restart)
    snapshot = await runtime.snapshot(talk.session, talk.turn)
    assert snapshot.status == "lost"
    assert "1 tool call(s) left running" in str(snapshot.detail)
    assert (await talk.say("still there?")).text.endswith("You said: still there?")


async def test_kill_while_asked_loses_the_ask(runtime: OpenCodeRuntime, server: OpenCodeServer) -> None:
    talk = await converse(runtime, an_agent("always_ask"))
    log = await talk.say("RUN:echo never")
    await asyncio.to_thread(server.kill)
    await asyncio.to_thread(server.restart)
    with pytest.raises(AskLostError):
        await talk.answer(log.asks[0], allow=True)
    assert (await talk.say("still there?")).text.endswith("You said: still there?")


async def test_unreachable_server_is_retried_unambiguously(tmp_path: pathlib.Path) -> None:
    options = {"workspaces_root": str(tmp_path)}
    runtime = OpenCodeRuntime(Connection("rt_4", "http://127.0.0.1:9", None, options))
    session = Session("sesn_x", an_agent(), {"session_id": "ses_x", "directory": "/tmp", "created": "0" * 12})
    with pytest.raises(httpx2.ConnectError) as caught:
        await runtime.start_turn(session, a_send("hello"))
    failure = runtime.classify(caught.value)
    assert (failure.kind, failure.ambiguous) == ("retry", False)
    assert not (await runtime.check()).ok
    await runtime.close()


async def test_unknown_session_is_terminal(runtime: OpenCodeRuntime) -> None:
    talk = await converse(runtime, an_agent())
    await runtime.close_session(talk.session, "stop")
    await runtime.close_session(talk.session, "delete")
    await runtime.close_session(talk.session, "delete")
    with pytest.raises(StatusError) as caught:
        await talk.start("hello")
    assert runtime.classify(caught.value).kind == "terminal"
    assert not await asyncio.to_thread(pathlib.Path(talk.session.native["directory"]).exists)

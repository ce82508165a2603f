"""What recorded natives of a real server become. No server is needed."""

import json
import pathlib
from collections.abc import Iterator
from itertools import count

import pytest
from anthropic.types.beta.sessions import BetaManagedAgentsStreamSessionEvents
from pydantic import TypeAdapter

from runtimes.base import Ask, End, Event, Json, NativeEvent, Reference
from runtimes.opencode.natives import Look, TurnReader
from runtimes.opencode.translate import translate
from tests.runtimes.opencode.driver import Log

RECORDINGS = sorted((pathlib.Path(__file__).parent / "recordings").glob("*.jsonl"))
USAGE = {
    "input_tokens": 110,
    "output_tokens": 20,
    "cache_read_input_tokens": 50,
    "cache_creation_input_tokens": 0,
}
Turns = list[list[NativeEvent]]


def lines(name: str) -> list[Json]:
    text = (pathlib.Path(__file__).parent / "recordings" / f"{name}.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def turns(name: str, looks_only: bool = False) -> Turns:
    """Return the natives of each turn of a recording, read from stream and looks, or from looks alone."""
    found: Turns = []
    for line in lines(name):
        if "reader" in line:
            reader = TurnReader(**line["reader"])
            found.append([])
        elif "look" in line:
            found[-1] += reader.look(Look(**line["look"]), line["settled"])
        elif not looks_only:
            found[-1] += reader.event(line["event"])[0]
    return found


class _Translator:
    def translate(self, state: Json, native: NativeEvent) -> object:
        return translate(state, native)


def stored(natives: Turns, repeat: int = 1) -> Log:
    """Return the log after the turns; each starts from the state of the one before, as one that answers does."""
    log = Log()
    for turn in natives:
        for native in turn:
            for _ in range(repeat):
                log.take(_Translator(), native)  # type: ignore[arg-type]
    return log


def types(log: Log) -> list[str]:
    return [item.type for item in log.stored.values()]


@pytest.mark.parametrize("name", [path.stem for path in RECORDINGS])
def test_repeated_natives_become_the_same(name: str) -> None:
    once, twice = stored(turns(name)), stored(turns(name), repeat=2)
    assert once.stored == twice.stored
    assert once.end == twice.end


@pytest.mark.parametrize("name", [path.stem for path in RECORDINGS])
def test_looks_alone_store_the_same(name: str) -> None:
    both, looks = stored(turns(name)), stored(turns(name, looks_only=True))
    assert looks.end == both.end
    assert {key: item for key, item in looks.stored.items()} == both.stored


@pytest.mark.parametrize("name", [path.stem for path in RECORDINGS])
def test_translation_leaves_its_arguments_alone(name: str) -> None:
    state: Json = {}
    for native in (native for turn in turns(name) for native in turn):
        before = json.dumps([state, native.data])
        after = translate(state, native).state
        assert json.dumps([state, native.data]) == before
        state = json.loads(json.dumps(after))


def wire(log: Log) -> Iterator[Json]:
    """Yield the stored events as the API would send them."""
    ids = {key: f"sevt_{number}" for number, key in enumerate(log.stored)}
    for key, item in log.stored.items():
        payload = {
            name: ids[(value.native_key, value.ordinal)] if isinstance(value, Reference) else value
            for name, value in item.payload.items()
        }
        yield {"type": item.type, "id": ids[key], "processed_at": "2026-01-01T00:00:00Z", **payload}


@pytest.mark.parametrize("name", [path.stem for path in RECORDINGS])
def test_events_are_the_api_s(name: str) -> None:
    adapter: TypeAdapter[object] = TypeAdapter(BetaManagedAgentsStreamSessionEvents)
    for event in wire(stored(turns(name))):
        parsed = adapter.validate_python(event)
        assert getattr(parsed, "type", None) == event["type"]


def test_message_with_thinking() -> None:
    log = stored(turns("message"))
    assert types(log) == ["span.model_request_start", "agent.thinking", "agent.message", "span.model_request_end"]
    assert log.text == "word1 word2 word3 "
    assert "".join(delta.text for delta in log.deltas if delta.type == "agent.message") == log.text
    assert {(delta.native_key, delta.ordinal) for delta in log.deltas} <= set(log.stored)
    (span,) = log.of("span.model_request_end")
    assert isinstance(span, Event)
    assert (span.payload["model_usage"], span.cost_usd) == (USAGE, 0.000155)
    assert log.end == End("end_turn")


def test_tool_has_one_use_and_one_result() -> None:
    log = stored(turns("tool"))
    (use,), (result,) = log.of("agent.tool_use"), log.of("agent.tool_result")
    assert use.payload["input"]["command"] == "echo out; false"
    assert log.used_by(result) is use
    assert result.payload["content"][0]["text"].startswith("out\n")
    assert len(log.of("span.model_request_end")) == 2


def test_two_asks_allowed_one_by_one() -> None:
    first, second, third = turns("allow")
    log = stored([first])
    assert log.end == End("requires_action")
    assert [ask.payload["input"]["command"] for ask in log.asks] == ["echo first", "echo second"]
    assert all(ask.payload["evaluated_permission"] == "ask" for ask in log.asks)
    assert stored([first, second]).end == End("requires_action")
    log = stored([first, second, third])
    assert log.end == End("end_turn")
    assert [log.used_by(result) for result in log.of("agent.tool_result")] == log.asks
    assert log.of("agent.tool_use") == log.asks


def test_denial_is_an_error_result_and_voids_the_other_ask() -> None:
    log = stored(turns("deny"))
    assert [result.payload["is_error"] for result in log.of("agent.tool_result")] == [True, True]
    assert log.end == End("end_turn", lost_asks=True)


def test_interrupt_ends_span_and_turn() -> None:
    log = stored(turns("interrupt"))
    assert log.end == End("end_turn", interrupted=True)
    (span,) = log.of("span.model_request_end")
    assert span.payload["is_error"] is True
    assert len(log.of("agent.tool_result")) == 1


def test_model_error_is_the_end() -> None:
    log = stored(turns("error"))
    assert log.end is not None
    assert (log.end.stop_reason, log.end.error_type) == ("retries_exhausted", "model_request_failed_error")


def test_preview_of_a_text_seen_too_late_is_left_out() -> None:
    reader, natives = None, []
    for line in lines("message"):
        if "reader" in line:
            reader = TurnReader(**line["reader"])
            continue
        assert reader is not None
        if "look" in line:
            natives += reader.look(Look(**line["look"]), line["settled"])
        elif line["event"]["properties"].get("part", {}).get("text") != "":
            natives += reader.event(line["event"])[0]
    assert not [native for native in natives if native.type == "delta"]
    assert stored([natives]).text == "word1 word2 word3 "


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"name": "APIError", "data": {"statusCode": 429, "message": "slow"}}, "model_rate_limited_error"),
        ({"name": "APIError", "data": {"statusCode": 529, "message": "busy"}}, "model_overloaded_error"),
        ({"name": "APIError", "data": {"statusCode": 402, "message": "pay"}}, "billing_error"),
        ({"name": "ProviderAuthError", "data": {"message": "key"}}, "model_request_failed_error"),
        ({"name": "UnknownError", "data": {"message": "first\n  at line 1"}}, "unknown_error"),
    ],
)
def test_errors_have_the_api_s_types(error: Json, kind: str) -> None:
    data = {"error": error, "aborted": False, "finish": None, "answered": None}
    (end,) = translate({}, NativeEvent("m:idle", "idle", data)).items
    assert isinstance(end, End)
    assert (end.stop_reason, end.error_type) == ("retries_exhausted", kind)
    assert "at line" not in str(end.error)


def test_retry_of_the_model_is_told() -> None:
    status = {"type": "retry", "attempt": 2, "message": "overloaded", "next": 17}
    reader = TurnReader("ses_1", "msg_1")
    event = {"type": "session.status", "properties": {"sessionID": "ses_1", "status": status}}
    natives = [*reader.event(event)[0], *reader.event(event)[0]]
    assert len(natives) == 1
    (item,) = translate({}, natives[0]).items
    assert isinstance(item, Event)
    assert item.payload["error"]["retry_status"] == {"type": "retrying"}


def test_request_left_by_an_aborted_turn_is_no_ask() -> None:
    # Seen: after an abort the server still lists the request.
    asked = next(line for line in lines("allow") if "look" in line and line["look"]["permissions"])["look"]
    numbers = count()
    ghosts = [{**asked["permissions"][0], "id": f"per_{next(numbers)}", "tool": {"callID": "gone"}}]
    look = Look({"type": "busy"}, asked["messages"], ghosts)
    assert (look.state, look.asks) == ("running", [])


def test_request_seen_before_its_tool_part_calls_for_two_looks() -> None:
    # Seen: the event of the request can come before the one that says what the tool is to do.
    reader = TurnReader("ses_1", "msg_1")
    request = {"id": "per_1", "sessionID": "ses_1", "tool": {"messageID": "msg_2", "callID": "call_1"}}
    assert reader.event({"type": "permission.asked", "properties": request}) == ([], True)
    part = {"id": "prt_1", "type": "tool", "messageID": "msg_2", "callID": "call_1", "state": {"status": "running"}}
    update = {"type": "message.part.updated", "properties": {"sessionID": "ses_1", "part": part}}
    assert reader.event(update) == ([], True)
    part["callID"] = "call_2"
    assert reader.event(update) == ([], False)


def test_events_of_other_sessions_are_passed_over() -> None:
    reader = TurnReader("ses_1", "msg_1")
    assert reader.event({"type": "session.idle", "properties": {"sessionID": "ses_2"}}) == ([], False)


def test_ask_carries_what_its_answer_needs() -> None:
    ask = stored(turns("allow")[:1]).asks[0]
    assert isinstance(ask, Ask)
    assert ask.native["permission_id"].startswith("per_")
    assert ask.native["message_id"].startswith("msg_")

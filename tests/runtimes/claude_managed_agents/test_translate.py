from typing import Any

import pytest
from anthropic.types.beta.sessions import BetaManagedAgentsSessionErrorEvent

from runtimes.base import Ask, Delta, End, Event, Json, NativeEvent, Reference, Vendor
from runtimes.claude_managed_agents.translate import translate

TIME = "2026-11-22T14:00:00.000001Z"
TEXT = [{"type": "text", "text": "hi"}]


def native(kind: str, key: str | None = "n_1", **fields: Any) -> NativeEvent:
    own = {"id": key, "processed_at": TIME} if key else {}
    return NativeEvent(key, kind, {"type": kind, **own, **fields})


def items(event: NativeEvent, state: Json | None = None) -> list[Any]:
    return list(translate(state or {}, event).items)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("agent.message", {"content": TEXT}),
        ("agent.thinking", {}),
        ("agent.tool_use", {"name": "bash", "input": {}, "evaluated_permission": "allow"}),
        ("agent.mcp_tool_use", {"name": "f", "input": {}, "mcp_server_name": "s"}),
        ("agent.thread_context_compacted", {}),
        ("span.model_request_start", {}),
    ],
)
def test_plain_event_is_copied_without_id_and_time(kind: str, fields: Json) -> None:
    assert items(native(kind, **fields)) == [Event(kind, fields)]


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("agent.tool_result", "tool_use_id"),
        ("agent.mcp_tool_result", "mcp_tool_use_id"),
        ("span.model_request_end", "model_request_start_id"),
    ],
)
def test_id_of_another_event_becomes_a_reference(kind: str, name: str) -> None:
    assert items(native(kind, **{name: "n_0"})) == [Event(kind, {name: Reference("n_0")})]


@pytest.mark.parametrize(
    "kind",
    [
        "user.message",
        "user.tool_confirmation",
        "user.custom_tool_result",
        "user.define_outcome",
        "system.message",
        "session.status_running",
        "session.status_rescheduled",
        "heartbeat",
    ],
)
def test_echo_status_and_heartbeat_become_nothing(kind: str) -> None:
    assert items(native(kind)) == []


@pytest.mark.parametrize(
    "kind",
    [
        "agent.thread_message_sent",
        "agent.telepathy",
        "session.thread_created",
        "session.thread_status_idle",
        "session.updated",
        "session.usage",
        "span.outcome_evaluation_end",
        "workflow_run.created",
        "quite.new",
    ],
)
def test_event_of_the_provider_alone_is_kept_apart(kind: str) -> None:
    event = native(kind, a=1)
    assert items(event) == [Vendor(kind, event.data)]


@pytest.mark.parametrize("kind", ["agent.tool_use", "agent.mcp_tool_use"])
def test_tool_use_that_needs_approval_is_asked(kind: str) -> None:
    fields: Json = {"name": "bash", "input": {}, "evaluated_permission": "ask"}
    asked = items(native(kind, session_thread_id="sthr_1", **fields))
    assert asked == [Ask(kind, fields, {"id": "n_1", "type": kind})]  # type: ignore[arg-type]


def test_custom_tool_use_is_asked() -> None:
    asked = items(native("agent.custom_tool_use", name="f", input={}))
    assert asked == [
        Ask("agent.custom_tool_use", {"name": "f", "input": {}}, {"id": "n_1", "type": "agent.custom_tool_use"})
    ]


def test_idle_that_names_an_ask_requires_action() -> None:
    state = translate({}, native("agent.custom_tool_use", name="f", input={})).state
    idle = native("session.status_idle", "n_2", stop_reason={"type": "requires_action", "event_ids": ["n_1"]})
    assert items(idle, state) == [End("requires_action")]


def test_idle_that_waits_for_others_ends_with_error() -> None:
    idle = native("session.status_idle", stop_reason={"type": "requires_action", "event_ids": ["n_9"]})
    (end,) = items(idle)
    assert end.stop_reason == "end_turn"
    assert "waits" in end.error


@pytest.mark.parametrize("reason", ["end_turn", "refusal", "retries_exhausted", "budget_reached"])
def test_idle_ends_with_its_stop_reason(reason: str) -> None:
    assert items(native("session.status_idle", stop_reason={"type": reason})) == [End(reason)]  # type: ignore[arg-type]


@pytest.mark.parametrize("fields", [{}, {"stop_reason": None}, {"stop_reason": {"type": "moonrise"}}])
def test_idle_with_unknown_reason_ends_the_turn(fields: Json) -> None:
    assert items(native("session.status_idle", **fields)) == [End("end_turn")]


def test_idle_after_interrupt_is_interrupted_each_time() -> None:
    state = translate({}, native("user.interrupt")).state
    idle = native("session.status_idle", "n_2", stop_reason={"type": "end_turn"})
    first = translate(state, idle)
    assert first.items == (End("end_turn", interrupted=True),)
    assert translate(first.state, idle).items == first.items


def test_turn_that_answers_does_not_inherit_an_interrupt() -> None:
    state = translate({}, native("agent.custom_tool_use", name="f", input={})).state
    state = translate(state, native("user.interrupt", "n_2")).state
    asks = native("session.status_idle", "n_3", stop_reason={"type": "requires_action", "event_ids": ["n_1"]})
    state = translate(state, asks).state
    assert items(native("session.status_idle", "n_4", stop_reason={"type": "end_turn"}), state) == [End("end_turn")]


@pytest.mark.parametrize("kind", ["session.status_terminated", "session.deleted"])
def test_end_of_the_session_ends_with_error(kind: str) -> None:
    (end,) = items(native(kind))
    assert end.stop_reason == "retries_exhausted"
    assert end.error


def test_error_of_unknown_type_stays_valid() -> None:
    error = {"type": "lunar_error", "message": "m", "retry_status": {"type": "retrying"}}
    (event,) = items(native("session.error", error=error))
    BetaManagedAgentsSessionErrorEvent.model_validate(
        {"type": event.type, "id": "x", "processed_at": TIME, **event.payload}
    )
    assert event.payload["error"] == {**error, "type": "unknown_error"}


def test_delta_belongs_to_the_final_event() -> None:
    delta = {"type": "content_delta", "index": 1, "content": {"type": "text", "text": "h"}}
    event = NativeEvent(None, "event_delta", {"type": "event_delta", "event_id": "n_1", "delta": delta})
    assert items(event) == [Delta("agent.message", "n_1", 0, "h", 1)]


@pytest.mark.parametrize(("kind", "shown"), [("agent.thinking", True), ("agent.message", False)])
def test_only_thinking_is_announced(kind: str, shown: bool) -> None:
    event = NativeEvent(None, "event_start", {"type": "event_start", "event": {"type": kind, "id": "n_1"}})
    assert items(event) == ([Delta("agent.thinking", "n_1", 0, "")] if shown else [])


@pytest.mark.parametrize("kind", ["event_delta", "session.error"])
@pytest.mark.parametrize("fields", [{}, {"delta": 3, "error": 3}, {"event_id": "n", "delta": {"content": {}}}])
def test_malformed_event_is_kept_apart(kind: str, fields: Json) -> None:
    event = NativeEvent("n_1", kind, {"type": kind, **fields})
    assert items(event) == [Vendor(kind, event.data)]


def test_state_is_not_changed() -> None:
    state: Json = {"asked": ["n_0"]}
    translate(state, native("agent.custom_tool_use", name="f", input={}))
    translate(state, native("user.interrupt"))
    assert state == {"asked": ["n_0"]}

from typing import Any

import pytest
from anthropic.types.beta.sessions import (
    BetaManagedAgentsAgentCustomToolUseEvent,
    BetaManagedAgentsAgentMessageEvent,
    BetaManagedAgentsAgentThinkingEvent,
    BetaManagedAgentsAgentToolResultEvent,
    BetaManagedAgentsAgentToolUseEvent,
    BetaManagedAgentsSpanModelRequestEndEvent,
    BetaManagedAgentsSpanModelRequestStartEvent,
)
from pydantic import BaseModel, TypeAdapter

from runtimes.base import HEARTBEAT, Ask, Delta, End, Event, Json, NativeEvent, Reference, Translated, Vendor
from runtimes.scripted.translate import translate

MODELS: dict[str, type[BaseModel]] = {
    "agent.custom_tool_use": BetaManagedAgentsAgentCustomToolUseEvent,
    "agent.message": BetaManagedAgentsAgentMessageEvent,
    "agent.thinking": BetaManagedAgentsAgentThinkingEvent,
    "agent.tool_result": BetaManagedAgentsAgentToolResultEvent,
    "agent.tool_use": BetaManagedAgentsAgentToolUseEvent,
    "span.model_request_end": BetaManagedAgentsSpanModelRequestEndEvent,
    "span.model_request_start": BetaManagedAgentsSpanModelRequestStartEvent,
}

NATIVES: list[tuple[Json, list[Translated]]] = [
    ({"type": "message", "text": "hi"}, [Event("agent.message", {"content": [{"type": "text", "text": "hi"}]})]),
    ({"type": "thinking", "text": "hm"}, [Event("agent.thinking", {})]),
    ({"type": "delta", "kind": "message", "of": "t:1", "text": "h"}, [Delta("agent.message", "t:1", 0, "h")]),
    ({"type": "delta", "kind": "thinking", "of": "t:1", "text": "h"}, [Delta("agent.thinking", "t:1", 0, "h")]),
    (
        {"type": "tool_use", "tool": "bash", "input": {"command": "ls"}},
        [Event("agent.tool_use", {"name": "bash", "input": {"command": "ls"}, "evaluated_permission": "allow"})],
    ),
    (
        {"type": "tool_result", "tool_use": "t:1", "text": "a", "is_error": True},
        [
            Event(
                "agent.tool_result",
                {"tool_use_id": Reference("t:1"), "content": [{"type": "text", "text": "a"}], "is_error": True},
            )
        ],
    ),
    (
        {"type": "ask", "tool": "bash", "input": {}, "custom": False},
        [Ask("agent.tool_use", {"name": "bash", "input": {}, "evaluated_permission": "ask"}, {"ask_id": "t:9"})],
    ),
    (
        {"type": "ask", "tool": "price", "input": {"of": 1}, "custom": True},
        [Ask("agent.custom_tool_use", {"name": "price", "input": {"of": 1}}, {"ask_id": "t:9"})],
    ),
    (
        {"type": "usage", "input_tokens": 3, "output_tokens": 5},
        [
            Event("span.model_request_start", {}),
            Event(
                "span.model_request_end",
                {
                    "model_request_start_id": Reference("t:9", 0),
                    "is_error": False,
                    "model_usage": {
                        "input_tokens": 3,
                        "output_tokens": 5,
                        "cache_creation_input_tokens": 0,
                        "cache_read_input_tokens": 0,
                    },
                },
            ),
        ],
    ),
    ({"type": "end", "reason": "done"}, [End("end_turn")]),
    ({"type": "end", "reason": "asks"}, [End("requires_action")]),
    ({"type": "end", "reason": "refusal", "error": "no"}, [End("refusal")]),
    ({"type": "end", "reason": "interrupted"}, [End("end_turn", interrupted=True)]),
    ({"type": "end", "reason": "error", "error": "broken"}, [End("retries_exhausted", error="broken")]),
    ({"type": HEARTBEAT}, []),
]


def native(data: Json) -> NativeEvent:
    return NativeEvent("t:9", data["type"], data | {"id": "t:9", "seq": 3}, "t:3")


@pytest.mark.parametrize(("data", "expected"), NATIVES)
def test_native_event_becomes_the_same_again(data: Json, expected: list[Translated]) -> None:
    state = {"kept": 1}
    first, second = translate(state, native(data)), translate(state, native(data))
    assert list(first.items) == list(second.items) == expected
    assert first.state == state == {"kept": 1}


def test_unknown_native_event_is_kept_for_debugging() -> None:
    data = {"type": "weather", "id": "t:9", "seq": 3}
    assert list(translate({}, native(data)).items) == [Vendor("weather", data)]


def filled(payload: Any) -> Any:
    """What the engine makes of a payload: references become ids."""
    if isinstance(payload, Reference):
        return "sevt_1"
    if isinstance(payload, dict):
        return {key: filled(value) for key, value in payload.items()}
    return payload


@pytest.mark.parametrize("data", [data for data, _ in NATIVES])
def test_payload_has_the_shape_of_the_sdk(data: Json) -> None:
    for item in translate({}, native(data)).items:
        if isinstance(item, Event | Ask):
            event = {"id": "sevt_2", "type": item.type, "processed_at": "2026-01-01T00:00:00Z"} | filled(item.payload)
            model = MODELS[item.type]
            assert set(event) <= set(model.model_fields)
            TypeAdapter(model).validate_python(event)

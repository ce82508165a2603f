"""What a user may send, as far as it can be told without a database."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from protocol.inputs import EventSendParams, InitialEvent, content_kinds, payload_of

TEXT: Any = {"type": "text", "text": "hi"}
MESSAGE: Any = {"type": "user.message", "content": [TEXT]}
SYSTEM: Any = {"type": "system.message", "content": [TEXT]}


def test_payload_has_the_answers_shape() -> None:
    document: Any = {"type": "document", "source": {"type": "file", "file_id": "f"}, "title": None, "context": "c"}
    answer: Any = {"type": "user.custom_tool_result", "custom_tool_use_id": "x", "content": None, "is_error": False}
    confirm: Any = {"type": "user.tool_confirmation", "tool_use_id": "x", "result": "allow", "deny_message": None}
    sent = EventSendParams.model_validate(
        {"events": [{"type": "user.message", "content": [TEXT, document]}, answer, confirm, {"type": "user.interrupt"}]}
    )
    assert [payload_of(event) for event in sent.events] == [
        {"content": [TEXT, {"type": "document", "source": {"type": "file", "file_id": "f"}, "context": "c"}]},
        {"custom_tool_use_id": "x", "is_error": False},
        {"tool_use_id": "x", "result": "allow"},
        {},
    ]
    assert content_kinds(sent.events[0]) == ["text", "document"]
    assert content_kinds(sent.events[3]) == []


def test_a_system_message_follows_its_message() -> None:
    assert len(EventSendParams.model_validate({"events": [MESSAGE, MESSAGE, SYSTEM]}).events) == 3


@pytest.mark.parametrize(
    ("events", "told"),
    [
        ([SYSTEM], "directly follow"),
        ([{"type": "user.interrupt"}, SYSTEM], "directly follow"),
        ([MESSAGE, SYSTEM, MESSAGE], "last event"),
        ([MESSAGE, SYSTEM, MESSAGE, SYSTEM], "at most one"),
        ([{"type": "user.define_outcome"}], "outcomes are not offered yet"),
    ],
)
def test_refusals_say_what_to_do(events: list[Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        EventSendParams.model_validate({"events": events})


def test_initial_events_are_messages() -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(InitialEvent)
    assert adapter.validate_python(MESSAGE).type == "user.message"
    for refused in ({"type": "user.define_outcome"}, {"type": "user.interrupt"}, SYSTEM, "x", None):
        with pytest.raises(ValidationError):
            adapter.validate_python(refused)

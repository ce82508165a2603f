"""What an agent's definition means to OpenCode."""

import httpx2
import pytest
from pydantic import ValidationError

from runtimes.base import Agent, Json, Message, Send, Session, UnsupportedCapabilityError
from runtimes.opencode.client import StatusError
from runtimes.opencode.config import OpenCodeOptions, check_supported, model_of, permission_rules
from runtimes.opencode.failures import classify
from runtimes.opencode.runtime import message_id
from tests.runtimes.opencode.driver import an_agent, toolset

OPTIONS = OpenCodeOptions(workspaces_root="/w")


def agent(definition: Json, options: Json | None = None) -> Agent:
    return Agent("agent_1", 1, definition, options or {})


def actions(tools: list[Json]) -> dict[str, str]:
    return {rule["permission"]: rule["action"] for rule in permission_rules(agent({"tools": tools}))}


def test_agent_without_tools_gets_none() -> None:
    assert actions([]) == {"*": "deny", "question": "deny"}


def test_policies_become_rules_after_a_general_denial() -> None:
    rules = permission_rules(an_agent("always_ask"))
    assert rules[0] == {"permission": "*", "pattern": "*", "action": "deny"}
    found = {rule["permission"]: rule["action"] for rule in rules}
    assert found["bash"] == found["edit"] == found["webfetch"] == found["external_directory"] == "ask"


def test_tool_config_overrides_the_default() -> None:
    configs = [
        {"name": "bash", "permission_policy": {"type": "always_ask"}},
        {"name": "web_search", "enabled": False},
        {"name": "read", "enabled": True, "permission_policy": {"type": "auto"}},
    ]
    found = actions([{**toolset(), "configs": configs}])
    assert (found["bash"], found["websearch"], found["read"], found["grep"]) == ("ask", "deny", "ask", "allow")


def test_edit_and_write_share_the_stricter_rule() -> None:
    configs = [{"name": "write", "permission_policy": {"type": "always_ask"}}]
    assert actions([{**toolset(), "configs": configs}])["edit"] == "ask"


def test_native_agent_keeps_its_own_rules() -> None:
    rules = permission_rules(Agent("agent_1", 1, {"tools": []}, native_id="plan"))
    assert rules == [{"permission": "question", "pattern": "*", "action": "deny"}]


@pytest.mark.parametrize(
    ("definition", "capability"),
    [
        ({"tools": [{"type": "custom", "name": "x"}]}, "custom_tools"),
        ({"mcp_servers": [{"name": "x"}]}, "mcp_servers"),
    ],
)
def test_what_cannot_be_given_is_refused(definition: Json, capability: str) -> None:
    with pytest.raises(UnsupportedCapabilityError) as caught:
        check_supported(agent(definition))
    assert caught.value.capability == capability


def test_model_is_the_agent_s_then_the_runtime_s() -> None:
    default = OpenCodeOptions(workspaces_root="/w", model="p/default")
    assert model_of(agent({"model": {"id": "opus"}}), OPTIONS) is None
    assert model_of(agent({"model": {"id": "opus"}}), default) == ("p", "default")
    assert model_of(agent({"model": {"id": "q/named/deep"}}), default) == ("q", "named/deep")
    assert model_of(agent({"model": {"id": "q/named"}}, options={"model": "r/own"}), default) == ("r", "own")


@pytest.mark.parametrize("options", [{}, {"workspaces_root": "w"}, {"workspaces_root": "/w", "model": "opus"}])
def test_bad_options_are_refused(options: Json) -> None:
    with pytest.raises(ValidationError):
        OpenCodeOptions.model_validate(options)


def test_message_id_is_fixed_and_follows_the_last() -> None:
    session = Session("sesn_1", an_agent(), {"created": "2039d7b58000"})
    send = Send("turn_1", 1.0, Message("sevt_1", []))
    first = message_id(session, send)
    assert first == message_id(session, send)
    assert first.startswith("msg_2039d7b58001")
    assert len(first) == len("msg_2039d7b58001AAAAAAAAAAAAAA")
    later = message_id(session, Send("turn_1", 1.0, Message("sevt_1", []), native_before="2039d8214001"))
    assert first < later


REQUEST = httpx2.Request("POST", "http://h/session/s/prompt_async")
LOOK = httpx2.Request("GET", "http://h/event")


@pytest.mark.parametrize(
    ("error", "kind", "ambiguous"),
    [
        (httpx2.ConnectError("", request=REQUEST), "retry", False),
        (httpx2.ReadTimeout("", request=REQUEST), "retry", True),
        (httpx2.RemoteProtocolError("", request=REQUEST), "retry", True),
        (httpx2.ReadTimeout("", request=LOOK), "retry", False),
        (TimeoutError(), "retry", True),
        (StatusError("POST", "/session", 401, "x"), "needs_person", False),
        (StatusError("POST", "/session", 404, "x"), "terminal", False),
        (StatusError("POST", "/session", 400, "x"), "terminal", False),
        (StatusError("POST", "/session", 502, "x"), "retry", True),
        (StatusError("GET", "/session", 502, "x"), "retry", False),
        (StatusError("POST", "/session", 429, "x"), "retry", False),
        (UnsupportedCapabilityError("opencode", "skills"), "needs_person", False),
    ],
)
def test_errors_are_classified(error: Exception, kind: str, ambiguous: bool) -> None:
    failure = classify(error)
    assert (failure.kind, failure.ambiguous) == (kind, ambiguous)


def test_unknown_errors_are_raised_again() -> None:
    with pytest.raises(KeyError):
        classify(KeyError("x"))

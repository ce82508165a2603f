"""Events of a session: what may be sent, and how they are listed."""

import json
from typing import Any

import anthropic
import httpx2
import pytest
import sqlalchemy as sa

from runtimes.capabilities import Capabilities
from store.tables import asks, intents
from tests.api.conftest import RunningApi
from tests.api.sessions import RecordedWaker, counts, create_agent, create_session, message
from tests.api.stub_runtime import StubRuntime

Json = dict[str, Any]

ABLE = Capabilities(
    agents="none",
    resume="none",
    reconcile="none",
    interrupt="native",
    system_messages=True,
    content=("text", "image", "document"),
)
IMAGE: Any = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
SYSTEM: Any = {"type": "system.message", "content": [{"type": "text", "text": "be brief"}]}


@pytest.fixture(autouse=True)
def waker(api: RunningApi) -> RecordedWaker:
    api.state.waker = recorded = RecordedWaker()
    return recorded


@pytest.fixture
def able(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stub runtime can do everything that events can ask for."""
    monkeypatch.setattr(StubRuntime, "capabilities", ABLE)


@pytest.fixture
async def session(http: httpx2.AsyncClient, stub_runtime: Json) -> Json:
    agent = await create_agent(http)
    return await create_session(http, agent["id"])


async def _ask(api: RunningApi, session_id: str, *events: tuple[str, str]) -> None:
    rows = [
        {"event_id": event_id, "session_id": session_id, "turn_id": "turn_1", "type": type_, "native": {},
         "position": place, "state": "open"}
        for place, (event_id, type_) in enumerate(events)
    ]  # fmt: skip
    await api.state.store.write(lambda db: db.execute(sa.insert(asks), rows))


async def test_send_answers_the_strict_shape_and_wakes(
    sdk: anthropic.AsyncAnthropic, able: None, session: Json, waker: RecordedWaker
) -> None:
    document: Any = {
        "type": "document",
        "source": {"type": "text", "media_type": "text/plain", "data": "d"},
        "title": "t",
    }
    sent = await sdk.beta.sessions.events.send(
        session["id"],
        events=[
            message("one"),
            {"type": "user.message", "content": [{"type": "text", "text": "two"}, IMAGE, document]},
            SYSTEM,
        ],
    )
    data = sent.data or []
    assert [event.type for event in data] == ["user.message", "user.message", "system.message"]
    assert len({event.id for event in data}) == 3
    assert all(event.processed_at is None for event in data)
    assert waker.woken == [(session["id"], False)]
    listed = [event async for event in sdk.beta.sessions.events.list(session["id"])]
    assert [event.to_dict() for event in listed] == [event.to_dict() for event in data]


async def test_interrupts_wake_with_a_signal(
    sdk: anthropic.AsyncAnthropic, api: RunningApi, able: None, session: Json, waker: RecordedWaker
) -> None:
    sent = await sdk.beta.sessions.events.send(session["id"], events=[{"type": "user.interrupt"}])
    assert sent.data is not None
    assert sent.data[0].type == "user.interrupt"
    assert waker.woken == [(session["id"], True)]
    kinds = await api.state.store.read(lambda db: db.execute(sa.select(intents.c.kind)).scalars().all())
    assert kinds == ["interrupt"]


async def test_answers_are_taken_once(
    sdk: anthropic.AsyncAnthropic, http: httpx2.AsyncClient, api: RunningApi, session: Json
) -> None:
    await _ask(api, session["id"], ("sevt_tool", "agent.tool_use"), ("sevt_custom", "agent.custom_tool_use"))
    deny: Any = {"type": "user.tool_confirmation", "tool_use_id": "sevt_tool", "result": "deny", "deny_message": "no"}
    sent = await sdk.beta.sessions.events.send(session["id"], events=[deny])
    assert sent.data is not None
    assert sent.data[0].to_dict()["deny_message"] == "no"
    result: Any = {"type": "user.custom_tool_result", "custom_tool_use_id": "sevt_custom", "is_error": True}
    await sdk.beta.sessions.events.send(session["id"], events=[result])
    before = await counts(api.state.store)
    for again in (deny, {**deny, "result": "allow", "deny_message": None}, result):
        answer = await http.post(f"/v1/sessions/{session['id']}/events", json={"events": [again]})
        assert answer.status_code == 400
        assert "answered already" in answer.json()["error"]["message"]
    assert await counts(api.state.store) == before


async def test_answers_to_nothing_are_refused(
    http: httpx2.AsyncClient, stranger: httpx2.AsyncClient, api: RunningApi, session: Json
) -> None:
    await _ask(api, session["id"], ("sevt_tool", "agent.tool_use"), ("sevt_custom", "agent.custom_tool_use"))
    before = await counts(api.state.store)
    for wrong in (
        {"type": "user.tool_confirmation", "tool_use_id": "sevt_none", "result": "allow"},
        {"type": "user.tool_confirmation", "tool_use_id": "sevt_custom", "result": "allow"},
        {"type": "user.custom_tool_result", "custom_tool_use_id": "sevt_tool"},
    ):
        body = {"events": [wrong]}
        answer = await http.post(f"/v1/sessions/{session['id']}/events", json=body)
        assert answer.status_code == 400, answer.text
        assert "waits for" in answer.json()["error"]["message"]
    twice = {"type": "user.tool_confirmation", "tool_use_id": "sevt_tool", "result": "allow"}
    answer = await http.post(f"/v1/sessions/{session['id']}/events", json={"events": [twice, twice]})
    assert answer.status_code == 400
    assert (await stranger.post(f"/v1/sessions/{session['id']}/events", json={"events": [twice]})).status_code == 404
    assert await counts(api.state.store) == before


async def test_a_system_message_waits_for_the_answers(
    http: httpx2.AsyncClient, api: RunningApi, able: None, session: Json
) -> None:
    await _ask(api, session["id"], ("sevt_tool", "agent.tool_use"))
    body = {"events": [message("x"), SYSTEM]}
    answer = await http.post(f"/v1/sessions/{session['id']}/events", json=body)
    assert answer.status_code == 400
    assert "requires action" in answer.json()["error"]["message"]


def _user(*content: Any) -> Json:
    return {"type": "user.message", "content": list(content)}


CONFIRM: Any = {"type": "user.tool_confirmation", "tool_use_id": "t", "result": "allow"}
BAD_EVENTS: list[tuple[Any, str]] = [
    ({}, "events"),
    ({"events": None}, "events"),
    ({"events": {}}, "events"),
    ({"events": []}, "events"),
    ({"events": ["x"]}, "events.0"),
    ({"events": [{}]}, "type"),
    ({"events": [{"type": "user.shout"}]}, "user.message"),
    ({"events": [{"type": "agent.message", "content": []}]}, "user.message"),
    ({"events": [{"type": ["user.message"]}]}, "events.0"),
    ({"events": [{"type": "user.define_outcome", "description": "d"}]}, "outcomes are not offered"),
    ({"events": [{"type": "user.tool_result", "tool_use_id": "t"}]}, "names no tool use"),
    ({"events": [{"type": "user.tool_result", "tool_use_id": "t", "content": "ok"}]}, "content"),
    ({"events": [{"type": "user.tool_result"}]}, "tool_use_id"),
    ({"events": [message("x")] * 1001}, "events"),
    ({"events": [message("x")], "more": 1}, "unknown field"),
    ({"events": [{"type": "user.message"}]}, "content"),
    ({"events": [_user()]}, "content"),
    ({"events": [{"type": "user.message", "content": "hi"}]}, "content"),
    ({"events": [_user({"type": "text", "text": ""})]}, "text"),
    ({"events": [_user({"type": "text", "text": 5})]}, "text"),
    ({"events": [_user({"type": "text", "text": "x", "bold": True})]}, "unknown field"),
    ({"events": [_user({"type": "text", "text": "a\u0000b"})]}, "NUL"),
    ({"events": [_user({"type": "video"})]}, "content.0"),
    ({"events": [_user({"type": "search_result"})]}, "content.0"),
    ({"events": [_user({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "%"}})]},
     "base64"),
    ({"events": [_user({"type": "image", "source": {"type": "url", "url": "file:///etc/passwd"}})]}, "url"),
    ({"events": [_user({"type": "image", "source": {"type": "text", "media_type": "text/plain", "data": "x"}})]},
     "source"),
    ({"events": [{**message("x"), "id": "sevt_mine"}]}, "unknown field"),
    ({"events": [{**message("x"), "processed_at": None}]}, "unknown field"),
    ({"events": [{"type": "user.interrupt", "session_thread_id": ""}]}, "session_thread_id"),
    ({"events": [{**CONFIRM, "result": "maybe"}]}, "result"),
    ({"events": [{**CONFIRM, "deny_message": "no"}]}, "deny_message"),
    ({"events": [{**CONFIRM, "tool_use_id": ""}]}, "tool_use_id"),
    ({"events": [{"type": "user.tool_confirmation", "result": "allow"}]}, "tool_use_id"),
    ({"events": [{"type": "user.custom_tool_result", "custom_tool_use_id": "x", "is_error": "yes"}]}, "is_error"),
    ({"events": [SYSTEM]}, "follow"),
    ({"events": [SYSTEM, message("x")]}, "last"),
    ({"events": [message("x"), SYSTEM, SYSTEM]}, "at most one"),
    ({"events": [CONFIRM, SYSTEM]}, "follow"),
    ({"events": [message("x"), {"type": "system.message", "content": []}]}, "content"),
    ({"events": [message("x"), {"type": "system.message", "content": [IMAGE]}]}, "content"),
]  # fmt: skip


async def test_bad_events_are_refused(http: httpx2.AsyncClient, api: RunningApi, able: None, session: Json) -> None:
    before = await counts(api.state.store)
    for body, told in BAD_EVENTS:
        answer = await http.post(f"/v1/sessions/{session['id']}/events", json=body)
        shown = (json.dumps(body)[:300], answer.text)
        assert answer.status_code == 400, shown
        assert answer.json()["error"]["type"] == "invalid_request_error", shown
        assert told in answer.json()["error"]["message"], shown
    assert await counts(api.state.store) == before


async def test_what_is_no_json_object_is_refused(http: httpx2.AsyncClient, api: RunningApi, session: Json) -> None:
    before = await counts(api.state.store)
    bodies = [
        b"", b"{", b"[]", b"null", b'"x"', b"\xff", b"{" * 9000, b'{"events":[{"type":"\\ud800"}]}',
        b'{"events":[{"type":"user.message","content":[{"type":"text","text":"\\ud800"}]}]}', b'{"events":NaN}',
        b'{"events":[{"type":"user.message","content":[{"type":"text","text":"x","\\udfff":1}]}]}',
    ]  # fmt: skip
    for body in bodies:
        answer = await http.post(
            f"/v1/sessions/{session['id']}/events", content=body, headers={"content-type": "application/json"}
        )
        assert answer.status_code == 400, (body[:80], answer.text)
        assert answer.json()["error"]["type"] == "invalid_request_error"
    assert await counts(api.state.store) == before


async def test_oversized_events_are_refused(http: httpx2.AsyncClient, api: RunningApi, session: Json) -> None:
    before = await counts(api.state.store)
    answer = await http.post(f"/v1/sessions/{session['id']}/events", json={"events": [message("x" * 300_000)]})
    assert answer.status_code == 413
    assert await counts(api.state.store) == before


async def test_what_the_runtime_cannot_take_is_refused(
    http: httpx2.AsyncClient, api: RunningApi, session: Json
) -> None:
    await _ask(api, session["id"], ("sevt_custom", "agent.custom_tool_use"))
    found = {
        "type": "search_result", "source": "s", "title": "t", "content": [{"type": "text", "text": "x"}],
        "citations": {"enabled": True},
    }  # fmt: skip
    before = await counts(api.state.store)
    for events, capability in [
        ([_user(IMAGE)], "content: image"),
        ([_user({"type": "text", "text": "x"}, {"type": "redacted"})], "content: redacted"),
        ([{"type": "user.custom_tool_result", "custom_tool_use_id": "sevt_custom", "content": [found]}],
         "content: search_result"),
        ([message("x"), SYSTEM], "system_messages"),
        ([message("x"), {"type": "user.interrupt"}], "interrupt"),
    ]:  # fmt: skip
        answer = await http.post(f"/v1/sessions/{session['id']}/events", json={"events": events})
        assert answer.status_code == 400, answer.text
        assert f"`{capability}`" in answer.json()["error"]["message"]
        assert answer.json()["error"]["details"]["error_code"] == "unsupported_capability"
    assert await counts(api.state.store) == before


async def test_too_long_a_queue_is_refused(http: httpx2.AsyncClient, api: RunningApi, session: Json) -> None:
    api.state.settings.max_queued_events = 3
    path = f"/v1/sessions/{session['id']}/events"
    assert (await http.post(path, json={"events": [message("x")] * 2})).status_code == 200
    before = await counts(api.state.store)
    answer = await http.post(path, json={"events": [message("x")] * 2})
    assert answer.status_code == 429
    assert answer.headers["x-should-retry"] == "false"
    assert "wait" in answer.json()["error"]["message"]
    assert await counts(api.state.store) == before


async def test_ended_sessions_take_no_events(http: httpx2.AsyncClient, api: RunningApi, session: Json) -> None:
    await http.post(f"/v1/sessions/{session['id']}/archive")
    before = await counts(api.state.store)
    answer = await http.post(f"/v1/sessions/{session['id']}/events", json={"events": [message("x")]})
    assert answer.status_code == 400
    assert "archived" in answer.json()["error"]["message"]
    assert await counts(api.state.store) == before
    listed = await http.get(f"/v1/sessions/{session['id']}/events")
    assert [event["type"] for event in listed.json()["data"]] == ["session.status_terminated"]


async def test_list_orders_filters_and_pages(
    sdk: anthropic.AsyncAnthropic, http: httpx2.AsyncClient, session: Json
) -> None:
    await sdk.beta.sessions.update(session["id"], title="t")
    for number in range(5):
        await sdk.beta.sessions.events.send(session["id"], events=[message(str(number))])

    async def types(**query: Any) -> list[str]:
        listed: Any = sdk.beta.sessions.events.list(session["id"], **query)
        return [event.content[0].text if event.type == "user.message" else event.type async for event in listed]

    everything = ["session.updated", "0", "1", "2", "3", "4"]
    assert await types() == everything
    assert await types(limit=2) == everything
    assert await types(limit=2, order="desc") == everything[::-1]
    assert await types(types=["session.updated"]) == ["session.updated"]
    assert await types(types=["session.updated", "user.message"], limit=1) == everything
    assert await types(created_at_gt="2100-01-01T00:00:00Z") == []
    assert await types(created_at_lte="2100-01-01T00:00:00Z") == ["session.updated"]
    plain = await http.get(f"/v1/sessions/{session['id']}/events?types=user.message&limit=1&beta=true")
    assert [event["content"][0]["text"] for event in plain.json()["data"]] == ["0"]


async def test_list_refuses_bad_queries(http: httpx2.AsyncClient, session: Json) -> None:
    for query in (
        "types[]=user.shout", "types=x", "types[]=", "limit=0", "limit=1001", "limit=x", "order=up", "page=x",
        "page=W10", "page=" + "x" * 5000, "created_at[gt]=now", "created_at[gte]=1", "created_at[lt]=%00",
    ):  # fmt: skip
        answer = await http.get(f"/v1/sessions/{session['id']}/events?{query}")
        assert answer.status_code == 400, (query, answer.text)
        assert answer.json()["error"]["type"] == "invalid_request_error"

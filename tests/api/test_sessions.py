"""Sessions over HTTP, with the official client and with a plain one."""

import asyncio
from functools import partial
from typing import Any

import anthropic
import httpx2
import pytest
import sqlalchemy as sa

from store import endings, event_log
from store.event_log import NewFrame
from store.tables import TurnRow, sessions, turns
from tests.api.conftest import RunningApi
from tests.api.sessions import RecordedWaker, counts, create_agent, create_session, message

Json = dict[str, Any]


@pytest.fixture(autouse=True)
def waker(api: RunningApi) -> RecordedWaker:
    api.state.waker = recorded = RecordedWaker()
    return recorded


@pytest.fixture
async def agent(http: httpx2.AsyncClient, stub_runtime: Json) -> Json:
    return await create_agent(http, system="s", metadata={"k": "v"})


@pytest.fixture
async def session(http: httpx2.AsyncClient, agent: Json) -> Json:
    return await create_session(http, agent["id"])


async def set_session(api: RunningApi, session_id: str, **columns: Any) -> None:
    await api.state.store.write(
        lambda db: db.execute(sa.update(sessions).where(sessions.c.id == session_id).values(**columns))
    )


async def test_create_returns_the_strict_shape(sdk: anthropic.AsyncAnthropic, agent: Json, api: RunningApi) -> None:
    environment = (await sdk.beta.environments.list()).data[0]
    session = await sdk.beta.sessions.create(
        agent=agent["id"], environment_id=environment.id, title="t", metadata={"a": "b"}, vault_ids=[], resources=[]
    )
    assert (session.status, session.title, session.metadata) == ("idle", "t", {"a": "b"})
    assert session.environment_id == environment.id
    assert (session.agent.id, session.agent.version, session.agent.system) == (agent["id"], 1, "s")
    assert session.usage.input_tokens == 0
    assert session.stats.duration_seconds is not None
    extra = session.model_extra or {}
    assert extra["runtime"]["alias"] == "stub"
    assert extra["temporal"]["url"].endswith(f"/namespaces/default/workflows/{session.id}")
    assert extra["queue"] == {"waiting": 0}
    assert extra["held"] is None
    again = await sdk.beta.sessions.retrieve(session.id)
    assert again.agent == session.agent


async def test_create_without_environment_takes_the_default(http: httpx2.AsyncClient, agent: Json) -> None:
    session = await create_session(http, agent["id"])
    environments = (await http.get("/v1/environments")).json()["data"]
    assert session["environment_id"] == environments[0]["id"]


async def test_create_pins_the_version_asked_for(http: httpx2.AsyncClient, agent: Json) -> None:
    await http.post(f"/v1/agents/{agent['id']}", json={"system": "second"})
    first = await create_session(http, {"type": "agent", "id": agent["id"], "version": 1})
    latest = await create_session(http, {"type": "agent", "id": agent["id"]})
    assert (first["agent"]["version"], first["agent"]["system"]) == (1, "s")
    assert (latest["agent"]["version"], latest["agent"]["system"]) == (2, "second")


async def test_create_applies_overrides(sdk: anthropic.AsyncAnthropic, agent: Json) -> None:
    custom: Any = {"type": "custom", "name": "ask", "description": "d", "input_schema": {"type": "object"}}
    session = await sdk.beta.sessions.create(
        agent={
            "type": "agent_with_overrides",
            "id": agent["id"],
            "model": {"id": "other"},
            "system": None,
            "tools": [custom, {"type": "mcp_toolset", "mcp_server_name": "x"}],
            "mcp_servers": [{"type": "url", "name": "x", "url": "https://x.test"}],
            "skills": [{"type": "anthropic", "skill_id": "pdf"}],
        },
        environment_id=(await sdk.beta.environments.list()).data[0].id,
    )
    assert session.agent.model.id == "other"
    assert session.agent.system is None
    assert [tool.type for tool in session.agent.tools] == ["custom", "mcp_toolset"]
    assert session.agent.mcp_servers[0].name == "x"
    assert session.agent.skills[0].skill_id == "pdf"
    assert (await sdk.beta.agents.retrieve(agent["id"])).system == "s"


async def test_create_with_initial_events_stores_and_wakes(
    sdk: anthropic.AsyncAnthropic, http: httpx2.AsyncClient, agent: Json, waker: RecordedWaker
) -> None:
    session = await create_session(http, agent["id"], initial_events=[message("one"), message("two")])
    assert session["queue"] == {"waiting": 2}
    assert waker.woken == [(session["id"], False)]
    listed: list[Any] = [event async for event in sdk.beta.sessions.events.list(session["id"])]
    assert [event.content[0].text for event in listed] == ["one", "two"]
    assert all(event.processed_at is None for event in listed)


BAD_CREATIONS: list[tuple[Json, str]] = [
    ({}, "agent"),
    ({"agent": None}, "agent"),
    ({"agent": 1}, "agent"),
    ({"agent": ""}, "agent"),
    ({"agent": {"type": "other", "id": "x"}}, "agent"),
    ({"agent": {"type": "agent"}}, "id"),
    ({"agent": {"type": "agent", "id": "A", "version": 0}}, "version"),
    ({"agent": {"type": "agent", "id": "A", "version": 2**70}}, "version"),
    ({"agent": {"type": "agent", "id": "A", "system": "x"}}, "unknown field"),
    ({"agent": {"type": "agent_with_overrides", "id": "A", "tools": None}}, "tools"),
    ({"agent": {"type": "agent_with_overrides", "id": "A", "mcp_servers": [{"type": "url", "name": "n", "url": "x"}]}},
     "url"),
    ({"agent": "A", "title": 1}, "title"),
    ({"agent": "A", "metadata": {str(n): "v" for n in range(17)}}, "metadata"),
    ({"agent": "A", "metadata": {"k": "v" * 513}}, "metadata"),
    ({"agent": "A", "metadata": {"k": 1}}, "metadata"),
    ({"agent": "A", "vault_ids": ["vlt_1"]}, "`vault_ids`: not offered"),
    ({"agent": "A", "budget": {"type": "limit"}}, "`budget`: not offered"),
    ({"agent": "A", "initial_events": [message("x")] * 51}, "initial_events"),
    ({"agent": "A", "initial_events": [{"type": "user.define_outcome"}]}, "outcomes are not offered"),
    ({"agent": "A", "initial_events": [{"type": "user.interrupt"}]}, "initial_events"),
    ({"agent": "A", "environment_id": 5}, "environment_id"),
    ({"agent": "A", "unknown": 1}, "unknown field"),
]  # fmt: skip


async def test_create_refuses_bad_bodies(http: httpx2.AsyncClient, api: RunningApi, agent: Json) -> None:
    before = await counts(api.state.store)
    for body, told in BAD_CREATIONS:
        named = {**body, "agent": agent["id"]} if body.get("agent") == "A" else body
        answer = await http.post("/v1/sessions", json=named)
        assert answer.status_code == 400, (body, answer.text)
        assert answer.json()["error"]["type"] == "invalid_request_error"
        assert told in answer.json()["error"]["message"], (body, answer.text)
    assert await counts(api.state.store) == before


async def test_create_refuses_what_is_no_object(http: httpx2.AsyncClient, agent: Json) -> None:
    for body in (b"", b"{", b"[]", b'"x"', b"null", b"\xff\xfe", b'{"agent":"\\ud800"}', b"[" * 5000):
        answer = await http.post("/v1/sessions", content=body, headers={"content-type": "application/json"})
        assert answer.status_code == 400, (body[:80], answer.text)
        assert answer.json()["error"]["type"] == "invalid_request_error"


async def test_create_refuses_oversized_bodies(http: httpx2.AsyncClient, agent: Json) -> None:
    answer = await http.post("/v1/sessions", json={"agent": agent["id"], "title": "x" * 300_000})
    assert answer.status_code == 413


async def test_create_refuses_unknown_and_foreign_references(
    http: httpx2.AsyncClient, stranger: httpx2.AsyncClient, api: RunningApi, agent: Json
) -> None:
    environment = (await http.get("/v1/environments")).json()["data"][0]["id"]
    before = await counts(api.state.store)
    assert (await http.post("/v1/sessions", json={"agent": "agent_none"})).status_code == 404
    assert (
        await http.post("/v1/sessions", json={"agent": {"type": "agent", "id": agent["id"], "version": 9}})
    ).status_code == 404
    body = {"agent": agent["id"], "environment_id": "env_none"}
    assert (await http.post("/v1/sessions", json=body)).status_code == 404
    assert (await stranger.post("/v1/sessions", json={"agent": agent["id"]})).status_code == 404
    body = {"agent": agent["id"], "environment_id": environment}
    assert (await stranger.post("/v1/sessions", json=body)).status_code == 404
    assert await counts(api.state.store) == before


async def test_create_refuses_archived_agents_and_environments(http: httpx2.AsyncClient, agent: Json) -> None:
    environment = (await http.post("/v1/environments", json={"name": "e"})).json()["id"]
    await http.post(f"/v1/environments/{environment}/archive")
    answer = await http.post("/v1/sessions", json={"agent": agent["id"], "environment_id": environment})
    assert answer.status_code == 400
    assert answer.json()["error"]["details"]["error_code"] == "environment_archived"
    await http.post(f"/v1/agents/{agent['id']}/archive")
    answer = await http.post("/v1/sessions", json={"agent": agent["id"]})
    assert answer.status_code == 400
    assert "archived" in answer.json()["error"]["message"]


async def test_create_refuses_overrides_the_runtime_cannot_run(
    http: httpx2.AsyncClient, api: RunningApi, agent: Json
) -> None:
    body = {"alias": "plain", "kind": "stub", "base_url": "http://127.0.0.1:9"}
    await http.post("/v1/runtimes", json=body)
    plain = await create_agent(http, runtime="plain")
    custom = {"type": "custom", "name": "ask", "description": "d", "input_schema": {"type": "object"}}
    override = {"type": "agent_with_overrides", "id": plain["id"], "tools": [custom]}
    answer = await http.post("/v1/sessions", json={"agent": override})
    assert answer.status_code == 400
    assert "custom_tools" in answer.json()["error"]["message"]
    image = {"type": "image", "source": {"type": "url", "url": "https://x.test/i.png"}}
    events = [{"type": "user.message", "content": [image]}]
    answer = await http.post("/v1/sessions", json={"agent": plain["id"], "initial_events": events})
    assert answer.status_code == 400
    assert answer.json()["error"]["details"]["error_code"] == "unsupported_capability"
    assert (await counts(api.state.store))["sessions"] == 0


async def test_unknown_sessions_are_not_found(http: httpx2.AsyncClient, stub_runtime: Json) -> None:
    for session_id in ("sesn_none", "x" * 3000, "%F0%9F%98%80", "..%2F..", "'--"):
        for method, suffix in [
            ("GET", ""), ("POST", ""), ("DELETE", ""), ("POST", "/archive"), ("POST", "/stop"), ("GET", "/turns"),
            ("GET", "/events"), ("POST", "/events"),
        ]:  # fmt: skip
            body = {"events": [message("x")]} if suffix == "/events" else {}
            path = f"/v1/sessions/{session_id}{suffix}"
            answer = await http.request(method, path, json=body if method == "POST" else None)
            assert answer.status_code == 404, (method, session_id, suffix, answer.text)
            assert answer.json()["error"]["type"] == "not_found_error"


async def test_foreign_sessions_are_not_found(stranger: httpx2.AsyncClient, api: RunningApi, session: Json) -> None:
    before = await counts(api.state.store)
    path = f"/v1/sessions/{session['id']}"
    for method, suffix, body in [
        ("GET", "", None), ("POST", "", {"title": "mine"}), ("DELETE", "", None), ("POST", "/archive", None),
        ("POST", "/stop", None), ("GET", "/turns", None), ("GET", "/events", None),
        ("POST", "/events", {"events": [message("x")]}),
    ]:  # fmt: skip
        answer = await stranger.request(method, path + suffix, json=body)
        assert answer.status_code == 404, (method, suffix, answer.text)
    assert (await stranger.get("/v1/sessions")).json()["data"] == []
    assert await counts(api.state.store) == before


async def test_update_changes_and_tells(sdk: anthropic.AsyncAnthropic, session: Json) -> None:
    updated = await sdk.beta.sessions.update(
        session["id"], title="new", metadata={"a": "1", "b": "2"}, agent={"tools": [{"type": "agent_toolset_20260401"}]}
    )
    assert (updated.title, updated.metadata) == ("new", {"a": "1", "b": "2"})
    assert [tool.type for tool in updated.agent.tools] == ["agent_toolset_20260401"]
    updated = await sdk.beta.sessions.update(session["id"], metadata={"a": None, "b": "3"})
    assert updated.metadata == {"b": "3"}
    await sdk.beta.sessions.update(session["id"], metadata={"b": "3"}, title="new")
    told: list[Any] = [event async for event in sdk.beta.sessions.events.list(session["id"], types=["session.updated"])]
    assert len(told) == 2
    first, second = told
    assert first.type == "session.updated"
    assert (first.title, first.metadata) == ("new", {"a": "1", "b": "2"})
    assert first.agent is not None
    assert (second.metadata, second.title, second.agent) == ({"b": "3"}, None, None)


async def test_update_with_null_clears_the_title(http: httpx2.AsyncClient, agent: Json) -> None:
    session = await create_session(http, agent["id"], title="t")
    assert (await http.post(f"/v1/sessions/{session['id']}", json={"title": None})).json()["title"] is None


BAD_UPDATES: list[tuple[Any, str]] = [
    ({"vault_ids": ["v"]}, "`vault_ids`: not offered"),
    ({"budget": {"type": "limit"}}, "`budget`: not offered"),
    ({"status": "idle"}, "unknown field"),
    ({"title": []}, "title"),
    ({"metadata": {"k": "v" * 513}}, "metadata"),
    ({"metadata": {str(n): "v" for n in range(17)}}, "16 are allowed"),
    ({"agent": {"system": "x"}}, "unknown field"),
    ({"agent": {"tools": None}}, "tools"),
    ({"agent": {"tools": [{"type": "mcp_toolset", "mcp_server_name": "gone"}]}}, "mcp_toolset"),
    ([], "JSON object"),
]


async def test_update_refuses_bad_bodies(http: httpx2.AsyncClient, session: Json) -> None:
    for body, told in BAD_UPDATES:
        answer = await http.post(f"/v1/sessions/{session['id']}", json=body)
        assert answer.status_code == 400, (body, answer.text)
        assert told in answer.json()["error"]["message"], (body, answer.text)
    assert (await http.get(f"/v1/sessions/{session['id']}")).json()["updated_at"] == session["updated_at"]


async def test_update_of_the_agent_waits_for_idle(http: httpx2.AsyncClient, api: RunningApi, session: Json) -> None:
    path = f"/v1/sessions/{session['id']}"
    await set_session(api, session["id"], open_turn_id="turn_1", status="running")
    answer = await http.post(path, json={"agent": {"tools": []}})
    assert answer.status_code == 400
    assert "running" in answer.json()["error"]["message"]
    assert (await http.post(path, json={"title": "while running"})).status_code == 200


async def test_list_pages_lead_both_ways(sdk: anthropic.AsyncAnthropic, http: httpx2.AsyncClient, agent: Json) -> None:
    made = [(await create_session(http, agent["id"]))["id"] for _ in range(7)]
    newest = made[::-1]
    ids = [session.id async for session in sdk.beta.sessions.list(limit=3)]
    assert ids == newest
    first = (await http.get("/v1/sessions", params={"limit": 3})).json()
    assert first["prev_page"] is None
    second = (await http.get("/v1/sessions", params={"limit": 3, "page": first["next_page"]})).json()
    third = (await http.get("/v1/sessions", params={"limit": 3, "page": second["next_page"]})).json()
    assert third["next_page"] is None
    back = (await http.get("/v1/sessions", params={"limit": 3, "page": third["prev_page"]})).json()
    assert [item["id"] for item in back["data"]] == newest[3:6]
    front = (await http.get("/v1/sessions", params={"limit": 3, "page": back["prev_page"]})).json()
    assert [item["id"] for item in front["data"]] == newest[:3]
    assert front["prev_page"] is None
    assert front["next_page"] is not None
    assert [session.id async for session in sdk.beta.sessions.list(limit=2, order="asc")] == made


async def test_list_filters(
    sdk: anthropic.AsyncAnthropic, http: httpx2.AsyncClient, api: RunningApi, agent: Json
) -> None:
    other = await create_agent(http)
    mine = await create_session(http, agent["id"])
    theirs = await create_session(http, other["id"])
    archived = await create_session(http, agent["id"])
    await http.post(f"/v1/sessions/{archived['id']}/archive")
    await set_session(api, theirs["id"], status="running")

    async def ids(**filters: Any) -> set[str]:
        return {session.id async for session in sdk.beta.sessions.list(**filters)}

    assert await ids() == {mine["id"], theirs["id"]}
    assert await ids(include_archived=True) == {mine["id"], theirs["id"], archived["id"]}
    assert await ids(agent_id=agent["id"]) == {mine["id"]}
    assert await ids(agent_id=agent["id"], agent_version=2) == set()
    assert await ids(statuses=["running"]) == {theirs["id"]}
    assert await ids(statuses=["running", "idle"]) == {mine["id"], theirs["id"]}
    assert await ids(statuses=["terminated"], include_archived=True) == {archived["id"]}
    assert await ids(created_at_gt=mine["created_at"]) <= {theirs["id"]}
    assert mine["id"] in await ids(created_at_gte=mine["created_at"])
    assert mine["id"] not in await ids(created_at_lt=mine["created_at"])
    assert await ids(created_at_lte="2020-01-01T00:00:00Z") == set()
    assert await ids(deployment_id="depl_1") == set()
    assert await ids(memory_store_id="memstore_1") == set()
    plain = (await http.get("/v1/sessions?statuses=running")).json()["data"]
    assert [session["id"] for session in plain] == [theirs["id"]]


async def test_list_refuses_bad_queries(http: httpx2.AsyncClient, stub_runtime: Json) -> None:
    for query in (
        "limit=0", "limit=101", "limit=x", "limit=99999999999999999999", "order=up", "statuses[]=asleep",
        "created_at[gte]=yesterday", "created_at[lt]=1", "page=x", "page=%00", "page=W10", "include_archived=maybe",
        "agent_version=0", "agent_version=99999999999999999999", "agent_id=%00", "page=" + "x" * 5000,
    ):  # fmt: skip
        answer = await http.get(f"/v1/sessions?{query}")
        assert answer.status_code == 400, (query, answer.text)
        assert answer.json()["error"]["type"] == "invalid_request_error"


async def test_list_refuses_a_cursor_of_another_list(http: httpx2.AsyncClient, agent: Json) -> None:
    for _ in range(3):
        await create_session(http, agent["id"])
    cursor = (await http.get("/v1/sessions", params={"limit": 1})).json()["next_page"]
    answer = await http.get("/v1/sessions", params={"limit": 1, "page": cursor, "order": "asc"})
    assert answer.status_code == 400


async def test_archive_makes_read_only(sdk: anthropic.AsyncAnthropic, http: httpx2.AsyncClient, session: Json) -> None:
    archived = await sdk.beta.sessions.archive(session["id"])
    assert archived.status == "terminated"
    assert archived.archived_at is not None
    assert (await sdk.beta.sessions.archive(session["id"])).archived_at == archived.archived_at
    answer = await http.post(f"/v1/sessions/{session['id']}", json={"title": "x"})
    assert answer.status_code == 400
    assert "archived" in answer.json()["error"]["message"]


async def test_archive_and_delete_refuse_busy_sessions(http: httpx2.AsyncClient, api: RunningApi, agent: Json) -> None:
    pending = await create_session(http, agent["id"], initial_events=[message("x")])
    running = await create_session(http, agent["id"])
    await set_session(api, running["id"], open_turn_id="turn_1", status="running")
    for session in (pending, running):
        path = f"/v1/sessions/{session['id']}"
        for answer in (await http.post(f"{path}/archive"), await http.delete(path)):
            assert answer.status_code == 400
            assert "cannot be" in answer.json()["error"]["message"]


async def test_delete_makes_unknown_at_once(
    sdk: anthropic.AsyncAnthropic, http: httpx2.AsyncClient, session: Json, waker: RecordedWaker
) -> None:
    deleted = await sdk.beta.sessions.delete(session["id"])
    assert (deleted.id, deleted.type) == (session["id"], "session_deleted")
    assert waker.woken == [(session["id"], True)]
    assert (await http.get(f"/v1/sessions/{session['id']}")).status_code == 404
    assert (await http.delete(f"/v1/sessions/{session['id']}")).status_code == 404
    resent = await http.delete(f"/v1/sessions/{session['id']}", headers={"x-stainless-retry-count": "1"})
    assert resent.json() == {"id": session["id"], "type": "session_deleted"}


async def test_stop_waits_for_the_end(http: httpx2.AsyncClient, api: RunningApi, session: Json) -> None:
    stopping = asyncio.create_task(http.post(f"/v1/sessions/{session['id']}/stop"))
    await asyncio.sleep(0.5)
    end = partial(endings.end_stopped, session_id=session["id"], observed=True, detail="seen", by="test")
    await api.state.store.write(end)
    answer = (await stopping).json()
    assert (answer["state"], answer["status"]) == ("terminated", "terminated")
    assert answer["end"] == {"observed": True, "detail": "seen", "by": "test"}
    again = (await http.post(f"/v1/sessions/{session['id']}/stop")).json()
    assert again["state"] == "terminated"


async def test_stop_without_an_end_says_stopping(
    http: httpx2.AsyncClient, session: Json, waker: RecordedWaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.routes.sessions._STOP_WAIT_S", 0.3)
    answer = (await http.post(f"/v1/sessions/{session['id']}/stop")).json()
    assert answer["state"] == "stopping"
    assert waker.woken == [(session["id"], True)]
    refused = await http.post(f"/v1/sessions/{session['id']}/events", json={"events": [message("x")]})
    assert refused.status_code == 400
    assert "stopped" in refused.json()["error"]["message"]


async def test_turns_are_listed_with_what_was_told(http: httpx2.AsyncClient, api: RunningApi, session: Json) -> None:
    def add(db: sa.Connection) -> None:
        for number in range(1, 4):
            row = TurnRow(
                id=f"turn_{session['id']}_{number}",
                session_id=session["id"],
                number=number,
                fence=1,
                kind="message",
                phase="done",
                attempts=1,
                usage={"input_tokens": 1},
                failures={"retry": 1},
                native={"id": "n"},
                stop_reason="end_turn",
                alive_at=1,
                created_at=1_000_000 * number,
            )
            db.execute(sa.insert(turns).values(row.model_dump()))
        locked = event_log.lock(db, session["id"])
        told = {"error": {"type": "unknown_error", "message": "m", "retry_status": {"type": "exhausted"}}}
        idle = {"stop_reason": {"type": "end_turn"}}
        frames: list[tuple[str, Json]] = [
            ("session.error", told),
            ("agent.message", {"content": []}),
            ("session.status_idle", idle),
        ]
        turn_id = f"turn_{session['id']}_2"
        event_log.append_frames(db, locked, [NewFrame(type_, payload, turn_id=turn_id) for type_, payload in frames])
        locked.save(db)

    await api.state.store.write(add)
    path = f"/v1/sessions/{session['id']}/turns"
    first = (await http.get(path, params={"limit": 2})).json()
    assert [turn["number"] for turn in first["data"]] == [1, 2]
    assert first["data"][0]["failures"] == {"retry": 1}
    assert [[told["type"] for told in turn["told"]] for turn in first["data"]] == [
        [],
        ["session.error", "session.status_idle"],
    ]
    assert first["data"][1]["told"][0]["error"]["message"] == "m"
    assert first["data"][0]["created_at"] == "1970-01-01T00:00:01.000000Z"
    second = (await http.get(path, params={"limit": 2, "page": first["next_page"]})).json()
    assert ([turn["number"] for turn in second["data"]], second["next_page"]) == ([3], None)
    down = (await http.get(path, params={"order": "desc"})).json()
    assert [turn["number"] for turn in down["data"]] == [3, 2, 1]
    assert (await http.get(path, params={"page": "zzz"})).status_code == 400

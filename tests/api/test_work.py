"""Work of self-hosted environments: polling, leases, ends; and the results that clients send for its tools."""

import asyncio
import time
from functools import partial
from typing import Any

import anthropic
import httpx2
import pytest
import sqlalchemy as sa
from anthropic.types.beta.environments import BetaHeartbeatPreconditionFailedError

from protocol.ids import new_id
from runtimes.capabilities import Capabilities
from store import turns
from store.claims import ClaimedTurn, claim
from store.event_log import NewFrame
from store.tables import environment_work
from store.turns import Batch, Closing, NewAsk
from tests.api.conftest import RunningApi
from tests.api.sessions import create_agent, create_session, message
from tests.api.stub_runtime import StubRuntime

Json = dict[str, Any]

pytestmark = pytest.mark.timeout(60)
ABLE = Capabilities(agents="none", resume="none", reconcile="none", client_tools=True)


@pytest.fixture(autouse=True)
def able(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stub runtime leaves built-in tools to the client."""
    monkeypatch.setattr(StubRuntime, "capabilities", ABLE)


@pytest.fixture
async def environment(sdk: anthropic.AsyncAnthropic) -> str:
    return (await sdk.beta.environments.create(name="own", config={"type": "self_hosted"})).id


@pytest.fixture
async def session(http: httpx2.AsyncClient, stub_runtime: Json, environment: str) -> str:
    agent = await create_agent(http)
    return str((await create_session(http, agent["id"], environment_id=environment))["id"])


async def ask(
    api: RunningApi, http: httpx2.AsyncClient, session: str, client_tool: str | None = "run", type_: str = "tool_use"
) -> str:
    """Have the session's agent ask for a tool, and its turn end; return the tool use's id."""
    sent = await http.post(f"/v1/sessions/{session}/events", json={"events": [message("go")]})
    assert sent.status_code == 200, sent.text
    turn = await api.state.store.write(partial(claim, session_id=session))
    assert isinstance(turn, ClaimedTurn)
    event_id = new_id("sevt")
    payload = {"name": "bash", "input": {}, "evaluated_permission": "allow" if client_tool == "run" else "ask"}
    kind = f"agent.{type_}"
    frame = NewFrame(kind, payload, event_id=event_id, turn_id=turn.id, native_key=event_id)
    batch = Batch(frames=[frame], asks=[NewAsk(event_id, kind, {}, client_tool)])
    closing = Closing("requires_action")
    await api.state.store.write(partial(turns.close, turn=turn, batch=batch, closing=closing))
    return event_id


async def send(sdk: anthropic.AsyncAnthropic, session: str, **event: Any) -> None:
    await sdk.beta.sessions.events.send(session, events=[event])  # type: ignore[list-item]


async def set_work(api: RunningApi, **columns: Any) -> None:
    await api.state.store.write(lambda db: db.execute(sa.update(environment_work).values(**columns)))


async def states(sdk: anthropic.AsyncAnthropic, environment: str) -> list[str]:
    """Return the states of all work, newest first."""
    return [item.state async for item in sdk.beta.environments.work.list(environment)]


async def test_an_empty_queue_answers_null(sdk: anthropic.AsyncAnthropic, environment: str, session: str) -> None:
    begun = time.monotonic()
    assert await sdk.beta.environments.work.poll(environment) is None
    assert await sdk.beta.environments.work.poll(environment, block_ms=300) is None
    assert 0.3 <= time.monotonic() - begun < 10
    stats = await sdk.beta.environments.work.stats(environment)
    assert (stats.depth, stats.pending, stats.oldest_queued_at) == (0, 0, None)
    assert await states(sdk, environment) == []


async def test_a_blocking_poll_gets_what_comes(
    api: RunningApi, sdk: anthropic.AsyncAnthropic, http: httpx2.AsyncClient, environment: str, session: str
) -> None:
    polling = asyncio.create_task(sdk.beta.environments.work.poll(environment, block_ms=999))
    await ask(api, http, session)
    taken = await polling or await sdk.beta.environments.work.poll(environment)
    assert taken is not None
    assert (taken.data.type, taken.data.id, taken.environment_id) == ("session", session, environment)


async def test_the_life_of_work(
    api: RunningApi, sdk: anthropic.AsyncAnthropic, http: httpx2.AsyncClient, environment: str, session: str
) -> None:
    work = sdk.beta.environments.work
    use = await ask(api, http, session)
    stats = await work.stats(environment)
    assert (stats.depth, stats.pending) == (1, 0)
    taken = await work.poll(environment)
    assert taken is not None
    assert (taken.state, taken.acknowledged_at, taken.secret) == ("queued", None, None)
    stats = await work.stats(environment)
    assert (stats.depth, stats.pending, stats.oldest_queued_at) == (0, 1, taken.created_at)
    assert await work.poll(environment) is None
    acked = await work.ack(taken.id, environment_id=environment)
    assert (acked.state, acked.acknowledged_at is not None) == ("starting", True)
    assert await work.ack(taken.id, environment_id=environment) == acked
    first = await work.heartbeat(taken.id, environment_id=environment, expected_last_heartbeat="NO_HEARTBEAT")
    assert (first.state, first.lease_extended, first.ttl_seconds) == ("active", True, 90)
    second = await work.heartbeat(
        taken.id,
        environment_id=environment,
        expected_last_heartbeat=first.last_heartbeat,
        desired_ttl_seconds=600,
    )
    assert second.ttl_seconds == 600
    assert second.last_heartbeat > first.last_heartbeat
    await send(sdk, session, type="user.tool_result", tool_use_id=use, content=[{"type": "text", "text": "ok"}])
    stopped = await work.stop(taken.id, environment_id=environment, force=True)
    assert (stopped.state, stopped.stopped_at is not None) == ("stopped", True)
    assert stopped.latest_heartbeat_at == second.last_heartbeat
    assert await work.retrieve(taken.id, environment_id=environment) == stopped
    assert await states(sdk, environment) == ["stopped"]
    with pytest.raises(anthropic.ConflictError, match="stopped already"):
        await work.stop(taken.id, environment_id=environment)
    with pytest.raises(anthropic.ConflictError, match="stopped already"):
        await work.ack(taken.id, environment_id=environment)


async def test_work_not_acknowledged_is_taken_over(
    api: RunningApi, sdk: anthropic.AsyncAnthropic, http: httpx2.AsyncClient, environment: str, session: str
) -> None:
    work = sdk.beta.environments.work
    await ask(api, http, session)
    taken = await work.poll(environment)
    assert taken is not None
    assert await work.poll(environment) is None
    await asyncio.sleep(0.01)
    again = await work.poll(environment, reclaim_older_than_ms=1)
    assert again is not None
    assert again.id == taken.id


async def test_a_lease_that_is_over_is_taken_over_and_lost(
    api: RunningApi, sdk: anthropic.AsyncAnthropic, http: httpx2.AsyncClient, environment: str, session: str
) -> None:
    work = sdk.beta.environments.work
    await ask(api, http, session)
    taken = await work.poll(environment)
    assert taken is not None
    await work.ack(taken.id, environment_id=environment)
    mine = await work.heartbeat(taken.id, environment_id=environment, expected_last_heartbeat="NO_HEARTBEAT")
    assert await work.poll(environment, reclaim_older_than_ms=0) is None
    await set_work(api, lease_expires_at=1)
    again = await work.poll(environment)
    assert again is not None
    assert (again.id, again.state, again.latest_heartbeat_at) == (taken.id, "queued", None)
    for expected in (mine.last_heartbeat, "NO_HEARTBEAT"):
        with pytest.raises(BetaHeartbeatPreconditionFailedError) as lost:
            await work.heartbeat(taken.id, environment_id=environment, expected_last_heartbeat=expected)
        assert lost.value.error_code == "heartbeat_precondition_failed"
        state = lost.value.details.current_state
        assert (state.state, state.last_heartbeat, state.lease_extended) == ("queued", None, False)
    await work.ack(taken.id, environment_id=environment)
    await work.heartbeat(taken.id, environment_id=environment, expected_last_heartbeat="NO_HEARTBEAT")
    with pytest.raises(BetaHeartbeatPreconditionFailedError):
        await work.heartbeat(taken.id, environment_id=environment, expected_last_heartbeat="NO_HEARTBEAT")


async def test_a_heartbeat_that_is_sent_again_is_answered_alike(
    api: RunningApi, http: httpx2.AsyncClient, sdk: anthropic.AsyncAnthropic, environment: str, session: str
) -> None:
    await ask(api, http, session)
    taken = await sdk.beta.environments.work.poll(environment)
    assert taken is not None
    await sdk.beta.environments.work.ack(taken.id, environment_id=environment)
    url = f"/v1/environments/{environment}/work/{taken.id}/heartbeat?expected_last_heartbeat="
    first = await http.post(f"{url}NO_HEARTBEAT")
    again = await http.post(f"{url}NO_HEARTBEAT", headers={"x-stainless-retry-count": "1"})
    assert (again.status_code, again.json()) == (200, first.json())
    last = first.json()["last_heartbeat"]
    other = await http.post(url + last, headers={"x-stainless-retry-count": "1"})
    assert other.json()["last_heartbeat"] > last


async def test_a_graceful_stop_is_told_by_the_heartbeat(
    api: RunningApi, sdk: anthropic.AsyncAnthropic, http: httpx2.AsyncClient, environment: str, session: str
) -> None:
    work = sdk.beta.environments.work
    await ask(api, http, session)
    taken = await work.poll(environment)
    assert taken is not None
    await work.ack(taken.id, environment_id=environment)
    stopping = await work.stop(taken.id, environment_id=environment)
    assert (stopping.state, stopping.stopped_at) == ("stopping", None)
    assert stopping.stop_requested_at is not None
    beat = await work.heartbeat(taken.id, environment_id=environment, expected_last_heartbeat="whatever")
    assert (beat.state, beat.lease_extended, beat.last_heartbeat) == ("stopping", False, "")
    assert await work.poll(environment, reclaim_older_than_ms=0) is None
    await work.stop(taken.id, environment_id=environment, force=True)
    assert await states(sdk, environment) == ["queued", "stopped"]


async def test_a_session_that_still_waits_gets_new_work(
    api: RunningApi, sdk: anthropic.AsyncAnthropic, http: httpx2.AsyncClient, environment: str, session: str
) -> None:
    work = sdk.beta.environments.work
    await ask(api, http, session)
    taken = await work.poll(environment)
    assert taken is not None
    await work.ack(taken.id, environment_id=environment)
    await work.stop(taken.id, environment_id=environment, force=True)
    assert await work.poll(environment) is None, "a worker that cannot serve it must not get it again at once"
    await set_work(api, available_at=1)
    again = await work.poll(environment)
    assert again is not None
    assert (again.id != taken.id, again.data.id) == (True, session)


async def test_a_worker_that_dies_while_stopping_leaves_nothing_behind(
    api: RunningApi, sdk: anthropic.AsyncAnthropic, http: httpx2.AsyncClient, environment: str, session: str
) -> None:
    work = sdk.beta.environments.work
    await ask(api, http, session)
    taken = await work.poll(environment)
    assert taken is not None
    await work.ack(taken.id, environment_id=environment)
    await work.stop(taken.id, environment_id=environment)
    await set_work(api, lease_expires_at=1)
    await work.poll(environment)
    assert await states(sdk, environment) == ["queued", "stopped"]


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("ending", ["archive", "delete"])
async def test_the_end_of_a_session_ends_its_work(
    api: RunningApi,
    sdk: anthropic.AsyncAnthropic,
    http: httpx2.AsyncClient,
    environment: str,
    session: str,
    held: bool,
    ending: str,
) -> None:
    await ask(api, http, session)
    if held:
        taken = await sdk.beta.environments.work.poll(environment)
        assert taken is not None
        await sdk.beta.environments.work.ack(taken.id, environment_id=environment)
    await (sdk.beta.sessions.archive if ending == "archive" else sdk.beta.sessions.delete)(session)
    assert await states(sdk, environment) == ["stopping" if held else "stopped"]
    if held:
        await sdk.beta.environments.work.stop(taken.id, environment_id=environment, force=True)
        assert await states(sdk, environment) == ["stopped"]


async def test_metadata(
    api: RunningApi, sdk: anthropic.AsyncAnthropic, http: httpx2.AsyncClient, environment: str, session: str
) -> None:
    await ask(api, http, session)
    [item] = [item async for item in sdk.beta.environments.work.list(environment)]
    work = sdk.beta.environments.work
    await work.update(item.id, environment_id=environment, metadata={"a": "1", "b": "2"})
    changed = await work.update(item.id, environment_id=environment, metadata={"a": None, "c": "3"})
    assert changed.metadata == {"b": "2", "c": "3"}
    url = f"/v1/environments/{environment}/work/{item.id}"
    for body in ({}, {"metadata": {"k": 1}}, {"metadata": {}, "state": "stopped"}, {"metadata": {"": "x"}}):
        assert (await http.post(url, json=body)).status_code == 400
    many = {f"k{number}": "v" for number in range(17)}
    assert (await http.post(url, json={"metadata": many})).status_code == 400


async def test_lists_over_pages(
    api: RunningApi, sdk: anthropic.AsyncAnthropic, http: httpx2.AsyncClient, stub_runtime: Json, environment: str
) -> None:
    agent = await create_agent(http)
    ids = []
    for _ in range(3):
        session = str((await create_session(http, agent["id"], environment_id=environment))["id"])
        ids.append(session)
        await ask(api, http, session)
    listed = [item.data.id async for item in sdk.beta.environments.work.list(environment, limit=2)]
    assert listed == ids[::-1]
    polled = [await sdk.beta.environments.work.poll(environment) for _ in range(4)]
    assert [item.data.id if item else None for item in polled] == [*ids, None]


@pytest.mark.parametrize("query", ["block_ms=0", "block_ms=1000", "reclaim_older_than_ms=-1", "block_ms=x"])
async def test_refused_polls(http: httpx2.AsyncClient, environment: str, query: str) -> None:
    answer = await http.get(f"/v1/environments/{environment}/work/poll?{query}")
    assert answer.status_code == 400
    assert query.partition("=")[0] in answer.json()["error"]["message"]


@pytest.mark.parametrize("query", ["desired_ttl_seconds=0", "desired_ttl_seconds=3601", "desired_ttl_seconds=1e9"])
async def test_refused_heartbeats(http: httpx2.AsyncClient, environment: str, query: str) -> None:
    answer = await http.post(f"/v1/environments/{environment}/work/work_1/heartbeat?{query}")
    assert answer.status_code == 400
    assert "desired_ttl_seconds" in answer.json()["error"]["message"]


async def test_other_environments_and_tenants(
    api: RunningApi,
    sdk: anthropic.AsyncAnthropic,
    http: httpx2.AsyncClient,
    stranger: httpx2.AsyncClient,
    environment: str,
    session: str,
) -> None:
    await ask(api, http, session)
    [item] = [item async for item in sdk.beta.environments.work.list(environment)]
    cloud = (await sdk.beta.environments.create(name="cloud")).id
    other = (await sdk.beta.environments.create(name="other", config={"type": "self_hosted"})).id
    for path in ("", "/poll", "/stats"):
        assert (await stranger.get(f"/v1/environments/{environment}/work{path}")).status_code == 404
        refused = await http.get(f"/v1/environments/{cloud}/work{path}")
        assert (refused.status_code, "self_hosted" in refused.json()["error"]["message"]) == (400, True)
    for client, place in ((stranger, environment), (http, other)):
        url = f"/v1/environments/{place}/work/{item.id}"
        assert (await client.get(url)).status_code == 404
        assert (await client.post(url, json={"metadata": {}})).status_code == 404
        for call in ("ack", "heartbeat", "stop"):
            assert (await client.post(f"{url}/{call}")).status_code == 404
    assert await sdk.beta.environments.work.poll(other) is None
    assert await states(sdk, environment) == ["queued"]


async def test_custom_tools_may_be_a_workers_and_confirmations_are_not(
    api: RunningApi, sdk: anthropic.AsyncAnthropic, http: httpx2.AsyncClient, environment: str, session: str
) -> None:
    use = await ask(api, http, session, client_tool=None)
    assert await states(sdk, environment) == []
    with pytest.raises(anthropic.BadRequestError, match=r"waits for a user.tool_result"):
        await send(sdk, session, type="user.tool_result", tool_use_id=use)
    await send(sdk, session, type="user.tool_confirmation", tool_use_id=use, result="allow")
    turn = await api.state.store.write(partial(claim, session_id=session))
    assert isinstance(turn, ClaimedTurn)
    await api.state.store.write(partial(turns.close, turn=turn, batch=Batch(), closing=Closing("end_turn")))
    await ask(api, http, session, client_tool=None, type_="custom_tool_use")
    assert await states(sdk, environment) == ["queued"]


async def test_a_result_is_given_once(
    api: RunningApi, sdk: anthropic.AsyncAnthropic, http: httpx2.AsyncClient, session: str
) -> None:
    use = await ask(api, http, session)
    with pytest.raises(anthropic.BadRequestError, match="for no confirmation"):
        await send(sdk, session, type="user.tool_confirmation", tool_use_id=use, result="allow")
    with pytest.raises(anthropic.BadRequestError, match="names no tool use"):
        await send(sdk, session, type="user.custom_tool_result", custom_tool_use_id=use)
    content = [{"type": "text", "text": "out"}]
    await send(sdk, session, type="user.tool_result", tool_use_id=use, content=content, is_error=True)
    with pytest.raises(anthropic.BadRequestError, match="answered once"):
        await send(sdk, session, type="user.tool_result", tool_use_id=use, content=content)
    [stored] = [event async for event in sdk.beta.sessions.events.list(session, types=["user.tool_result"])]
    assert stored.type == "user.tool_result"
    assert (stored.tool_use_id, stored.is_error) == (use, True)
    turn = await api.state.store.write(partial(claim, session_id=session))
    assert isinstance(turn, ClaimedTurn)
    assert [(item.type, item.payload["content"]) for item in turn.inputs] == [("user.tool_result", content)]


async def test_a_tool_that_must_be_allowed_first(
    api: RunningApi, sdk: anthropic.AsyncAnthropic, http: httpx2.AsyncClient, environment: str, session: str
) -> None:
    use = await ask(api, http, session, client_tool="confirm")
    assert await states(sdk, environment) == []
    with pytest.raises(anthropic.BadRequestError, match=r"allowed by a user.tool_confirmation first"):
        await send(sdk, session, type="user.tool_result", tool_use_id=use)
    await send(sdk, session, type="user.tool_confirmation", tool_use_id=use, result="allow")
    assert await states(sdk, environment) == ["queued"]
    last = [event async for event in sdk.beta.sessions.events.list(session)][-1]
    assert last.type == "session.status_idle"
    assert last.stop_reason.type == "requires_action"
    assert last.stop_reason.event_ids == [use]
    with pytest.raises(anthropic.BadRequestError, match="for no confirmation"):
        await send(sdk, session, type="user.tool_confirmation", tool_use_id=use, result="deny")
    await send(sdk, session, type="user.tool_result", tool_use_id=use)
    turn = await api.state.store.write(partial(claim, session_id=session))
    assert isinstance(turn, ClaimedTurn)
    assert [item.type for item in turn.inputs] == ["user.tool_result"]


async def test_a_runtime_that_runs_its_tools_itself_is_refused(
    sdk: anthropic.AsyncAnthropic,
    http: httpx2.AsyncClient,
    environment: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(StubRuntime, "capabilities", ABLE.model_copy(update={"client_tools": False}))
    body = {"alias": "own", "kind": "stub", "base_url": "http://127.0.0.1:9"}
    assert (await http.post("/v1/runtimes", json=body)).status_code == 200
    agent = await create_agent(http)
    with pytest.raises(anthropic.BadRequestError, match="client_tools") as refused:
        await sdk.beta.sessions.create(agent=agent["id"], environment_id=environment)
    assert refused.value.body["error"]["details"] == {"error_code": "unsupported_capability"}  # type: ignore[index]
    assert [item async for item in sdk.beta.sessions.list()] == []


@pytest.fixture
async def worker_key(http: httpx2.AsyncClient, environment: str) -> str:
    body = {"name": "worker", "scope": "environment", "environment_id": environment}
    made = await http.post("/v1/api_keys", json=body)
    assert made.status_code == 200, made.text
    assert (made.json()["scope"], made.json()["environment_id"]) == ("environment", environment)
    return str(made.json()["key"])


async def test_an_environment_key_opens_what_a_worker_needs(
    api: RunningApi,
    sdk: anthropic.AsyncAnthropic,
    http: httpx2.AsyncClient,
    stub_runtime: Json,
    environment: str,
    session: str,
    worker_key: str,
) -> None:
    use = await ask(api, http, session)
    elsewhere = str((await create_session(http, (await create_agent(http))["id"]))["id"])
    other = (await sdk.beta.environments.create(name="other", config={"type": "self_hosted"})).id
    result = {"type": "user.tool_result", "tool_use_id": use}
    async with httpx2.AsyncClient(base_url=api.url, headers={"authorization": f"Bearer {worker_key}"}) as worker:
        taken = (await worker.get(f"/v1/environments/{environment}/work/poll")).json()
        assert (await worker.post(f"/v1/environments/{environment}/work/{taken['id']}/ack")).status_code == 200
        assert (await worker.get(f"/v1/sessions/{session}")).status_code == 200
        assert (await worker.get(f"/v1/sessions/{session}/events")).status_code == 200
        refused = [
            await worker.get(f"/v1/environments/{other}/work/poll"),
            await worker.get(f"/v1/environments/{environment}"),
            await worker.get("/v1/sessions"),
            await worker.get("/v1/agents"),
            await worker.post("/v1/api_keys", json={"name": "mine", "scope": "admin"}),
            await worker.get(f"/v1/sessions/{elsewhere}/events"),
            await worker.get("/v1/sessions/sesn_none"),
            await worker.delete(f"/v1/sessions/{session}"),
            await worker.post(f"/v1/sessions/{session}", json={"title": "t"}),
            await worker.post(f"/v1/sessions/{session}/stop"),
            await worker.post(f"/v1/sessions/{session}/events", json={"events": [message("x")]}),
            await worker.post(f"/v1/sessions/{session}/events", json={"events": [result, message("x")]}),
        ]
        assert {answer.status_code for answer in refused} == {403}
        assert {answer.json()["error"]["details"]["error_code"] for answer in refused} == {"api_key_scope_missing"}
        sent = await worker.post(f"/v1/sessions/{session}/events", json={"events": [result]})
        assert sent.status_code == 200, sent.text


@pytest.mark.parametrize(
    "body",
    [
        {"scope": "environment"},
        {"scope": "member", "environment_id": "E"},
        {"environment_id": "E"},
        {"scope": "environment", "environment_id": "cloud"},
    ],
)
async def test_refused_environment_keys(
    sdk: anthropic.AsyncAnthropic, http: httpx2.AsyncClient, environment: str, body: Json
) -> None:
    known = {"E": environment, "cloud": (await sdk.beta.environments.create(name="c")).id}
    if "environment_id" in body:
        body = {**body, "environment_id": known[body["environment_id"]]}
    answer = await http.post("/v1/api_keys", json={"name": "k", **body})
    assert answer.status_code == 400, answer.text
    body = {"name": "k", "scope": "environment", "environment_id": "env_none"}
    assert (await http.post("/v1/api_keys", json=body)).status_code == 404

"""Deployments and their runs over HTTP, with the official client and with a plain one."""

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import anthropic
import httpx2
import pytest
import sqlalchemy as sa

from store.tables import deployment_runs
from tests.api.conftest import RunningApi
from tests.api.sessions import RecordedWaker, counts, create_agent, message

Json = dict[str, Any]

pytestmark = pytest.mark.timeout(60)

SYSTEM: Any = {"type": "system.message", "content": [{"type": "text", "text": "be brief"}]}
WEEKDAYS: Any = {"type": "cron", "expression": "0 9 * * MON-FRI", "timezone": "Europe/Berlin"}


@pytest.fixture(autouse=True)
def waker(api: RunningApi) -> RecordedWaker:
    api.state.waker = recorded = RecordedWaker()
    return recorded


@pytest.fixture
async def agent(http: httpx2.AsyncClient, stub_runtime: Json) -> Json:
    return await create_agent(http, system="s")


async def create(http: httpx2.AsyncClient, agent: Any, **fields: Any) -> Json:
    body = {"name": "nightly", "agent": agent, "initial_events": [message("go")], **fields}
    answer = await http.post("/v1/deployments", json=body)
    assert answer.status_code == 200, answer.text
    deployment: Json = answer.json()
    return deployment


async def run(http: httpx2.AsyncClient, deployment: Json) -> Json:
    answer = await http.post(f"/v1/deployments/{deployment['id']}/run")
    assert answer.status_code == 200, answer.text
    made: Json = answer.json()
    return made


async def test_create_returns_the_strict_shape(sdk: anthropic.AsyncAnthropic, agent: Json) -> None:
    environment = (await sdk.beta.environments.list()).data[0]
    made = await sdk.beta.deployments.create(
        name="nightly",
        agent=agent["id"],
        environment_id=environment.id,
        initial_events=[message("one"), message("two")],
        description="d",
        metadata={"a": "b"},
        schedule=WEEKDAYS,
        resources=[],
        vault_ids=[],
    )
    assert made.id.startswith("depl_")
    assert (made.status, made.paused_reason, made.archived_at, made.budget) == ("active", None, None, None)
    assert (made.agent.id, made.agent.version, made.environment_id) == (agent["id"], 1, environment.id)
    assert (made.name, made.description, made.metadata) == ("nightly", "d", {"a": "b"})
    assert [event.type for event in made.initial_events] == ["user.message", "user.message"]
    assert await sdk.beta.deployments.retrieve(made.id) == made


async def test_schedule_tells_its_next_five_runs(sdk: anthropic.AsyncAnthropic, agent: Json) -> None:
    environment = (await sdk.beta.environments.list()).data[0]
    made = await sdk.beta.deployments.create(
        name="n",
        agent=agent["id"],
        environment_id=environment.id,
        initial_events=[message("go")],
        schedule=WEEKDAYS,
    )
    assert made.schedule is not None
    assert made.schedule.upcoming_runs_at is not None
    assert made.schedule.last_run_at is None
    berlin = [at.astimezone(ZoneInfo("Europe/Berlin")) for at in made.schedule.upcoming_runs_at]
    day, expected = made.created_at.astimezone(ZoneInfo("Europe/Berlin")), []
    while len(expected) < 5:
        at = datetime(day.year, day.month, day.day, 9, tzinfo=ZoneInfo("Europe/Berlin"))
        if at > made.created_at and at.weekday() < 5:
            expected.append(at)
        day += timedelta(days=1)
    assert berlin == expected
    archived = await sdk.beta.deployments.archive(made.id)
    assert archived.schedule is not None
    assert archived.schedule.upcoming_runs_at == []


@pytest.mark.parametrize("expression", ["@daily", "*/5 0-6,12 1 JAN *", "0 0 29 2 */7", "0 0 * * 7"])
async def test_schedules_accepted(http: httpx2.AsyncClient, agent: Json, expression: str) -> None:
    schedule = {"type": "cron", "expression": expression, "timezone": "UTC"}
    made = await create(http, agent["id"], schedule=schedule)
    assert made["schedule"]["expression"] == expression
    assert len(made["schedule"]["upcoming_runs_at"]) == 5


BAD_SCHEDULES = [
    ("61 * * * *", "UTC", "Bad minute"),
    ("* * * *", "UTC", "4 fields where 5"),
    ("0 * * * * *", "UTC", "6 fields where 5"),
    ("0 0 L * *", "UTC", "L is not a name"),
    ("0 0 * * 5#2", "UTC", "unknown shortcut or character"),
    ("0 0 * * ?", "UTC", "unknown shortcut or character"),
    ("@reboot", "UTC", "unknown shortcut"),
    ("0 0 30 2 *", "UTC", "day-of-month"),
    ("*/0 * * * *", "UTC", "Bad minute"),
    ("1" * 300, "UTC", "256"),
    ("* * * * *", "Mars/X", "IANA"),
    ("* * * * *", "America", "IANA"),
    ("* * * * *", "../etc/passwd", "IANA"),
    ("* * * * *", "", "at least 1"),
]


@pytest.mark.parametrize(("expression", "timezone", "told"), BAD_SCHEDULES)
async def test_schedules_refused(
    http: httpx2.AsyncClient, agent: Json, expression: str, timezone: str, told: str
) -> None:
    schedule = {"type": "cron", "expression": expression, "timezone": timezone}
    body = {"name": "n", "agent": agent["id"], "initial_events": [message("go")], "schedule": schedule}
    answer = await http.post("/v1/deployments", json=body)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert "schedule" in error["message"]
    assert told in error["message"]
    assert (await http.get("/v1/deployments")).json()["data"] == []


REFUSED: list[tuple[Json, str]] = [
    ({"name": ""}, "name"),
    ({"name": "x" * 257}, "256"),
    ({"description": "x" * 2049}, "2048"),
    ({"initial_events": []}, "at least 1"),
    ({"initial_events": [message("x")] * 51}, "at most 50"),
    ({"initial_events": [SYSTEM]}, "must directly follow"),
    ({"initial_events": [SYSTEM, message("x")]}, "must be the last"),
    ({"initial_events": [{"type": "user.define_outcome", "description": "d"}]}, "outcomes are not offered"),
    ({"initial_events": [{"type": "user.interrupt"}]}, "initial_events"),
    ({"initial_events": [message("x"), SYSTEM]}, "system_messages"),
    ({"agent": "agent_none"}, "no agent"),
    ({"agent": {"type": "agent_with_overrides", "id": "a"}}, "agent"),
    ({"environment_id": "env_none"}, "no environment"),
    ({"resources": [{"type": "file", "file_id": "f"}]}, "not offered"),
    ({"vault_ids": ["vlt_1"]}, "not offered"),
    ({"budget": {"type": "limit", "max_list_cost": {"amount": "1", "currency": "USD"}}}, "not offered"),
    ({"metadata": {"k": "x" * 513}}, "512"),
    ({"cron": "* * * * *"}, "unknown field"),
]


@pytest.mark.parametrize(("change", "told"), REFUSED)
async def test_create_refused(http: httpx2.AsyncClient, agent: Json, change: Json, told: str) -> None:
    body = {"name": "n", "agent": agent["id"], "initial_events": [message("go")], **change}
    answer = await http.post("/v1/deployments", json=body)
    assert answer.status_code in (400, 404), answer.text
    assert told in answer.json()["error"]["message"]
    assert (await http.get("/v1/deployments")).json()["data"] == []


async def test_create_refuses_what_is_archived(http: httpx2.AsyncClient, agent: Json) -> None:
    environment = (await http.post("/v1/environments", json={"name": "lab"})).json()
    await http.post(f"/v1/environments/{environment['id']}/archive")
    body = {"name": "n", "agent": agent["id"], "initial_events": [message("go")]}
    answer = await http.post("/v1/deployments", json={**body, "environment_id": environment["id"]})
    assert answer.json()["error"]["details"]["error_code"] == "environment_archived"
    await http.post(f"/v1/agents/{agent['id']}/archive")
    answer = await http.post("/v1/deployments", json=body)
    assert answer.json()["error"]["details"]["error_code"] == "agent_archived"


async def test_an_id_pins_the_latest_version(http: httpx2.AsyncClient, agent: Json) -> None:
    made = await create(http, agent["id"])
    await http.post(f"/v1/agents/{agent['id']}", json={"system": "second"})
    assert (await http.get(f"/v1/deployments/{made['id']}")).json()["agent"]["version"] == 1
    first = await run(http, made)
    assert (await http.get(f"/v1/sessions/{first['session_id']}")).json()["agent"]["system"] == "s"
    updated = await http.post(f"/v1/deployments/{made['id']}", json={"agent": agent["id"]})
    assert updated.json()["agent"]["version"] == 2
    back = await http.post(
        f"/v1/deployments/{made['id']}", json={"agent": {"type": "agent", "id": agent["id"], "version": 1}}
    )
    assert back.json()["agent"]["version"] == 1


async def test_run_makes_a_session_and_wakes_it(
    sdk: anthropic.AsyncAnthropic, http: httpx2.AsyncClient, agent: Json, waker: RecordedWaker
) -> None:
    made = await create(http, agent["id"], initial_events=[message("one"), message("two")])
    ran = await sdk.beta.deployments.run(made["id"])
    assert ran.id.startswith("drun_")
    assert (ran.deployment_id, ran.agent.version, ran.error) == (made["id"], 1, None)
    assert ran.trigger_context.type == "manual"
    assert ran.session_id is not None
    assert waker.woken == [(ran.session_id, False)]
    session = await sdk.beta.sessions.retrieve(ran.session_id)
    assert session.deployment_id == made["id"]
    listed: list[Any] = [event async for event in sdk.beta.sessions.events.list(ran.session_id)]
    assert [event.content[0].text for event in listed] == ["one", "two"]
    assert await sdk.beta.deployment_runs.retrieve(ran.id) == ran
    other = await http.post("/v1/sessions", json={"agent": agent["id"]})
    assert other.json()["deployment_id"] is None
    assert [found.id async for found in sdk.beta.sessions.list(deployment_id=made["id"])] == [ran.session_id]
    assert [found.id async for found in sdk.beta.sessions.list(deployment_id="depl_none")] == []
    schedule = (await sdk.beta.deployments.retrieve(made["id"])).schedule
    assert schedule is None


async def test_run_takes_a_system_message_where_the_runtime_does(
    http: httpx2.AsyncClient, agent: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.api.stub_runtime import StubRuntime

    able = StubRuntime.capabilities.model_copy(update={"system_messages": True})
    monkeypatch.setattr(StubRuntime, "capabilities", able)
    body = {"alias": "able", "kind": "stub", "base_url": "http://127.0.0.1:9"}
    assert (await http.post("/v1/runtimes", json=body)).status_code == 200
    agent = await create_agent(http, runtime="able")
    made = await create(http, agent["id"], initial_events=[message("one"), SYSTEM])
    assert made["initial_events"][1] == SYSTEM
    ran = await run(http, made)
    events = (await http.get(f"/v1/sessions/{ran['session_id']}/events")).json()["data"]
    assert [event["type"] for event in events] == ["user.message", "system.message"]


async def test_run_twice_by_a_resend_makes_one_session(http: httpx2.AsyncClient, agent: Json, api: RunningApi) -> None:
    made = await create(http, agent["id"])
    path, headers = f"/v1/deployments/{made['id']}/run", {"idempotency-key": "once"}
    first = await http.post(path, headers=headers)
    second = await http.post(path, headers=headers)
    assert first.json() == second.json()
    assert (await counts(api.state.store))["sessions"] == 1


async def test_run_of_an_archived_agent_is_a_failed_run(http: httpx2.AsyncClient, agent: Json) -> None:
    made = await create(http, agent["id"])
    await http.post(f"/v1/agents/{agent['id']}/archive")
    ran = await run(http, made)
    assert ran["session_id"] is None
    assert ran["error"]["type"] == "agent_archived_error"
    assert agent["id"] in ran["error"]["message"]
    assert (await http.get("/v1/sessions")).json()["data"] == []


async def test_run_without_its_environment_is_a_failed_run(
    http: httpx2.AsyncClient, sdk: anthropic.AsyncAnthropic, agent: Json, waker: RecordedWaker
) -> None:
    kept, gone = [(await http.post("/v1/environments", json={"name": name})).json()["id"] for name in ("kept", "gone")]
    archived = await create(http, agent["id"], environment_id=kept)
    deleted = await create(http, agent["id"], environment_id=gone)
    await http.post(f"/v1/environments/{kept}/archive")
    await http.delete(f"/v1/environments/{gone}")
    errors = [(await sdk.beta.deployments.run(made["id"])).error for made in (archived, deleted)]
    assert [error and error.type for error in errors] == ["environment_archived_error", "environment_not_found_error"]
    assert waker.woken == []


async def test_run_the_runtime_cannot_do_is_a_rejected_run(
    http: httpx2.AsyncClient, sdk: anthropic.AsyncAnthropic, agent: Json, api: RunningApi
) -> None:
    custom = {"type": "custom", "name": "ask", "description": "d", "input_schema": {"type": "object"}}
    await http.post(f"/v1/agents/{agent['id']}", json={"tools": [custom]})
    made = await create(http, agent["id"])
    await http.post("/v1/runtimes/stub", json={"options": {"capable": False}})
    error = (await sdk.beta.deployments.run(made["id"])).error
    assert error is not None
    assert error.type == "session_creation_rejected_error"
    assert "custom_tools" in error.message
    assert (await counts(api.state.store))["sessions"] == 0


async def test_pause_and_unpause(sdk: anthropic.AsyncAnthropic, http: httpx2.AsyncClient, agent: Json) -> None:
    made = await create(http, agent["id"], schedule=WEEKDAYS)
    paused = await sdk.beta.deployments.pause(made["id"])
    assert (paused.status, paused.paused_reason and paused.paused_reason.type) == ("paused", "manual")
    assert paused.schedule is not None
    assert len(paused.schedule.upcoming_runs_at or ()) == 5
    assert (await sdk.beta.deployments.pause(made["id"])).updated_at == paused.updated_at
    assert (await sdk.beta.deployments.run(made["id"])).session_id is not None
    unpaused = await sdk.beta.deployments.unpause(made["id"])
    assert (unpaused.status, unpaused.paused_reason) == ("active", None)


async def test_archive_is_for_good(sdk: anthropic.AsyncAnthropic, http: httpx2.AsyncClient, agent: Json) -> None:
    made = await create(http, agent["id"])
    await sdk.beta.deployments.pause(made["id"])
    archived = await sdk.beta.deployments.archive(made["id"])
    assert archived.archived_at is not None
    assert (archived.status, archived.paused_reason) == ("active", None)
    assert await sdk.beta.deployments.archive(made["id"]) == archived
    for path in ("", "/pause", "/unpause", "/run"):
        answer = await http.post(f"/v1/deployments/{made['id']}{path}", json={} if path == "" else None)
        assert answer.status_code == 400, path
        assert "archived" in answer.json()["error"]["message"]


async def test_update_keeps_what_is_left_out(
    sdk: anthropic.AsyncAnthropic, http: httpx2.AsyncClient, agent: Json
) -> None:
    made = await create(http, agent["id"], description="d", metadata={"a": "1", "b": "2"}, schedule=WEEKDAYS)
    updated = await sdk.beta.deployments.update(made["id"], name="renamed", metadata={"a": None, "c": "3"})
    assert (updated.name, updated.description, updated.metadata) == ("renamed", "d", {"b": "2", "c": "3"})
    assert updated.schedule is not None
    assert (await sdk.beta.deployments.update(made["id"], name="renamed")).updated_at == updated.updated_at
    cleared = await sdk.beta.deployments.update(
        made["id"], description=None, schedule=None, initial_events=[message("other")], resources=None
    )
    assert (cleared.description, cleared.schedule) == (None, None)
    event: Any = cleared.initial_events[0]
    assert event.content[0].text == "other"
    lab = await sdk.beta.environments.create(name="lab")
    assert (await sdk.beta.deployments.update(made["id"], environment_id=lab.id)).environment_id == lab.id


@pytest.mark.parametrize(
    "change",
    [
        {"name": None},
        {"name": ""},
        {"agent": None},
        {"environment_id": None},
        {"initial_events": []},
        {"schedule": {"type": "cron", "expression": "61 * * * *", "timezone": "UTC"}},
        {"vault_ids": ["v"]},
    ],
)
async def test_update_refused(http: httpx2.AsyncClient, agent: Json, change: Json) -> None:
    made = await create(http, agent["id"])
    answer = await http.post(f"/v1/deployments/{made['id']}", json=change)
    assert answer.status_code == 400, answer.text
    assert (await http.get(f"/v1/deployments/{made['id']}")).json() == made


async def test_rename_works_when_the_agent_is_archived(http: httpx2.AsyncClient, agent: Json) -> None:
    made = await create(http, agent["id"])
    await http.post(f"/v1/agents/{agent['id']}/archive")
    assert (await http.post(f"/v1/deployments/{made['id']}", json={"name": "x"})).status_code == 200
    refused = await http.post(f"/v1/deployments/{made['id']}", json={"initial_events": [message("x")]})
    assert refused.json()["error"]["details"]["error_code"] == "agent_archived"


async def test_list_filters_and_pages(sdk: anthropic.AsyncAnthropic, http: httpx2.AsyncClient, agent: Json) -> None:
    other = await create_agent(http)
    made = [(await create(http, agent["id"], name=str(n)))["id"] for n in range(4)]
    strange = (await create(http, other["id"]))["id"]
    await sdk.beta.deployments.pause(made[1])
    await sdk.beta.deployments.archive(made[0])

    async def ids(**filters: Any) -> list[str]:
        return [item.id async for item in sdk.beta.deployments.list(**filters)]

    assert await ids(limit=2) == [strange, *reversed(made[1:])]
    assert await ids(agent_id=agent["id"], limit=1, include_archived=True) == list(reversed(made))
    assert await ids(status="paused") == [made[1]]
    assert await ids(status="active") == [strange, made[3], made[2]]
    third = (await sdk.beta.deployments.retrieve(made[2])).created_at
    later, earlier = await ids(created_at_gte=third), await ids(created_at_lte=third)
    assert (made[2] in later, made[2] in earlier) == (True, True)
    assert await ids(created_at_gte=third + timedelta(days=1)) == []
    assert await ids(created_at_lte=third - timedelta(days=1)) == []
    both = await http.get("/v1/deployments?status=paused&include_archived=true")
    assert both.status_code == 400
    assert "cannot be combined" in both.json()["error"]["message"]
    first = (await http.get("/v1/deployments?limit=1")).json()
    strayed = await http.get("/v1/deployments", params={"page": first["next_page"], "status": "active"})
    assert strayed.status_code == 400


async def test_runs_filters_and_pages(
    sdk: anthropic.AsyncAnthropic, http: httpx2.AsyncClient, agent: Json, api: RunningApi
) -> None:
    first, second = await create(http, agent["id"]), await create(http, agent["id"], schedule=WEEKDAYS)
    good = [(await run(http, first))["id"] for _ in range(3)]
    await http.post(f"/v1/agents/{agent['id']}/archive")
    bad = (await run(http, second))["id"]
    fired = {"id": "drun_fired", "trigger_type": "schedule", "scheduled_at": 1_000_000, "session_id": "sesn_1"}

    def record_a_fire(db: sa.Connection) -> None:
        row = db.execute(sa.select(deployment_runs).where(deployment_runs.c.id == bad)).mappings().one()
        db.execute(sa.insert(deployment_runs).values({**row, **fired, "error": None}))

    await api.state.store.write(record_a_fire)

    async def ids(**filters: Any) -> list[str]:
        return [item.id async for item in sdk.beta.deployment_runs.list(**filters)]

    assert set(await ids(limit=2)) == {*good, bad, "drun_fired"}
    assert await ids(deployment_id=first["id"], limit=1) == list(reversed(good))
    assert await ids(has_error=True) == [bad]
    assert set(await ids(has_error=False)) == {*good, "drun_fired"}
    assert await ids(trigger_type="schedule") == ["drun_fired"]
    assert set(await ids(trigger_type="manual")) == {*good, bad}
    assert await ids(deployment_id="depl_none") == []
    at = (await sdk.beta.deployment_runs.retrieve(bad)).created_at
    assert await ids(created_at_gt=at) == []
    assert bad in await ids(created_at_gte=at)
    assert bad not in await ids(created_at_lt=at)
    assert len(await ids(created_at_lte=at)) == 5
    assert (await http.get("/v1/deployment_runs?limit=1000")).status_code == 200
    assert (await http.get("/v1/deployment_runs?limit=1001")).status_code == 400
    schedule = (await sdk.beta.deployments.retrieve(second["id"])).schedule
    assert schedule is not None
    assert schedule.last_run_at == at


async def test_a_fire_is_recorded_once(http: httpx2.AsyncClient, agent: Json, api: RunningApi) -> None:
    made = await create(http, agent["id"])
    ran = await run(http, made)

    def record_twice(db: sa.Connection) -> None:
        row = db.execute(sa.select(deployment_runs).where(deployment_runs.c.id == ran["id"])).mappings().one()
        for name in ("drun_a", "drun_b"):
            db.execute(sa.insert(deployment_runs).values({**row, "id": name, "scheduled_at": 1}))

    with pytest.raises(sa.exc.IntegrityError):
        await api.state.store.write(record_twice)


async def test_other_workspace_sees_nothing(
    http: httpx2.AsyncClient, stranger: httpx2.AsyncClient, agent: Json
) -> None:
    made = await create(http, agent["id"])
    ran = await run(http, made)
    path = f"/v1/deployments/{made['id']}"
    answers = [
        await stranger.get(path),
        await stranger.post(path, json={"name": "x"}),
        *[await stranger.post(f"{path}/{verb}") for verb in ("archive", "pause", "unpause", "run")],
        await stranger.get(f"/v1/deployment_runs/{ran['id']}"),
    ]
    assert [answer.status_code for answer in answers] == [404] * 7
    for path in ("/v1/deployments", "/v1/deployment_runs", f"/v1/deployment_runs?deployment_id={made['id']}"):
        assert (await stranger.get(path)).json()["data"] == []
    body = {"name": "n", "agent": agent["id"], "initial_events": [message("go")]}
    assert (await stranger.post("/v1/deployments", json=body)).status_code == 404
    assert (await stranger.get(f"/v1/sessions?deployment_id={made['id']}")).json()["data"] == []

"""Webhook endpoints over HTTP, with the official client and with a plain one."""

import base64
from typing import Any

import anthropic
import httpx2
import pytest
import sqlalchemy as sa

from security.keys import new_key
from store.repositories.access import create_api_key, create_workspace
from store.tables import stored_answers, webhooks
from tests.api.conftest import RunningApi

Json = dict[str, Any]

pytestmark = pytest.mark.timeout(60)

PATH = "/v1/organizations/webhooks"
ACCOUNT_EVENTS: Any = ["external_key.failed", "user_profile.program_status_updated"]


async def create(http: httpx2.AsyncClient, **fields: Any) -> Json:
    body = {"url": "https://example.com/hook", "enabled_events": ["session.idled"], **fields}
    answer = await http.post(PATH, json=body)
    assert answer.status_code == 200, answer.text
    made: Json = answer.json()
    return made


async def test_create_shows_the_secret_once(sdk: anthropic.AsyncAnthropic, api: RunningApi) -> None:
    hooks = sdk.beta.organization.webhooks
    made = await hooks.create(url="https://example.com/h?x=1", enabled_events=ACCOUNT_EVENTS, name="n", description="d")
    assert (made.url, made.name, made.description) == ("https://example.com/h?x=1", "n", "d")
    assert (made.enabled_events, made.state, made.disabled_reason) == (ACCOUNT_EVENTS, "enabled", "")
    assert len(base64.b64decode(made.signing_secret.removeprefix("whsec_"))) == 32
    found = await hooks.retrieve(made.id)
    assert found.to_dict() == {name: value for name, value in made.to_dict().items() if name != "signing_secret"}
    row = await api.state.store.read(lambda db: db.execute(sa.select(webhooks)).mappings().one())
    assert made.signing_secret.encode() not in row["signing_secret"]
    assert api.state.adapters.vault.open(row["signing_secret"], "organization", made.id) == made.signing_secret


async def test_a_resend_gets_the_same_secret_which_is_kept_sealed(http: httpx2.AsyncClient, api: RunningApi) -> None:
    body = {"url": "https://example.com", "enabled_events": ["session.idled"]}
    first, again = [await http.post(PATH, json=body, headers={"idempotency-key": "k"}) for _ in range(2)]
    assert first.json() == again.json()
    assert len((await http.get(PATH)).json()["data"]) == 1
    kept = await api.state.store.read(lambda db: db.execute(sa.select(stored_answers.c.body)).scalar_one())
    assert first.json()["signing_secret"] not in str(kept)


async def test_regenerate(sdk: anthropic.AsyncAnthropic, api: RunningApi) -> None:
    hooks = sdk.beta.organization.webhooks
    made = await hooks.create(url="https://example.com", enabled_events=ACCOUNT_EVENTS)
    renewed = (await hooks.regenerate_signing_secret(made.id)).signing_secret
    assert renewed.startswith("whsec_")
    assert renewed != made.signing_secret
    sealed = await api.state.store.read(lambda db: db.execute(sa.select(webhooks.c.signing_secret)).scalar_one())
    assert api.state.adapters.vault.open(sealed, "organization", made.id) == renewed


async def test_update(sdk: anthropic.AsyncAnthropic, api: RunningApi) -> None:
    hooks = sdk.beta.organization.webhooks
    made = await hooks.create(url="https://example.com", enabled_events=ACCOUNT_EVENTS, name="n", description="d")
    off = await hooks.update(made.id, state="disabled", url="https://example.org/", enabled_events=[])
    assert (off.state, off.url, off.enabled_events, off.name) == (
        "disabled",
        "https://example.org/",
        ACCOUNT_EVENTS,
        "n",
    )
    assert (await hooks.update(made.id, state="disabled")).updated_at == off.updated_at
    await api.state.store.write(lambda db: db.execute(sa.update(webhooks).values(disabled_reason="failed")))
    on = await hooks.update(made.id, state="enabled", name="", enabled_events=["external_key.recovered"])
    assert (on.state, on.disabled_reason, on.name) == ("enabled", "", "")
    assert (on.enabled_events, on.description) == (["external_key.recovered"], "d")


async def test_delete(sdk: anthropic.AsyncAnthropic, http: httpx2.AsyncClient) -> None:
    hooks = sdk.beta.organization.webhooks
    made = await hooks.create(url="https://example.com", enabled_events=ACCOUNT_EVENTS)
    path, first = f"{PATH}/{made.id}", {"x-stainless-retry-count": "0"}
    gone = await http.delete(path, headers=first)
    assert gone.json() == {"id": made.id, "type": "webhook_endpoint_deleted"}
    with pytest.raises(anthropic.NotFoundError):
        await hooks.retrieve(made.id)
    with pytest.raises(anthropic.NotFoundError):
        await hooks.delete(made.id)


async def test_list_pages_both_ways(sdk: anthropic.AsyncAnthropic, http: httpx2.AsyncClient) -> None:
    hooks = sdk.beta.organization.webhooks
    made = [
        (await hooks.create(url="https://example.com", enabled_events=ACCOUNT_EVENTS, name=str(n))).id for n in range(5)
    ]
    assert [hook.id async for hook in hooks.list(limit=2)] == made[::-1]
    assert [hook.id async for hook in hooks.list(limit=2, order="asc")] == made
    page = await hooks.list(limit=2, after_id=made[3])
    assert ([hook.id for hook in page.data], page.has_more) == ([made[2], made[1]], True)
    assert (page.first_id, page.last_id) == (made[2], made[1])
    before = await hooks.list(limit=2, before_id=made[0])
    assert ([hook.id for hook in before.data], before.has_more) == ([made[4], made[3]], True)
    last = await hooks.list(limit=100, after_id=made[1])
    assert ([hook.id for hook in last.data], last.has_more) == ([made[0]], False)
    empty = await hooks.list(after_id=made[0])
    assert (empty.data, empty.first_id, empty.last_id) == ([], None, None)
    assert len((await http.get(f"{PATH}?limit=0")).json()["data"]) == 5


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("limit=101", "100"),
        ("limit=-1", "0"),
        ("after_id=whep_none", "after_id"),
        ("before_id=whep_none", "before_id"),
        ("after_id=a&before_id=b", "cannot be combined"),
        ("order=up", "asc"),
    ],
)
async def test_list_refused(http: httpx2.AsyncClient, query: str, told: str) -> None:
    answer = await http.get(f"{PATH}?{query}")
    assert answer.status_code == 400, answer.text
    assert told in answer.json()["error"]["message"]


REFUSED: list[tuple[Json, str]] = [
    ({"url": "http://example.com"}, "url"),
    ({"url": "https://"}, "url"),
    ({"url": "https://u:p@example.com"}, "user or password"),
    ({"url": "https://example.com/#x"}, "fragment"),
    ({"url": "https://example.com/" + "x" * 2048}, "2048"),
    ({"url": "https://exa mple.com"}, "url"),
    ({"enabled_events": []}, "at least 1"),
    ({"enabled_events": ["session.exploded"]}, "no such event"),
    ({"name": "x" * 257}, "256"),
    ({"description": "x" * 2049}, "2048"),
    ({"state": "disabled"}, "unknown field"),
]


@pytest.mark.parametrize(("change", "told"), REFUSED, ids=[str(number) for number in range(len(REFUSED))])
async def test_create_refused(http: httpx2.AsyncClient, change: Json, told: str) -> None:
    answer = await http.post(PATH, json={"url": "https://example.com", "enabled_events": ["session.idled"], **change})
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert told in answer.json()["error"]["message"]
    assert (await http.get(PATH)).json()["data"] == []


async def test_events_are_kept_once_each(http: httpx2.AsyncClient) -> None:
    made = await create(http, enabled_events=["session.idled", "agent.created", "session.idled"])
    assert made["enabled_events"] == ["session.idled", "agent.created"]


async def test_members_are_refused(http: httpx2.AsyncClient, member: httpx2.AsyncClient) -> None:
    path = f"{PATH}/{(await create(http))['id']}"
    body = {"url": "https://example.com", "enabled_events": ["session.idled"]}
    answers = [
        await member.post(PATH, json=body),
        await member.get(PATH),
        await member.get(path),
        await member.post(path, json={}),
        await member.delete(path),
        await member.post(f"{path}/regenerate_signing_secret"),
    ]
    assert [answer.status_code for answer in answers] == [403] * 6
    assert len((await http.get(PATH)).json()["data"]) == 1


async def test_admins_of_any_workspace_share_them(http: httpx2.AsyncClient, api: RunningApi) -> None:
    made, key = await create(http), new_key()
    other = await api.state.store.write(lambda db: create_workspace(db, "second"))
    await api.state.store.write(
        lambda db: create_api_key(db, workspace_id=other["id"], name="a", scope="admin", key=key)
    )
    found = await http.get(f"{PATH}/{made['id']}", headers={"authorization": f"Bearer {key}"})
    assert found.json()["id"] == made["id"]

from typing import Any

import anthropic
import httpx2
import pytest
import sqlalchemy as sa

from store.tables import credentials
from tests.api.conftest import RunningApi

BEARER: Any = {"type": "static_bearer", "mcp_server_url": "https://mcp.example.com/mcp", "token": "t0ken"}


async def test_create_retrieve_and_update(sdk: anthropic.AsyncAnthropic) -> None:
    created = await sdk.beta.vaults.create(display_name="Alice", metadata={"user": "u1", "x": "1"})
    assert (created.type, created.display_name, created.archived_at) == ("vault", "Alice", None)
    assert await sdk.beta.vaults.retrieve(created.id) == created
    updated = await sdk.beta.vaults.update(created.id, display_name="Bob", metadata={"x": None, "y": "2"})
    assert (updated.display_name, updated.metadata) == ("Bob", {"user": "u1", "y": "2"})
    assert await sdk.beta.vaults.update(created.id, display_name=None) == updated


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({}, "`display_name`: required"),
        ({"display_name": ""}, "at least 1"),
        ({"display_name": "n" * 256}, "at most 255"),
        ({"display_name": "n", "metadata": {str(n): "" for n in range(17)}}, "16"),
        ({"display_name": "n", "name": "n"}, "unknown field"),
    ],
)
async def test_create_refused(http: httpx2.AsyncClient, body: dict[str, object], told: str) -> None:
    answer = await http.post("/v1/vaults", json=body)
    assert answer.status_code == 400, answer.text
    assert told in answer.json()["error"]["message"]


async def test_list_pages(sdk: anthropic.AsyncAnthropic) -> None:
    made = [(await sdk.beta.vaults.create(display_name=str(n))).id for n in range(5)]
    assert sorted([item.id async for item in sdk.beta.vaults.list(limit=2)]) == sorted(made)
    await sdk.beta.vaults.archive(made[0])
    assert made[0] not in [item.id async for item in sdk.beta.vaults.list()]
    assert made[0] in [item.id async for item in sdk.beta.vaults.list(include_archived=True)]


async def test_archive_takes_the_credentials_along(api: RunningApi, sdk: anthropic.AsyncAnthropic) -> None:
    vault = await sdk.beta.vaults.create(display_name="Alice")
    credential = await sdk.beta.vaults.credentials.create(vault.id, auth=BEARER)
    archived = await sdk.beta.vaults.archive(vault.id)
    assert archived.archived_at is not None
    assert (await sdk.beta.vaults.archive(vault.id)).archived_at == archived.archived_at
    kept = await sdk.beta.vaults.credentials.retrieve(credential.id, vault_id=vault.id)
    assert kept.archived_at is not None
    secrets = await api.state.store.read(lambda db: db.execute(sa.select(credentials.c.secrets)).scalars().all())
    assert secrets == [{}]
    for refused in (
        sdk.beta.vaults.update(vault.id, display_name="x"),
        sdk.beta.vaults.credentials.create(vault.id, auth=BEARER),
    ):
        with pytest.raises(anthropic.BadRequestError) as caught:
            await refused
        body: Any = caught.value.body
        assert body["error"]["details"] == {"error_code": "vault_archived"}


async def test_delete_takes_the_credentials_along(api: RunningApi, sdk: anthropic.AsyncAnthropic) -> None:
    vault = await sdk.beta.vaults.create(display_name="Alice")
    await sdk.beta.vaults.credentials.create(vault.id, auth=BEARER)
    deleted = await sdk.beta.vaults.delete(vault.id)
    assert (deleted.id, deleted.type) == (vault.id, "vault_deleted")
    with pytest.raises(anthropic.NotFoundError) as caught:
        await sdk.beta.vaults.retrieve(vault.id)
    body: Any = caught.value.body
    assert body["error"]["details"] == {"error_code": "vault_not_found"}
    assert await api.state.store.read(lambda db: db.execute(sa.select(credentials.c.id)).all()) == []


async def test_other_workspace_sees_nothing(stranger: httpx2.AsyncClient, sdk: anthropic.AsyncAnthropic) -> None:
    vault = await sdk.beta.vaults.create(display_name="Alice")
    credential = await sdk.beta.vaults.credentials.create(vault.id, auth=BEARER)
    own = (await stranger.post("/v1/vaults", json={"display_name": "own"})).json()["id"]
    path = f"/v1/vaults/{vault.id}"
    answers = [
        await stranger.get(path),
        await stranger.post(path, json={"display_name": "x"}),
        await stranger.post(f"{path}/archive"),
        await stranger.delete(path),
        await stranger.get(f"{path}/credentials"),
        await stranger.post(f"{path}/credentials", json={"auth": BEARER}),
    ]
    for vault_id in (vault.id, own):  # not by way of a vault of one's own either
        at = f"/v1/vaults/{vault_id}/credentials/{credential.id}"
        answers += [
            await stranger.get(at),
            await stranger.post(at, json={"display_name": "x"}),
            await stranger.post(f"{at}/archive"),
            await stranger.post(f"{at}/mcp_oauth_validate"),
            await stranger.delete(at),
        ]
    assert [answer.status_code for answer in answers] == [404] * len(answers)
    assert [item["id"] for item in (await stranger.get("/v1/vaults")).json()["data"]] == [own]
    assert (await sdk.beta.vaults.credentials.retrieve(credential.id, vault_id=vault.id)).archived_at is None


async def test_a_session_refuses_vaults(http: httpx2.AsyncClient, sdk: anthropic.AsyncAnthropic) -> None:
    vault = await sdk.beta.vaults.create(display_name="Alice")
    answer = await http.post("/v1/sessions", json={"agent": "agent_x", "vault_ids": [vault.id]})
    assert answer.status_code == 400
    assert "`vault_ids`: not offered" in answer.json()["error"]["message"]

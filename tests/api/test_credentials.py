import datetime
from typing import Any

import anthropic
import httpx2
import pytest
import sqlalchemy as sa
from anthropic.types.beta import BetaManagedAgentsVault

from security.credentials import open_secrets
from store.tables import credentials, stored_answers
from tests.api.conftest import RunningApi

Vault = BetaManagedAgentsVault
URL = "https://mcp.example.com/mcp"
SOON = datetime.datetime(2100, 1, 1, tzinfo=datetime.UTC)

BEARER: dict[str, Any] = {"type": "static_bearer", "mcp_server_url": URL, "token": "sealed-1"}
REFRESH: dict[str, Any] = {
    "client_id": "client-1",
    "refresh_token": "sealed-2",
    "token_endpoint": "https://auth.example.com/token",
    "token_endpoint_auth": {"type": "client_secret_post", "client_secret": "sealed-3"},
    "scope": "a b",
}
OAUTH: dict[str, Any] = {
    "type": "mcp_oauth",
    "mcp_server_url": URL,
    "access_token": "sealed-1",
    "expires_at": "2100-01-01T00:00:00Z",
    "refresh": REFRESH,
}
VARIABLE: dict[str, Any] = {
    "type": "environment_variable",
    "secret_name": "API_KEY",
    "secret_value": "sealed-1 \u00e9\n",
    "networking": {"type": "limited", "allowed_hosts": ["API.example.com", "*.example.org", "192.0.2.1"]},
}


@pytest.fixture
async def vault(sdk: anthropic.AsyncAnthropic) -> Vault:
    return await sdk.beta.vaults.create(display_name="Alice")


async def secrets_of(api: RunningApi, credential_id: str) -> dict[str, str]:
    """Return what is stored of a credential's secrets, opened."""
    statement = sa.select(credentials.c.secrets).where(credentials.c.id == credential_id)
    sealed = await api.state.store.read(lambda db: db.execute(statement).scalar_one())
    return open_secrets(api.state.adapters.vault, api.workspace_id, credential_id, sealed)


async def test_static_bearer(api: RunningApi, sdk: anthropic.AsyncAnthropic, vault: Vault) -> None:
    auth: Any = BEARER
    created = await sdk.beta.vaults.credentials.create(vault.id, auth=auth, display_name="GitHub", metadata={"a": "1"})
    assert created.auth.to_dict() == {"type": "static_bearer", "mcp_server_url": URL}
    assert (created.type, created.vault_id, created.display_name) == ("vault_credential", vault.id, "GitHub")
    assert await sdk.beta.vaults.credentials.retrieve(created.id, vault_id=vault.id) == created
    updated = await sdk.beta.vaults.credentials.update(
        created.id,
        vault_id=vault.id,
        auth={"type": "static_bearer", "token": "sealed-9"},
        display_name="Hub",
        metadata={"a": None, "b": "2"},
    )
    assert (updated.display_name, updated.metadata, updated.auth) == ("Hub", {"b": "2"}, created.auth)
    assert await secrets_of(api, created.id) == {"token": "sealed-9"}
    same = await sdk.beta.vaults.credentials.update(created.id, vault_id=vault.id, auth={"type": "static_bearer"})
    assert same == updated


async def test_mcp_oauth(api: RunningApi, sdk: anthropic.AsyncAnthropic, vault: Vault) -> None:
    auth: Any = OAUTH
    created = await sdk.beta.vaults.credentials.create(vault.id, auth=auth)
    assert created.auth.type == "mcp_oauth"
    assert (created.auth.mcp_server_url, created.auth.expires_at) == (URL, SOON)
    assert created.auth.refresh is not None
    assert created.auth.refresh.to_dict() == {
        "client_id": "client-1",
        "token_endpoint": "https://auth.example.com/token",
        "token_endpoint_auth": {"type": "client_secret_post"},
        "resource": None,
        "scope": "a b",
    }
    assert await secrets_of(api, created.id) == {
        "access_token": "sealed-1",
        "refresh_token": "sealed-2",
        "client_secret": "sealed-3",
    }
    updated = await sdk.beta.vaults.credentials.update(
        created.id,
        vault_id=vault.id,
        auth={
            "type": "mcp_oauth",
            "access_token": "sealed-4",
            "expires_at": None,
            "refresh": {
                "refresh_token": "sealed-5",
                "scope": "",
                "token_endpoint_auth": {"type": "client_secret_basic", "client_secret": "sealed-6"},
            },
        },
    )
    assert updated.auth.type == "mcp_oauth"
    assert updated.auth.refresh is not None
    assert (updated.auth.expires_at, updated.auth.refresh.scope) == (None, None)
    assert updated.auth.refresh.token_endpoint_auth.type == "client_secret_post"
    assert await secrets_of(api, created.id) == {
        "access_token": "sealed-4",
        "refresh_token": "sealed-5",
        "client_secret": "sealed-6",
    }
    later: Any = {"type": "mcp_oauth", "expires_at": SOON}
    again = await sdk.beta.vaults.credentials.update(created.id, vault_id=vault.id, auth=later)
    assert again.auth.type == "mcp_oauth"
    assert again.auth.expires_at == SOON


async def test_environment_variable(api: RunningApi, sdk: anthropic.AsyncAnthropic, vault: Vault) -> None:
    auth: Any = VARIABLE
    created = await sdk.beta.vaults.credentials.create(vault.id, auth=auth)
    assert created.auth.to_dict() == {
        "type": "environment_variable",
        "secret_name": "API_KEY",
        "networking": {"type": "limited", "allowed_hosts": ["api.example.com", "*.example.org", "192.0.2.1"]},
        "injection_location": {"header": True, "body": False},
    }
    updated = await sdk.beta.vaults.credentials.update(
        created.id,
        vault_id=vault.id,
        auth={
            "type": "environment_variable",
            "secret_value": "sealed-2",
            "networking": {"type": "unrestricted"},
            "injection_location": {"body": True},
        },
    )
    assert updated.auth.to_dict() == {
        "type": "environment_variable",
        "secret_name": "API_KEY",
        "networking": {"type": "unrestricted"},
        "injection_location": {"header": True, "body": True},
    }
    assert await secrets_of(api, created.id) == {"secret_value": "sealed-2"}


SENT = [BEARER, OAUTH, VARIABLE]


@pytest.mark.parametrize("auth", SENT, ids=[auth["type"] for auth in SENT])
async def test_secrets_are_never_shown(
    api: RunningApi, http: httpx2.AsyncClient, vault: Vault, auth: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    at = f"/v1/vaults/{vault.id}/credentials"
    created = await http.post(at, json={"auth": auth}, headers={"idempotency-key": "k"})
    assert created.status_code == 200, created.text
    again = await http.post(at, json={"auth": auth}, headers={"idempotency-key": "k"})
    assert again.json() == created.json()
    own = f"{at}/{created.json()['id']}"
    name = {"static_bearer": "token", "mcp_oauth": "access_token", "environment_variable": "secret_value"}[auth["type"]]
    answers = [
        created,
        await http.post(at, json={"auth": auth}),
        await http.post(at, json={"auth": {**auth, name: {"sealed-1": 1}}}),
        await http.post(at, json={"auth": {**auth, "sealed": "sealed-1"}}),
        await http.post(at, json={"auth": {**auth, name: ["sealed-1"]}}),
        await http.post(own, json={"auth": {"type": auth["type"], name: "sealed-7" * 5000}}),
        await http.post(own, json={"auth": {"type": auth["type"], name: "sealed-8"}}),
        await http.get(own),
        await http.get(at),
        await http.post(f"{own}/mcp_oauth_validate") if auth["type"] != "mcp_oauth" else created,
        await http.post(f"{own}/archive"),
        await http.delete(own),
    ]
    assert "sealed-" not in "".join(answer.text for answer in answers)
    kept = await api.state.store.read(
        lambda db: str(db.execute(sa.select(credentials)).all()) + str(db.execute(sa.select(stored_answers)).all())
    )
    assert "sealed-" not in kept
    assert "sealed-" not in "".join(capfd.readouterr())


async def test_one_active_credential_for_a_target(http: httpx2.AsyncClient, vault: Vault) -> None:
    at = f"/v1/vaults/{vault.id}/credentials"
    first = (await http.post(at, json={"auth": BEARER})).json()
    for taken in (BEARER, OAUTH, {**BEARER, "mcp_server_url": "https://MCP.example.com:443/mcp"}):
        answer = await http.post(at, json={"auth": taken})
        assert (answer.status_code, answer.json()["error"]["type"]) == (409, "conflict_error")
        assert answer.headers["x-should-retry"] == "false"
        assert first["id"] in answer.json()["error"]["message"]
    other_url = {**BEARER, "mcp_server_url": f"{URL}/other"}
    assert (await http.post(at, json={"auth": other_url})).status_code == 200
    assert (await http.post(at, json={"auth": VARIABLE})).status_code == 200
    assert (await http.post(at, json={"auth": VARIABLE})).status_code == 409
    other_vault = (await http.post("/v1/vaults", json={"display_name": "Bob"})).json()["id"]
    assert (await http.post(f"/v1/vaults/{other_vault}/credentials", json={"auth": BEARER})).status_code == 200
    await http.post(f"{at}/{first['id']}/archive")
    assert (await http.post(at, json={"auth": OAUTH})).status_code == 200


async def test_a_vault_holds_twenty(http: httpx2.AsyncClient, vault: Vault) -> None:
    at = f"/v1/vaults/{vault.id}/credentials"
    ids = []
    for n in range(20):
        created = await http.post(at, json={"auth": {**BEARER, "mcp_server_url": f"{URL}/{n}"}})
        ids.append(created.json()["id"])
    answer = await http.post(at, json={"auth": BEARER})
    assert answer.status_code == 400
    assert "20 active credentials" in answer.json()["error"]["message"]
    await http.delete(f"{at}/{ids[0]}")
    assert (await http.post(at, json={"auth": BEARER})).status_code == 200


CREATE_REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"auth": {**BEARER, "type": "password"}}, "static_bearer"),
    ({"auth": {**BEARER, "token": ""}}, "at least 1"),
    ({"auth": {**BEARER, "token": "a\nb"}}, "printable ASCII"),
    ({"auth": {**BEARER, "token": "x" * 16_385}}, "16384"),
    ({"auth": {**BEARER, "mcp_server_url": "ftp://example.com"}}, "mcp_server_url"),
    ({"auth": {**BEARER, "mcp_server_url": "https://u:p@example.com"}}, "user or password"),
    ({"auth": {**BEARER, "mcp_server_url": "https://example.com/#x"}}, "fragment"),
    ({"auth": {**BEARER, "mcp_server_url": "https://" + "x" * 2048}}, "2048"),
    ({"auth": {**OAUTH, "expires_at": "2020-01-01T00:00:00Z"}}, "in the future"),
    ({"auth": {**OAUTH, "expires_at": "9999-12-31T23:59:59-12:00"}}, "year 10000"),
    ({"auth": {**OAUTH, "expires_at": "soon"}}, "RFC 3339"),
    ({"auth": {**OAUTH, "refresh": {**REFRESH, "token_endpoint_auth": {"type": "client_secret_post"}}}}, "required"),
    ({"auth": {**OAUTH, "refresh": {**REFRESH, "token_endpoint": "x"}}}, "token_endpoint"),
    ({"auth": {**VARIABLE, "secret_name": "1X"}}, "secret_name"),
    ({"auth": {**VARIABLE, "injection_location": {"header": False}}}, "must be true"),
    ({"auth": {**VARIABLE, "networking": {"type": "limited", "allowed_hosts": []}}}, "at least 1"),
    ({"auth": {**VARIABLE, "networking": {"type": "limited", "allowed_hosts": ["a.example"] * 17}}}, "at most 16"),
    *(
        ({"auth": {**VARIABLE, "networking": {"type": "limited", "allowed_hosts": [host]}}}, "allowed_hosts.0")
        for host in ("https://a.example", "a.example:443", "a.example/x", "[::1]", "::1", "*", "a.*.b", "1.2.3", "a..b")
    ),
    ({"auth": BEARER, "display_name": "x" * 256}, "at most 255"),
    ({}, "`auth`: required"),
]


@pytest.mark.parametrize(("body", "told"), CREATE_REFUSED, ids=range(len(CREATE_REFUSED)))
async def test_create_refused(http: httpx2.AsyncClient, vault: Vault, body: dict[str, Any], told: str) -> None:
    at = f"/v1/vaults/{vault.id}/credentials"
    answer = await http.post(at, json=body)
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error"), answer.text
    assert told in answer.json()["error"]["message"]
    assert (await http.get(at)).json()["data"] == []


PLAIN_OAUTH = {name: value for name, value in OAUTH.items() if name not in ("refresh", "expires_at")}
OPEN_REFRESH = {**REFRESH, "token_endpoint_auth": {"type": "none"}}
SECRET_UPDATE = {"token_endpoint_auth": {"type": "client_secret_basic", "client_secret": "x"}}

UPDATE_REFUSED: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    (BEARER, {"type": "mcp_oauth"}, "cannot be changed"),
    (BEARER, {"type": "static_bearer", "mcp_server_url": URL}, "unknown field"),
    (OAUTH, {"type": "mcp_oauth", "expires_at": "2020-01-01T00:00:00Z"}, "in the future"),
    (OAUTH, {"type": "mcp_oauth", "refresh": {"client_id": "x"}}, "unknown field"),
    (OAUTH, {"type": "mcp_oauth", "refresh": {"token_endpoint_auth": {"type": "none"}}}, "token_endpoint_auth"),
    (PLAIN_OAUTH, {"type": "mcp_oauth", "refresh": {"refresh_token": "x"}}, "no refresh to change"),
    ({**OAUTH, "refresh": OPEN_REFRESH}, {"type": "mcp_oauth", "refresh": SECRET_UPDATE}, "takes no secret"),
    (VARIABLE, {"type": "environment_variable", "secret_name": "X"}, "unknown field"),
    (VARIABLE, {"type": "environment_variable", "injection_location": {"header": False}}, "must be true"),
]


@pytest.mark.parametrize(("auth", "update", "told"), UPDATE_REFUSED, ids=range(len(UPDATE_REFUSED)))
async def test_update_refused(
    api: RunningApi, http: httpx2.AsyncClient, vault: Vault, auth: dict[str, Any], update: dict[str, Any], told: str
) -> None:
    at = f"/v1/vaults/{vault.id}/credentials"
    created = (await http.post(at, json={"auth": auth})).json()
    before = await secrets_of(api, created["id"])
    answer = await http.post(f"{at}/{created['id']}", json={"auth": update})
    assert answer.status_code == 400, answer.text
    assert told in answer.json()["error"]["message"]
    assert (await http.get(f"{at}/{created['id']}")).json() == created
    assert await secrets_of(api, created["id"]) == before


async def test_archive_erases_the_secrets(api: RunningApi, sdk: anthropic.AsyncAnthropic, vault: Vault) -> None:
    auth: Any = OAUTH
    created = await sdk.beta.vaults.credentials.create(vault.id, auth=auth)
    archived = await sdk.beta.vaults.credentials.archive(created.id, vault_id=vault.id)
    assert archived.archived_at is not None
    assert archived.auth == created.auth
    assert await secrets_of(api, created.id) == {}
    again = await sdk.beta.vaults.credentials.archive(created.id, vault_id=vault.id)
    assert again.archived_at == archived.archived_at
    with pytest.raises(anthropic.BadRequestError) as caught:
        await sdk.beta.vaults.credentials.update(created.id, vault_id=vault.id, display_name="x")
    body: Any = caught.value.body
    assert body["error"]["details"] == {"error_code": "credential_archived"}
    assert [item.id async for item in sdk.beta.vaults.credentials.list(vault.id)] == []
    listed = [item.id async for item in sdk.beta.vaults.credentials.list(vault.id, include_archived=True)]
    assert listed == [created.id]


async def test_delete(api: RunningApi, sdk: anthropic.AsyncAnthropic, vault: Vault) -> None:
    auth: Any = BEARER
    created = await sdk.beta.vaults.credentials.create(vault.id, auth=auth)
    deleted = await sdk.beta.vaults.credentials.delete(created.id, vault_id=vault.id)
    assert (deleted.id, deleted.type) == (created.id, "vault_credential_deleted")
    with pytest.raises(anthropic.NotFoundError) as caught:
        await sdk.beta.vaults.credentials.retrieve(created.id, vault_id=vault.id)
    body: Any = caught.value.body
    assert body["error"]["details"] == {"error_code": "credential_not_found"}
    assert await api.state.store.read(lambda db: db.execute(sa.select(credentials.c.id)).all()) == []


async def test_list_pages(sdk: anthropic.AsyncAnthropic, vault: Vault) -> None:
    made = []
    for n in range(5):
        auth: Any = {**BEARER, "mcp_server_url": f"{URL}/{n}"}
        made.append((await sdk.beta.vaults.credentials.create(vault.id, auth=auth)).id)
    listed = [item.id async for item in sdk.beta.vaults.credentials.list(vault.id, limit=2)]
    assert sorted(listed) == sorted(made)

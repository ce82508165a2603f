import asyncio
import datetime
import pathlib
import time
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import httpx2
import pytest
import sqlalchemy as sa
from anthropic.types.beta import BetaManagedAgentsVault
from starlette.responses import JSONResponse, PlainTextResponse, Response

from api import credential_validation
from security.vault import Vault as SecretVault
from settings import Settings
from store.tables import credentials, leases
from tests.api.conftest import RunningApi
from tests.api.mcp_server import McpServer, running_mcp_server
from tests.conftest import free_port

Vault = BetaManagedAgentsVault


@pytest.fixture
def settings(tmp_path: pathlib.Path, database_url: str) -> Settings:
    return Settings(state_dir=tmp_path, database_url=database_url, allow_private_addresses=True)


@pytest.fixture
async def vault(sdk: anthropic.AsyncAnthropic) -> Vault:
    return await sdk.beta.vaults.create(display_name="Alice")


@pytest.fixture
async def mcp() -> AsyncIterator[McpServer]:
    async with running_mcp_server() as server:
        yield server


class Made:
    """A credential that was made, and how it is validated."""

    def __init__(self, sdk: anthropic.AsyncAnthropic, vault_id: str, credential_id: str) -> None:
        self.sdk, self.vault_id, self.id = sdk, vault_id, credential_id

    async def validate(self) -> Any:
        return await self.sdk.beta.vaults.credentials.mcp_oauth_validate(self.id, vault_id=self.vault_id)


async def make(
    sdk: anthropic.AsyncAnthropic, vault: Vault, url: str, token: str, refresh: Any = None, **more: Any
) -> Made:
    auth: Any = {"type": "mcp_oauth", "mcp_server_url": url, "access_token": token, "refresh": refresh, **more}
    created = await sdk.beta.vaults.credentials.create(vault.id, auth=auth)
    return Made(sdk, vault.id, created.id)


def refresh_at(mcp: McpServer, auth: Any = None, **more: Any) -> dict[str, Any]:
    return {
        "client_id": "client 1",
        "refresh_token": "refresh-1",
        "token_endpoint": f"{mcp.url}/token",
        "token_endpoint_auth": auth or {"type": "none"},
        **more,
    }


async def expire(api: RunningApi, made: Made) -> None:
    change = sa.update(credentials).where(credentials.c.id == made.id).values(expires_at=1)
    await api.state.store.write(lambda db: db.execute(change))


@pytest.mark.parametrize("streamed", [False, True])
async def test_valid(sdk: anthropic.AsyncAnthropic, vault: Vault, mcp: McpServer, streamed: bool) -> None:
    mcp.streamed = streamed
    made = await make(sdk, vault, f"{mcp.url}/mcp", "good")
    found = await made.validate()
    assert (found.type, found.status, found.has_refresh_token) == ("vault_credential_validation", "valid", False)
    assert (found.credential_id, found.vault_id, found.mcp_probe, found.refresh) == (made.id, vault.id, None, None)
    age = datetime.datetime.now(datetime.UTC) - found.validated_at
    assert abs(age) < datetime.timedelta(minutes=1)
    methods = ["initialize", "notifications/initialized", "tools/list"]
    assert mcp.calls == [*((method, "Bearer good") for method in methods), ("DELETE", "s1")]


async def test_a_server_without_tools_is_not_asked_for_them(
    sdk: anthropic.AsyncAnthropic, vault: Vault, mcp: McpServer
) -> None:
    mcp.capabilities = {}
    assert (await (await make(sdk, vault, f"{mcp.url}/mcp", "good")).validate()).status == "valid"
    assert "tools/list" not in [method for method, _ in mcp.calls]


async def test_refused_without_a_refresh_token(sdk: anthropic.AsyncAnthropic, vault: Vault, mcp: McpServer) -> None:
    found = await (await make(sdk, vault, f"{mcp.url}/mcp", "bad-token")).validate()
    assert (found.status, found.refresh.status, found.refresh.http_response) == ("invalid", "no_refresh_token", None)
    assert found.mcp_probe.method == "initialize"
    answer = found.mcp_probe.http_response
    assert (answer.status_code, answer.content_type, answer.body_truncated) == (401, "application/json", False)
    assert "invalid_token" in answer.body
    assert "bad-token" not in answer.body


FAILURES: list[tuple[str, Response, str, int | None]] = [
    ("initialize", PlainTextResponse("no", 500), "unknown", 500),
    ("initialize", PlainTextResponse("no", 403), "invalid", 403),
    ("initialize", PlainTextResponse("<html>", 200), "unknown", 200),
    ("initialize", JSONResponse({"jsonrpc": "2.0", "id": 1, "error": {"code": -1}}), "unknown", 200),
    ("notifications/initialized", PlainTextResponse("no", 404), "unknown", 404),
    ("tools/list", PlainTextResponse("no", 401), "invalid", 401),
]


@pytest.mark.parametrize(("method", "answer", "status", "code"), FAILURES)
async def test_failed_step(
    sdk: anthropic.AsyncAnthropic,
    vault: Vault,
    mcp: McpServer,
    method: str,
    answer: Response,
    status: str,
    code: int,
) -> None:
    mcp.answers[method] = answer
    found = await (await make(sdk, vault, f"{mcp.url}/mcp", "good")).validate()
    assert (found.status, found.mcp_probe.method) == (status, method)
    assert found.mcp_probe.http_response.status_code == code


async def test_a_long_answer_is_cut(sdk: anthropic.AsyncAnthropic, vault: Vault, mcp: McpServer) -> None:
    mcp.answers["initialize"] = PlainTextResponse("good" * 500_000, 500)
    found = await (await make(sdk, vault, f"{mcp.url}/mcp", "good")).validate()
    assert found.mcp_probe.http_response.body_truncated
    assert 0 < len(found.mcp_probe.http_response.body) <= 4096
    assert "good" not in found.mcp_probe.http_response.body


async def test_no_server_there(sdk: anthropic.AsyncAnthropic, vault: Vault) -> None:
    for host in (f"127.0.0.1:{free_port()}", "no-such-host.invalid"):
        found = await (await make(sdk, vault, f"http://{host}/mcp", "good")).validate()
        assert (found.status, found.mcp_probe.method, found.mcp_probe.http_response) == ("unknown", "initialize", None)


async def test_a_silent_server_is_given_up(
    sdk: anthropic.AsyncAnthropic, vault: Vault, mcp: McpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credential_validation, "LIMIT_S", 0.5)
    mcp.delay_s = 3
    began = time.monotonic()
    found = await (await make(sdk, vault, f"{mcp.url}/mcp", "good")).validate()
    assert (found.status, found.mcp_probe.http_response) == ("unknown", None)
    assert time.monotonic() - began < 2.5


async def test_redirects_stay_with_the_host(sdk: anthropic.AsyncAnthropic, vault: Vault, mcp: McpServer) -> None:
    assert (await (await make(sdk, vault, f"{mcp.url}/moved", "good")).validate()).status == "valid"
    mcp.calls.clear()
    found = await (await make(sdk, vault, f"{mcp.url}/away", "good")).validate()
    assert (found.status, found.mcp_probe.http_response.status_code) == ("unknown", 307)
    assert mcp.calls == []


async def test_an_expired_token_is_refreshed_first(
    api: RunningApi, sdk: anthropic.AsyncAnthropic, vault: Vault, mcp: McpServer
) -> None:
    mcp.refreshed = [{"access_token": "good", "refresh_token": "refresh-2", "expires_in": 3600, "token_type": "Bearer"}]
    made = await make(sdk, vault, f"{mcp.url}/mcp", "old", refresh_at(mcp, scope="a b", resource="urn:r"))
    await expire(api, made)
    found = await made.validate()
    assert (found.status, found.has_refresh_token, found.refresh.status) == ("valid", True, "succeeded")
    assert (found.refresh.http_response, found.mcp_probe) == (None, None)
    assert mcp.forms == [
        {
            "grant_type": "refresh_token",
            "refresh_token": "refresh-1",
            "client_id": "client 1",
            "scope": "a b",
            "resource": "urn:r",
            "authorization": "",
        }
    ]
    assert ("initialize", "Bearer old") not in mcp.calls
    stored = await sdk.beta.vaults.credentials.retrieve(made.id, vault_id=vault.id)
    assert stored.auth.type == "mcp_oauth"
    assert stored.auth.expires_at is not None
    life = stored.auth.expires_at - datetime.datetime.now(datetime.UTC)
    assert datetime.timedelta(minutes=58) < life < datetime.timedelta(minutes=61)
    assert (await made.validate()).refresh is None  # the new token is kept
    mcp.good_tokens, mcp.refreshed = {"newer"}, [{"access_token": "newer"}]
    assert (await made.validate()).status == "valid"
    assert mcp.forms[-1]["refresh_token"] == "refresh-2"
    stored = await sdk.beta.vaults.credentials.retrieve(made.id, vault_id=vault.id)
    assert stored.auth.type == "mcp_oauth"
    assert stored.auth.expires_at is None


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
async def test_a_401_leads_to_a_refresh(
    sdk: anthropic.AsyncAnthropic, vault: Vault, mcp: McpServer, method: str
) -> None:
    mcp.refreshed = [{"access_token": "good"}]
    client = {"type": method, "client_secret": "s3cret/+"}
    found = await (await make(sdk, vault, f"{mcp.url}/mcp", "old", refresh_at(mcp, client))).validate()
    assert (found.status, found.refresh.status) == ("valid", "succeeded")
    (form,) = mcp.forms
    if method == "client_secret_basic":
        assert httpx2.BasicAuth("client+1", "s3cret%2F%2B")._auth_header == form["authorization"]
        assert "client_secret" not in form
    else:
        assert (form["client_id"], form["client_secret"], form["authorization"]) == ("client 1", "s3cret/+", "")


async def test_refresh_failed(api: RunningApi, sdk: anthropic.AsyncAnthropic, vault: Vault, mcp: McpServer) -> None:
    mcp.refusal = JSONResponse({"error": "invalid_grant", "was": "refresh-1", "id_token": "not known here"}, 400)
    made = await make(sdk, vault, f"{mcp.url}/mcp", "old", refresh_at(mcp))
    found = await made.validate()
    assert (found.status, found.refresh.status) == ("invalid", "failed")
    assert found.refresh.http_response.status_code == 400
    assert "invalid_grant" in found.refresh.http_response.body
    assert "refresh-1" not in found.refresh.http_response.body
    assert "not known" not in found.refresh.http_response.body
    assert found.mcp_probe.http_response.status_code == 401
    mcp.refusal = PlainTextResponse("later", 503)
    assert (await made.validate()).status == "unknown"
    mcp.refusal = JSONResponse({"token_type": "Bearer"})
    assert (await made.validate()).refresh.status == "failed"
    await expire(api, made)
    found = await made.validate()
    assert (found.refresh.status, found.mcp_probe) == ("failed", None)
    left = await api.state.store.read(
        lambda db: db.execute(sa.select(leases.c.name).where(leases.c.name.like("refresh%"))).all()
    )
    assert left == []


async def test_token_endpoint_not_reached(sdk: anthropic.AsyncAnthropic, vault: Vault, mcp: McpServer) -> None:
    refresh = refresh_at(mcp) | {"token_endpoint": f"http://127.0.0.1:{free_port()}/token"}
    found = await (await make(sdk, vault, f"{mcp.url}/mcp", "old", refresh)).validate()
    assert (found.status, found.refresh.status, found.refresh.http_response) == ("unknown", "connect_error", None)


async def test_many_validations_refresh_once(
    api: RunningApi, sdk: anthropic.AsyncAnthropic, vault: Vault, mcp: McpServer
) -> None:
    mcp.refreshed = [{"access_token": "good", "refresh_token": "refresh-2", "expires_in": 3600}]
    mcp.delay_s = 0.2
    made = await make(sdk, vault, f"{mcp.url}/mcp", "old", refresh_at(mcp))
    await expire(api, made)
    found = await asyncio.gather(*(made.validate() for _ in range(6)))
    assert [one.status for one in found] == ["valid"] * 6
    assert sorted(one.refresh.status if one.refresh else "" for one in found) == [""] * 5 + ["succeeded"]
    assert len(mcp.forms) == 1


async def test_refused_for_what_cannot_be_validated(sdk: anthropic.AsyncAnthropic, vault: Vault) -> None:
    bearer = await sdk.beta.vaults.credentials.create(
        vault.id, auth={"type": "static_bearer", "mcp_server_url": "https://x.example/1", "token": "t"}
    )
    with pytest.raises(anthropic.BadRequestError, match="only `mcp_oauth`"):
        await Made(sdk, vault.id, bearer.id).validate()
    made = await make(sdk, vault, "https://x.example/2", "t")
    await sdk.beta.vaults.credentials.archive(made.id, vault_id=vault.id)
    with pytest.raises(anthropic.BadRequestError, match="archived"):
        await made.validate()
    with pytest.raises(anthropic.NotFoundError):
        await Made(sdk, vault.id, "vcrd_none").validate()


async def test_secrets_sealed_with_another_master_key(
    api: RunningApi, sdk: anthropic.AsyncAnthropic, vault: Vault, mcp: McpServer
) -> None:
    made = await make(sdk, vault, f"{mcp.url}/mcp", "good")
    api.state.adapters.vault = SecretVault(bytes(32))
    with pytest.raises(anthropic.BadRequestError, match="master key"):
        await made.validate()
    update: Any = {"type": "mcp_oauth", "access_token": "good"}
    await sdk.beta.vaults.credentials.update(made.id, vault_id=vault.id, auth=update)
    assert (await made.validate()).status == "valid"


class TestPrivateAddressesRefused:
    """As it is unless the setting says otherwise."""

    @pytest.fixture
    def settings(self, tmp_path: pathlib.Path, database_url: str) -> Settings:
        return Settings(state_dir=tmp_path, database_url=database_url)

    async def test_mcp_server(self, sdk: anthropic.AsyncAnthropic, vault: Vault, mcp: McpServer) -> None:
        port = httpx2.URL(mcp.url).port
        for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "169.254.169.254", "[::1]"):
            made = await make(sdk, vault, f"http://{host}:{port}/mcp", "good")
            with pytest.raises(anthropic.BadRequestError, match="private, loopback or link-local") as caught:
                await made.validate()
            body: Any = caught.value.body
            assert body["error"]["details"] == {"error_code": "address_refused"}
        assert mcp.calls == []

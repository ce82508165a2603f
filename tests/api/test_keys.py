import anthropic
import httpx2
import pytest

from store.tables import api_keys
from tests.api.conftest import RunningApi


async def test_key_is_shown_once_and_stored_hashed(api: RunningApi, http: httpx2.AsyncClient) -> None:
    created = (await http.post("/v1/api_keys", json={"name": "ci"})).json()
    key = created.pop("key")
    assert key.startswith("sk-way-")
    assert created["scope"] == "member"
    assert created["hint"] == key[-4:]
    listed = await http.get("/v1/api_keys")
    assert listed.json()["data"][0] == created
    rows = await api.state.store.read(lambda db: db.execute(api_keys.select()).all())
    assert key not in str(rows) + listed.text


@pytest.mark.parametrize("header", ["authorization", "x-api-key"])
async def test_both_headers_open(api: RunningApi, header: str) -> None:
    value = f"Bearer {api.key}" if header == "authorization" else api.key
    async with httpx2.AsyncClient(base_url=api.url, headers={header: value}) as client:
        assert (await client.get("/v1/agents")).status_code == 200


@pytest.mark.parametrize(
    "headers", [{}, {"authorization": "Basic x"}, {"authorization": "Bearer"}, {"x-api-key": "sk-way-wrong"}]
)
async def test_wrong_key_is_refused(api: RunningApi, headers: dict[str, str]) -> None:
    async with httpx2.AsyncClient(base_url=api.url, headers=headers) as client:
        answer = await client.get("/v1/agents")
    assert answer.status_code == 401
    assert answer.json()["error"]["type"] == "authentication_error"
    assert "wrong" not in answer.text


async def test_revocation_holds_at_once(api: RunningApi, http: httpx2.AsyncClient) -> None:
    created = (await http.post("/v1/api_keys", json={"name": "ci"})).json()
    async with anthropic.AsyncAnthropic(api_key=created["key"], base_url=api.url, max_retries=0) as client:
        await client.beta.agents.list()
        revoked = (await http.post(f"/v1/api_keys/{created['id']}/revoke")).json()
        assert revoked["revoked_at"] is not None
        with pytest.raises(anthropic.AuthenticationError):
            await client.beta.agents.list()
    assert (await http.post(f"/v1/api_keys/{created['id']}/revoke")).json() == revoked


async def test_last_admin_key_cannot_be_revoked(http: httpx2.AsyncClient) -> None:
    (admin,) = (await http.get("/v1/api_keys")).json()["data"]
    assert (await http.post(f"/v1/api_keys/{admin['id']}/revoke")).status_code == 400
    await http.post("/v1/api_keys", json={"name": "second", "scope": "admin"})
    assert (await http.post(f"/v1/api_keys/{admin['id']}/revoke")).status_code == 200
    assert (await http.get("/v1/api_keys")).status_code == 401


async def test_workspace_header_must_match(sdk: anthropic.AsyncAnthropic, api: RunningApi) -> None:
    await sdk.beta.agents.list(workspace_id=api.workspace_id)
    with pytest.raises(anthropic.PermissionDeniedError):
        await sdk.beta.agents.list(workspace_id="wrkspc_other")


async def test_member_key_is_refused(member: httpx2.AsyncClient) -> None:
    answers = [
        await member.get("/v1/api_keys"),
        await member.post("/v1/api_keys", json={"name": "x", "scope": "admin"}),
        await member.post("/v1/api_keys/apikey_x/revoke"),
    ]
    assert [answer.status_code for answer in answers] == [403] * 3


async def test_key_of_unknown_workspace(http: httpx2.AsyncClient) -> None:
    answer = await http.post("/v1/api_keys", json={"name": "x", "workspace_id": "wrkspc_nobody"})
    assert answer.status_code == 404


async def test_list_is_filtered_by_workspace(api: RunningApi, http: httpx2.AsyncClient) -> None:
    other = (await http.post("/v1/workspaces", json={"name": "team"})).json()["id"]
    made = (await http.post("/v1/api_keys", json={"name": "x", "workspace_id": other})).json()["id"]
    listed = (await http.get("/v1/api_keys", params={"workspace_id": other})).json()["data"]
    assert [item["id"] for item in listed] == [made]

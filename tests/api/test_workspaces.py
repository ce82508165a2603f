import httpx2

from tests.api.conftest import RunningApi


async def test_create_retrieve_and_list(api: RunningApi, http: httpx2.AsyncClient) -> None:
    created = (await http.post("/v1/workspaces", json={"name": "team"})).json()
    assert created["type"] == "workspace"
    assert (await http.get(f"/v1/workspaces/{created['id']}")).json() == created
    listed = (await http.get("/v1/workspaces")).json()["data"]
    assert [item["id"] for item in listed] == [created["id"], api.workspace_id]


async def test_new_workspace_has_a_default_environment(api: RunningApi, http: httpx2.AsyncClient) -> None:
    workspace = (await http.post("/v1/workspaces", json={"name": "team"})).json()
    body = {"name": "k", "workspace_id": workspace["id"]}
    key = (await http.post("/v1/api_keys", json=body)).json()["key"]
    async with httpx2.AsyncClient(base_url=api.url, headers={"x-api-key": key}) as other:
        environments = (await other.get("/v1/environments")).json()["data"]
    assert [item["name"] for item in environments] == ["default"]


async def test_member_key_is_refused(member: httpx2.AsyncClient) -> None:
    answers = [await member.get("/v1/workspaces"), await member.post("/v1/workspaces", json={"name": "x"})]
    assert [answer.status_code for answer in answers] == [403, 403]
    assert answers[0].json()["error"]["details"] == {"error_code": "api_key_scope_missing"}


async def test_unknown_workspace(http: httpx2.AsyncClient) -> None:
    assert (await http.get("/v1/workspaces/wrkspc_nobody")).status_code == 404

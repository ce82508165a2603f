"""No route shows or changes anything of another workspace."""

from typing import Any

import httpx2
import pytest

from tests.api.sessions import create_agent, create_session, message
from tests.openapi_document import openapi_document

pytestmark = pytest.mark.usefixtures("stub_runtime")

Json = dict[str, Any]

FOR_ADMINS = ("/v1/workspaces/", "/v1/api_keys/", "/v1/organizations/")
"""What admin keys may do for any workspace, and others for none: 403 rather than 404."""
SKILL = b"---\nname: mine\ndescription: d\n---\n"


def walk() -> list[tuple[str, str]]:
    """Return every method and path that names an object and needs no body to be tried; streams have their own test."""
    found = []
    for path, methods in openapi_document()["paths"].items():
        for method, operation in methods.items():
            tried = "200" in operation["responses"] and not operation.get("requestBody", {}).get("required", False)
            if "{" in path and path.startswith("/v1/") and tried and not path.endswith("/stream"):
                found.append((method.upper(), path))
    return found


async def objects(http: httpx2.AsyncClient) -> dict[str, str]:
    """Make one of each in the first workspace; return their ids by the names that paths have for them."""

    async def made(path: str, /, **body: Any) -> str:
        answer = await http.post(path, json=body)
        assert answer.status_code == 200, (path, answer.text)
        return str(answer.json()["id"])

    async def first(path: str) -> str:
        return str((await http.get(path)).json()["data"][0]["id"])

    agent = await create_agent(http, model="ours")
    session = await create_session(http, agent["id"], initial_events=[message("mine")])
    store, vault = await made("/v1/memory_stores", name="m"), await made("/v1/vaults", display_name="v")
    deployment = await made("/v1/deployments", name="d", agent=agent["id"], initial_events=[message("run")])
    token = {"type": "static_bearer", "mcp_server_url": "https://mcp.example.com", "token": "t"}
    webhook = {"url": "https://example.com", "enabled_events": ["external_key.failed"]}
    skill = (await http.post("/v1/skills", files=[("files[]", ("mine/SKILL.md", SKILL))])).json()
    file = (await http.post("/v1/files", files={"file": ("a.txt", b"mine")})).json()
    return {
        "agent_id": agent["id"],
        "session_id": session["id"],
        "thread_id": await first(f"/v1/sessions/{session['id']}/threads"),
        "resource_id": "sesrsc_unknown",
        "environment_id": await made("/v1/environments", name="e", config={"type": "self_hosted"}),
        "work_id": "work_unknown",
        "runtime": await first("/v1/runtimes"),
        "memory_store_id": store,
        "memory_id": await made(f"/v1/memory_stores/{store}/memories", path="/a", content="mine"),
        "memory_version_id": await first(f"/v1/memory_stores/{store}/memory_versions"),
        "vault_id": vault,
        "credential_id": await made(f"/v1/vaults/{vault}/credentials", auth=token),
        "deployment_id": deployment,
        "deployment_run_id": await made(f"/v1/deployments/{deployment}/run"),
        "file_id": file["id"],
        "skill_id": skill["id"],
        "version": await first(f"/v1/skills/{skill['id']}/versions"),
        "user_profile_id": await made("/v1/user_profiles", name="p"),
        "webhook_endpoint_id": await made("/v1/organizations/webhooks", **webhook),
        "model_id": "ours",
        "workspace_id": "wrkspc_default",
        "api_key_id": await first("/v1/api_keys"),
    }


async def test_what_belongs_to_another_workspace_is_not_found(
    http: httpx2.AsyncClient, stranger: httpx2.AsyncClient
) -> None:
    ids = await objects(http)
    tried = []
    for method, path in walk():
        answer = await stranger.request(method, path.format_map(ids))
        expected = 403 if path.startswith(FOR_ADMINS) else 404
        tried.append((f"{method} {path}", answer.status_code, expected))
    assert len(tried) > 15
    assert [one for one in tried if one[1] != one[2]] == []
    shown = (await http.get(f"/v1/sessions/{ids['session_id']}")).json()
    assert (shown["status"], shown["archived_at"], shown["queue"]) == ("idle", None, {"waiting": 1})


async def test_lists_hold_only_what_is_ones_own(http: httpx2.AsyncClient, stranger: httpx2.AsyncClient) -> None:
    ids = await objects(http)
    lists = [
        path
        for path, methods in openapi_document()["paths"].items()
        if "{" not in path and "200" in methods.get("get", {}).get("responses", ())
    ]
    seen = {path: (await stranger.get(path)).text for path in lists if path.startswith("/v1/")}
    assert len(seen) > 4
    assert [(path, id_) for path, text in seen.items() for id_ in ids.values() if id_ in text] == []

"""No route shows or changes anything of another workspace."""

from typing import Any

import httpx2
import pytest

from tests.api.sessions import create_agent, create_session, message
from tests.openapi_document import openapi_document

pytestmark = pytest.mark.usefixtures("stub_runtime")

Json = dict[str, Any]

OWN_TO_ALL = {"GET /v1/workspaces/{workspace_id}", "POST /v1/api_keys/{api_key_id}/revoke"}
"""What admin keys may do for any workspace, and others for none: 403 rather than 404."""


def walk() -> list[tuple[str, str]]:
    """Return every method and path that names an object and needs no body to be tried; streams have their own test."""
    found = []
    for path, methods in openapi_document()["paths"].items():
        for method, operation in methods.items():
            needs_body = operation.get("requestBody", {}).get("required", False)
            if "{" in path and path.startswith("/v1/") and not needs_body and not path.endswith("/stream"):
                found.append((method.upper(), path))
    return found


async def objects(http: httpx2.AsyncClient) -> dict[str, str]:
    """Make one of each in the first workspace; return their ids by the names that paths have for them."""
    agent = await create_agent(http)
    session = await create_session(http, agent["id"], initial_events=[message("mine")])
    environment = (await http.post("/v1/environments", json={"name": "e"})).json()
    runtime = (await http.get("/v1/runtimes")).json()["data"][0]
    return {
        "agent_id": agent["id"],
        "session_id": session["id"],
        "environment_id": environment["id"],
        "runtime": runtime["id"],
        "workspace_id": "wrkspc_default",
        "api_key_id": (await http.get("/v1/api_keys")).json()["data"][0]["id"],
    }


async def test_what_belongs_to_another_workspace_is_not_found(
    http: httpx2.AsyncClient, stranger: httpx2.AsyncClient
) -> None:
    ids = await objects(http)
    tried = []
    for method, path in walk():
        answer = await stranger.request(method, path.format_map(ids))
        expected = 403 if f"{method} {path}" in OWN_TO_ALL else 404
        tried.append((f"{method} {path}", answer.status_code, expected))
    assert len(tried) > 15
    assert [one for one in tried if one[1] != one[2]] == []
    shown = (await http.get(f"/v1/sessions/{ids['session_id']}")).json()
    assert (shown["status"], shown["archived_at"], shown["queue"]) == ("idle", None, {"waiting": 1})


async def test_lists_hold_only_what_is_ones_own(http: httpx2.AsyncClient, stranger: httpx2.AsyncClient) -> None:
    ids = await objects(http)
    lists = [path for path, methods in openapi_document()["paths"].items() if "{" not in path and "get" in methods]
    seen = {path: (await stranger.get(path)).text for path in lists if path.startswith("/v1/")}
    assert len(seen) > 4
    assert [(path, id_) for path, text in seen.items() for id_ in ids.values() if id_ in text] == []

import asyncio
from typing import Any

import anthropic
import httpx2
import pytest

pytestmark = pytest.mark.usefixtures("stub_runtime")

CUSTOM = {
    "type": "custom",
    "name": "look_up",
    "description": "Looks something up.",
    "input_schema": {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]},
}


async def test_create_minimal(sdk: anthropic.AsyncAnthropic) -> None:
    agent = await sdk.beta.agents.create(model="claude-opus-5-5", name="n")
    assert (agent.type, agent.version, agent.name, agent.model.id) == ("agent", 1, "n", "claude-opus-5-5")
    assert agent.tools == []
    assert agent.mcp_servers == []
    assert agent.skills == []
    assert agent.metadata == {}
    assert agent.model.speed == "standard"
    assert agent.system is None
    assert agent.archived_at is None
    assert agent.execution_identity.type == "service_account"
    assert agent.created_at == agent.updated_at
    assert agent.to_dict()["runtime"]["alias"] == "stub"  # type: ignore[index]
    assert agent._request_id is not None
    assert agent._request_id.startswith("req_")


async def test_create_with_everything_resolved(sdk: anthropic.AsyncAnthropic) -> None:
    agent = await sdk.beta.agents.create(
        model={"id": "m", "effort": "high", "speed": "fast"},
        name="full",
        description="d",
        system="s",
        metadata={"k": "v"},
        mcp_servers=[{"type": "url", "name": "docs", "url": "https://mcp.example.com"}],
        skills=[{"type": "anthropic", "skill_id": "xlsx"}, {"type": "custom", "skill_id": "skill_1", "version": "3"}],
        tools=[
            {
                "type": "agent_toolset_20260401",
                "default_config": {"permission_policy": {"type": "always_ask"}},
                "configs": [
                    {"name": "bash", "enabled": False},
                    {"name": "web_fetch", "allowed_domains": ["example.com"]},
                ],
            },
            {"type": "mcp_toolset", "mcp_server_name": "docs", "configs": [{"name": "search"}]},
            CUSTOM,  # type: ignore[list-item]
        ],
    )
    retrieved = await sdk.beta.agents.retrieve(agent.id)
    assert retrieved == agent
    toolset, mcp, custom = agent.tools
    assert toolset.type == "agent_toolset_20260401"
    assert toolset.default_config.enabled
    assert [(c.name, c.enabled, c.permission_policy.type) for c in toolset.configs] == [
        ("bash", False, "always_ask"),
        ("web_fetch", True, "always_ask"),
    ]
    assert mcp.type == "mcp_toolset"
    assert mcp.configs[0].permission_policy.type == "always_ask"
    assert custom.type == "custom"
    assert custom.input_schema.properties == {"q": {"type": "string"}}
    assert agent.model.effort is not None
    assert agent.model.effort.type == "high"
    assert [skill.version for skill in agent.skills] == ["latest", "3"]


async def test_update_makes_versions(sdk: anthropic.AsyncAnthropic) -> None:
    first = await sdk.beta.agents.create(model="m", name="a", system="s", metadata={"keep": "1", "drop": "2"})
    second = await sdk.beta.agents.update(
        first.id, version=1, name="b", system=None, metadata={"drop": None, "add": "3"}
    )
    assert (second.version, second.name, second.system) == (2, "b", None)
    assert second.metadata == {"keep": "1", "add": "3"}
    assert second.updated_at > first.updated_at
    assert second.created_at == first.created_at
    assert (await sdk.beta.agents.retrieve(first.id, version=1)).name == "a"
    assert (await sdk.beta.agents.retrieve(first.id)).version == 2
    versions = [agent.version async for agent in sdk.beta.agents.versions.list(first.id, limit=1)]
    assert versions == [2, 1]


async def test_update_without_change_keeps_version(sdk: anthropic.AsyncAnthropic) -> None:
    agent = await sdk.beta.agents.create(model={"id": "m", "effort": "low"}, name="a", tools=[CUSTOM])  # type: ignore[list-item]
    same = await sdk.beta.agents.update(agent.id, model="m", name="a", tools=[CUSTOM], system="")  # type: ignore[list-item]
    assert same == agent


async def test_update_of_old_version_conflicts(sdk: anthropic.AsyncAnthropic) -> None:
    agent = await sdk.beta.agents.create(model="m", name="a")
    await sdk.beta.agents.update(agent.id, name="b")
    with pytest.raises(anthropic.ConflictError) as caught:
        await sdk.beta.agents.update(agent.id, version=1, name="c")
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert caught.value.type == "conflict_error"


async def test_concurrent_updates_all_arrive(http: httpx2.AsyncClient, sdk: anthropic.AsyncAnthropic) -> None:
    agent = await sdk.beta.agents.create(model="m", name="a")
    updates = [http.post(f"/v1/agents/{agent.id}", json={"metadata": {f"k{n}": "v"}}) for n in range(5)]
    answers = await asyncio.gather(*updates)
    assert [answer.status_code for answer in answers] == [200] * 5
    latest = await sdk.beta.agents.retrieve(agent.id)
    assert (latest.version, len(latest.metadata)) == (6, 5)


async def test_concurrent_updates_of_one_version(http: httpx2.AsyncClient, sdk: anthropic.AsyncAnthropic) -> None:
    agent = await sdk.beta.agents.create(model="m", name="a")
    updates = [http.post(f"/v1/agents/{agent.id}", json={"version": 1, "name": f"n{n}"}) for n in range(5)]
    answers = await asyncio.gather(*updates)
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409, 409]


async def test_archive(sdk: anthropic.AsyncAnthropic) -> None:
    agent = await sdk.beta.agents.create(model="m", name="a")
    archived = await sdk.beta.agents.archive(agent.id)
    assert archived.archived_at is not None
    assert (await sdk.beta.agents.archive(agent.id)).archived_at == archived.archived_at
    assert [a.id async for a in sdk.beta.agents.list()] == []
    assert [a.id async for a in sdk.beta.agents.list(include_archived=True)] == [agent.id]
    with pytest.raises(anthropic.BadRequestError, match="archived"):
        await sdk.beta.agents.update(agent.id, name="b")


async def test_list_pages_and_filters(sdk: anthropic.AsyncAnthropic) -> None:
    made = [await sdk.beta.agents.create(model="m", name=str(n)) for n in range(5)]
    listed = [agent.id async for agent in sdk.beta.agents.list(limit=2)]
    assert listed == [agent.id for agent in reversed(made)]
    middle = made[2].created_at
    since = [agent.name async for agent in sdk.beta.agents.list(created_at_gte=middle)]
    until = [agent.name async for agent in sdk.beta.agents.list(created_at_lte=middle)]
    assert (since, until) == (["4", "3", "2"], ["2", "1", "0"])


async def test_unknown_agent(sdk: anthropic.AsyncAnthropic) -> None:
    with pytest.raises(anthropic.NotFoundError, match="no agent"):
        await sdk.beta.agents.retrieve("agent_nobody")
    agent = await sdk.beta.agents.create(model="m", name="a")
    with pytest.raises(anthropic.NotFoundError, match="version 7"):
        await sdk.beta.agents.retrieve(agent.id, version=7)


async def test_other_workspace_sees_nothing(stranger: httpx2.AsyncClient, sdk: anthropic.AsyncAnthropic) -> None:
    agent = await sdk.beta.agents.create(model="m", name="a")
    path = f"/v1/agents/{agent.id}"
    assert (await stranger.get(path)).status_code == 404
    assert (await stranger.post(path, json={"name": "x"})).status_code == 404
    assert (await stranger.post(f"{path}/archive")).status_code == 404
    assert (await stranger.get(f"{path}/versions")).status_code == 404
    assert (await stranger.get("/v1/agents")).json() == {"data": [], "next_page": None}


MCP = {"type": "url", "name": "s", "url": "https://e.com"}
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"name": ""}, "at least 1 character"),
    ({"name": "x" * 257}, "256"),
    ({"description": "x" * 2049}, "2048"),
    ({"system": "x" * 100_001}, "100000"),
    ({"tools": [CUSTOM] * 257}, "256"),
    ({"mcp_servers": [MCP] * 21}, "20"),
    ({"skills": [{"type": "anthropic", "skill_id": "x"}] * 21}, "20"),
    ({"metadata": {str(n): "" for n in range(17)}}, "16"),
    ({"metadata": {"k" * 65: ""}}, "64"),
    ({"metadata": {"k": "v" * 513}}, "512"),
    ({"tools": [CUSTOM, CUSTOM]}, "unique"),
    ({"mcp_servers": [MCP]}, "mcp_toolset"),
    ({"tools": [{"type": "mcp_toolset", "mcp_server_name": "s"}]}, "not in `mcp_servers`"),
    ({"tools": [{"type": "bash"}]}, "agent_toolset_20260401"),
    ({"tools": [{**CUSTOM, "input_schema": {"type": "array"}}]}, '"type": "object"'),
    ({"tools": [{"type": "agent_toolset_20260401", "configs": [{"name": "bash"}, {"name": "bash"}]}]}, "unique"),
    ({"model": 3}, "`model"),
    ({"version": 1}, "unknown field"),
    ({"multiagent": {"type": "coordinator", "agents": []}}, "`multiagent`: not offered"),
    ({"runtime": {"alias": "stub", "fallbacks": ["other"]}}, "fallbacks`: not offered"),
    ({"runtime": "nowhere"}, "aliases are: stub"),
]


@pytest.mark.parametrize(("change", "told"), REFUSED, ids=[told for _, told in REFUSED])
async def test_create_refused(http: httpx2.AsyncClient, change: dict[str, Any], told: str) -> None:
    answer = await http.post("/v1/agents", json={"name": "n", "model": "m", **change})
    assert answer.status_code == 400, answer.text
    body = answer.json()
    assert body["error"]["type"] == "invalid_request_error"
    assert told in body["error"]["message"]


async def test_update_refused(http: httpx2.AsyncClient, sdk: anthropic.AsyncAnthropic) -> None:
    agent = await sdk.beta.agents.create(model="m", name="a", metadata={str(n): "" for n in range(16)})
    for change in ({"name": None}, {"model": None}, {"metadata": {"one": "more"}}, {"version": 0}, {"version": 2**40}):
        assert (await http.post(f"/v1/agents/{agent.id}", json=change)).status_code == 400
    assert (await sdk.beta.agents.retrieve(agent.id)).version == 1


async def _register(http: httpx2.AsyncClient, alias: str, **options: Any) -> None:
    body = {"alias": alias, "kind": "stub", "base_url": "http://127.0.0.1:9", "options": options}
    assert (await http.post("/v1/runtimes", json=body)).status_code == 200


async def test_runtime_is_chosen(http: httpx2.AsyncClient) -> None:
    base = {"name": "n", "model": "m"}

    async def alias_of(**more: Any) -> str:
        answer = await http.post("/v1/agents", json={**base, **more})
        body = answer.json()
        return str(body["runtime"]["alias"] if answer.status_code == 200 else body["error"]["message"])

    await _register(http, "second", capable=True)
    assert "aliases are: second, stub" in await alias_of()
    assert await alias_of(runtime="second") == "second"
    assert await alias_of(metadata={"runtime": "second"}) == "second"
    assert await alias_of(runtime="stub", metadata={"runtime": "second"}) == "stub"
    await _register(http, "default", capable=True)
    assert await alias_of() == "default"
    full = {"alias": "second", "native_agent_id": "x1", "options": {"a": [1, None]}}
    answer = await http.post("/v1/agents", json={**base, "runtime": full})
    assert answer.json()["runtime"] == {**full, "fallbacks": []}


async def test_update_moves_runtime(http: httpx2.AsyncClient, sdk: anthropic.AsyncAnthropic) -> None:
    await _register(http, "second", capable=True)
    agent = await sdk.beta.agents.create(model="m", name="a", extra_body={"runtime": "stub"})
    moved = await sdk.beta.agents.update(agent.id, metadata={"runtime": "second"})
    assert (moved.version, moved.to_dict()["runtime"]["alias"]) == (2, "second")  # type: ignore[index]
    back = await sdk.beta.agents.update(agent.id, extra_body={"runtime": "stub"})
    assert (back.version, back.to_dict()["runtime"]["alias"]) == (3, "stub")  # type: ignore[index]


@pytest.mark.parametrize(
    ("tools", "capability"),
    [
        ([CUSTOM], "custom_tools"),
        ([{"type": "agent_toolset_20260401", "default_config": {"permission_policy": {"type": "always_ask"}}}],
         "approvals"),
        ([{"type": "agent_toolset_20260401", "configs": [{"name": "bash", "permission_policy": {"type": "auto"}}]}],
         "approvals"),
    ],
)  # fmt: skip
async def test_missing_capability_is_named(http: httpx2.AsyncClient, tools: list[Any], capability: str) -> None:
    await _register(http, "weak")
    body = {"name": "n", "model": "m", "tools": tools, "runtime": "weak"}
    answer = await http.post("/v1/agents", json=body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert f"`{capability}`" in error["message"]
    assert error["details"] == {"error_code": "unsupported_capability"}
    allowed = [{"type": "agent_toolset_20260401"}]
    assert (await http.post("/v1/agents", json={**body, "tools": allowed})).status_code == 200


async def test_mcp_servers_need_a_runtime_that_takes_them(http: httpx2.AsyncClient) -> None:
    await _register(http, "weak")
    servers = {"mcp_servers": [MCP], "tools": [{"type": "mcp_toolset", "mcp_server_name": MCP["name"]}]}
    answer = await http.post("/v1/agents", json={"name": "n", "model": "m", "runtime": "weak", **servers})
    assert (answer.status_code, "`mcp_servers`" in answer.json()["error"]["message"]) == (400, True)
    assert answer.json()["error"]["details"] == {"error_code": "unsupported_capability"}

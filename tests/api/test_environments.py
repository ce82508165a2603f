from typing import Any

import anthropic
import httpx2
import pytest

from store.tables import sessions
from tests.api.conftest import RunningApi


async def test_default_environment_always_exists(sdk: anthropic.AsyncAnthropic, http: httpx2.AsyncClient) -> None:
    (environment,) = [item async for item in sdk.beta.environments.list()]
    assert environment.name == "default"
    assert environment.config.type == "cloud"
    assert environment.config.networking.type == "unrestricted"
    with pytest.raises(anthropic.BadRequestError, match="default environment cannot be archived"):
        await sdk.beta.environments.archive(environment.id)
    with pytest.raises(anthropic.BadRequestError, match="default environment cannot be deleted"):
        await sdk.beta.environments.delete(environment.id)


async def test_create_and_retrieve(sdk: anthropic.AsyncAnthropic) -> None:
    created = await sdk.beta.environments.create(
        name="lab",
        description="d",
        metadata={"k": "v"},
        config={
            "type": "cloud",
            "networking": {"type": "limited", "allowed_hosts": ["example.com"], "allow_package_managers": True},
            "packages": {"pip": ["numpy==2.0"]},
        },
    )
    assert created.config.type == "cloud"
    assert created.config.networking.type == "limited"
    assert created.config.networking.allow_mcp_servers is False
    assert created.config.packages.pip == ["numpy==2.0"]
    assert created.config.packages.npm == []
    assert await sdk.beta.environments.retrieve(created.id) == created
    hosted = await sdk.beta.environments.create(name="own", config={"type": "self_hosted"})
    assert hosted.config.type == "self_hosted"


async def test_update_keeps_what_is_left_out(sdk: anthropic.AsyncAnthropic) -> None:
    created = await sdk.beta.environments.create(
        name="lab", description="d", metadata={"a": "1", "b": "2"}, config={"type": "cloud", "packages": {"npm": ["x"]}}
    )
    updated = await sdk.beta.environments.update(
        created.id,
        name="renamed",
        metadata={"a": "", "c": "3"},
        config={"type": "cloud", "networking": {"type": "limited", "allow_package_managers": True}},
    )
    assert updated.name == "renamed"
    assert updated.description == "d"
    assert updated.metadata == {"b": "2", "c": "3"}
    assert updated.config.type == "cloud"
    assert updated.config.packages.npm == ["x"]
    again = await sdk.beta.environments.update(created.id, name="renamed")
    assert again == updated
    cleared = await sdk.beta.environments.update(created.id, description=None)
    assert cleared.description is None


async def test_config_type_cannot_change(http: httpx2.AsyncClient, sdk: anthropic.AsyncAnthropic) -> None:
    created = await sdk.beta.environments.create(name="lab")
    answer = await http.post(f"/v1/environments/{created.id}", json={"config": {"type": "self_hosted"}})
    assert answer.status_code == 400
    assert answer.json()["error"]["details"]["error_code"] == "invalid_config_type_change"


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"scope": "account"}, "organization"),
    ({"name": ""}, "at least 1"),
    ({"config": {"type": "cloud", "networking": {"type": "limited"}, "packages": {"pip": ["x"]}}}, "allow_package"),
    ({"config": {"type": "moon"}}, "cloud"),
    ({"config": {"type": "cloud", "packages": {"brew": ["x"]}}}, "unknown field"),
]


@pytest.mark.parametrize(("change", "told"), REFUSED, ids=[told for _, told in REFUSED])
async def test_create_refused(http: httpx2.AsyncClient, change: dict[str, Any], told: str) -> None:
    answer = await http.post("/v1/environments", json={"name": "n", **change})
    assert answer.status_code == 400, answer.text
    assert told in answer.json()["error"]["message"]


async def test_archive(sdk: anthropic.AsyncAnthropic, http: httpx2.AsyncClient) -> None:
    created = await sdk.beta.environments.create(name="lab")
    archived = await sdk.beta.environments.archive(created.id)
    assert archived.archived_at is not None
    assert (await sdk.beta.environments.archive(created.id)).archived_at == archived.archived_at
    assert created.id not in [item.id async for item in sdk.beta.environments.list()]
    assert created.id in [item.id async for item in sdk.beta.environments.list(include_archived=True)]
    answer = await http.post(f"/v1/environments/{created.id}", json={"name": "x"})
    assert answer.status_code == 400
    assert answer.json()["error"]["details"]["error_code"] == "environment_archived"


async def test_delete(sdk: anthropic.AsyncAnthropic) -> None:
    created = await sdk.beta.environments.create(name="lab")
    deleted = await sdk.beta.environments.delete(created.id)
    assert (deleted.id, deleted.type) == (created.id, "environment_deleted")
    with pytest.raises(anthropic.NotFoundError) as caught:
        await sdk.beta.environments.retrieve(created.id)
    assert caught.value.body["error"]["details"] == {"error_code": "environment_not_found"}  # type: ignore[index]


async def test_delete_refused_while_sessions_refer(
    api: RunningApi, sdk: anthropic.AsyncAnthropic, stub_runtime: dict[str, Any]
) -> None:
    created = await sdk.beta.environments.create(name="lab")
    row = session_row(api.workspace_id, stub_runtime["id"], environment_id=created.id)
    await api.state.store.write(lambda db: db.execute(sessions.insert().values(row)))
    with pytest.raises(anthropic.BadRequestError, match="sessions refer"):
        await sdk.beta.environments.delete(created.id)


def session_row(workspace_id: str, runtime_id: str, **more: Any) -> dict[str, Any]:
    """A session as no route would have to make it."""
    return {
        "id": "sesn_1",
        "workspace_id": workspace_id,
        "agent_id": "agent_1",
        "agent_version": 1,
        "agent": {},
        "agent_options": {},
        "runtime_id": runtime_id,
        "runtime_alias": "stub",
        "kind": "stub",
        "environment_id": "env_1",
        "metadata": {},
        "vault_ids": [],
        "status": "idle",
        "last_seq": 0,
        "last_event_at": 0,
        "fence": 0,
        "turn_count": 0,
        "usage": {},
        "active_us": 0,
        "moved_at": 0,
        "created_at": 0,
        "updated_at": 0,
        **{name: False for name in ("single_answers",) if name in sessions.c},
        **more,
    }


async def test_other_workspace_sees_nothing(stranger: httpx2.AsyncClient, sdk: anthropic.AsyncAnthropic) -> None:
    created = await sdk.beta.environments.create(name="lab")
    path = f"/v1/environments/{created.id}"
    answers = [
        await stranger.get(path),
        await stranger.post(path, json={"name": "x"}),
        await stranger.post(f"{path}/archive"),
        await stranger.delete(path),
    ]
    assert [answer.status_code for answer in answers] == [404] * 4


async def test_list_pages(sdk: anthropic.AsyncAnthropic) -> None:
    made = [(await sdk.beta.environments.create(name=str(n))).name for n in range(4)]
    listed = [item.name async for item in sdk.beta.environments.list(limit=2)]
    assert listed == [*reversed(made), "default"]

import datetime

import anthropic
import httpx2
import pytest
import sqlalchemy as sa

from store.tables import memories, memory_versions, stored_answers
from tests.api.conftest import RunningApi


async def test_create_retrieve_and_update(sdk: anthropic.AsyncAnthropic) -> None:
    created = await sdk.beta.memory_stores.create(name="Team", description="What we know", metadata={"a": "1"})
    assert (created.type, created.name, created.description) == ("memory_store", "Team", "What we know")
    assert created.archived_at is None
    assert await sdk.beta.memory_stores.retrieve(created.id) == created
    updated = await sdk.beta.memory_stores.update(
        created.id, name="Team 2", description="", metadata={"a": None, "b": "2"}
    )
    assert (updated.name, updated.description, updated.metadata) == ("Team 2", "", {"b": "2"})
    assert updated.updated_at >= created.updated_at
    assert await sdk.beta.memory_stores.update(created.id, name=None, description=None) == updated


async def test_description_is_never_null(sdk: anthropic.AsyncAnthropic) -> None:
    assert (await sdk.beta.memory_stores.create(name="n")).description == ""


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({}, "`name`: required"),
        ({"name": ""}, "at least 1"),
        ({"name": "n" * 256}, "at most 255"),
        ({"name": "a\nb"}, "control characters"),
        ({"name": "n", "description": "d" * 1025}, "at most 1024"),
        ({"name": "n", "metadata": {str(n): "" for n in range(17)}}, "16"),
        ({"name": "n", "colour": "red"}, "unknown field"),
    ],
)
async def test_create_refused(http: httpx2.AsyncClient, body: dict[str, object], told: str) -> None:
    answer = await http.post("/v1/memory_stores", json=body)
    assert answer.status_code == 400, answer.text
    assert told in answer.json()["error"]["message"]
    assert (await http.get("/v1/memory_stores")).json()["data"] == []


async def test_list_pages_and_filters(sdk: anthropic.AsyncAnthropic) -> None:
    made = [await sdk.beta.memory_stores.create(name=str(n)) for n in range(5)]
    listed = [item.id async for item in sdk.beta.memory_stores.list(limit=2)]
    assert sorted(listed) == sorted(item.id for item in made)
    late = max(item.created_at for item in made) + datetime.timedelta(seconds=1)
    assert [item.id async for item in sdk.beta.memory_stores.list(created_at_gte=late)] == []
    assert len([item.id async for item in sdk.beta.memory_stores.list(created_at_lte=late)]) == 5
    archived = await sdk.beta.memory_stores.archive(made[0].id)
    assert archived.archived_at is not None
    assert made[0].id not in [item.id async for item in sdk.beta.memory_stores.list()]
    assert made[0].id in [item.id async for item in sdk.beta.memory_stores.list(include_archived=True)]


async def test_an_archived_store_is_read_only(sdk: anthropic.AsyncAnthropic) -> None:
    store = await sdk.beta.memory_stores.create(name="n")
    memory = await sdk.beta.memory_stores.memories.create(store.id, path="/a", content="one")
    await sdk.beta.memory_stores.memories.update(memory.id, memory_store_id=store.id, content="two")
    archived = await sdk.beta.memory_stores.archive(store.id)
    assert (await sdk.beta.memory_stores.archive(store.id)).archived_at == archived.archived_at
    for refused in (
        sdk.beta.memory_stores.update(store.id, name="x"),
        sdk.beta.memory_stores.memories.create(store.id, path="/b", content=""),
        sdk.beta.memory_stores.memories.update(memory.id, memory_store_id=store.id, content="three"),
    ):
        with pytest.raises(anthropic.BadRequestError) as caught:
            await refused
        assert caught.value.body["error"]["details"] == {"error_code": "memory_store_archived"}  # type: ignore[index]
    assert (await sdk.beta.memory_stores.memories.retrieve(memory.id, memory_store_id=store.id)).content == "two"
    redacted = await sdk.beta.memory_stores.memory_versions.redact(memory.memory_version_id, memory_store_id=store.id)
    assert redacted.redacted_at is not None
    await sdk.beta.memory_stores.memories.delete(memory.id, memory_store_id=store.id)


async def test_deleting_a_store_erases_all_it_held(api: RunningApi, sdk: anthropic.AsyncAnthropic) -> None:
    store = await sdk.beta.memory_stores.create(name="n")
    memory = await sdk.beta.memory_stores.memories.create(store.id, path="/a", content="one")
    await sdk.beta.memory_stores.memories.update(memory.id, memory_store_id=store.id, content="two")
    deleted = await sdk.beta.memory_stores.delete(store.id)
    assert (deleted.id, deleted.type) == (store.id, "memory_store_deleted")
    with pytest.raises(anthropic.NotFoundError) as caught:
        await sdk.beta.memory_stores.retrieve(store.id)
    assert caught.value.body["error"]["details"] == {"error_code": "memory_store_not_found"}  # type: ignore[index]

    def left(db: sa.Connection) -> list[int]:
        tables = (memories, memory_versions)
        return [db.execute(sa.select(sa.func.count()).select_from(table)).scalar_one() for table in tables]

    assert await api.state.store.read(left) == [0, 0]
    kept = await api.state.store.read(lambda db: str(db.execute(sa.select(stored_answers.c.body)).all()))
    assert memory.id not in kept


async def test_a_delete_sent_again_is_answered_as_the_first(http: httpx2.AsyncClient) -> None:
    store = (await http.post("/v1/memory_stores", json={"name": "n"})).json()
    first = await http.delete(f"/v1/memory_stores/{store['id']}")
    again = await http.delete(
        f"/v1/memory_stores/{store['id']}",
        headers={"x-stainless-retry-count": "1", "x-stainless-read-timeout": "0.1"},
    )
    assert (again.status_code, again.json()) == (200, first.json())
    assert (await http.delete(f"/v1/memory_stores/{store['id']}")).status_code == 404


async def test_other_workspace_sees_nothing(stranger: httpx2.AsyncClient, sdk: anthropic.AsyncAnthropic) -> None:
    store = await sdk.beta.memory_stores.create(name="n")
    memory = await sdk.beta.memory_stores.memories.create(store.id, path="/a", content="one")
    own = (await stranger.post("/v1/memory_stores", json={"name": "own"})).json()["id"]
    path = f"/v1/memory_stores/{store.id}"
    version = memory.memory_version_id
    answers = [
        await stranger.get(path),
        await stranger.post(path, json={"name": "x"}),
        await stranger.post(f"{path}/archive"),
        await stranger.get(f"{path}/memories"),
        await stranger.post(f"{path}/memories", json={"path": "/b", "content": ""}),
        await stranger.get(f"{path}/memory_versions"),
        await stranger.delete(path),
    ]
    for store_id in (store.id, own):  # not by way of a store of one's own either
        at = f"/v1/memory_stores/{store_id}"
        answers += [
            await stranger.get(f"{at}/memories/{memory.id}"),
            await stranger.post(f"{at}/memories/{memory.id}", json={"content": "x"}),
            await stranger.delete(f"{at}/memories/{memory.id}"),
            await stranger.get(f"{at}/memory_versions/{version}"),
            await stranger.post(f"{at}/memory_versions/{version}/redact"),
        ]
    assert [answer.status_code for answer in answers] == [404] * len(answers)
    assert [item["id"] for item in (await stranger.get("/v1/memory_stores")).json()["data"]] == [own]
    assert (await sdk.beta.memory_stores.memories.retrieve(memory.id, memory_store_id=store.id)).content == "one"

import datetime
from typing import Any

import anthropic
import httpx2
import pytest
import sqlalchemy as sa
from anthropic.types.beta import BetaManagedAgentsMemoryStore

from protocol.memory_stores import Author
from store.repositories.memories import create_memory
from store.tables import memory_versions, stored_answers
from tests.api.conftest import RunningApi

Store = BetaManagedAgentsMemoryStore


@pytest.fixture
async def store(sdk: anthropic.AsyncAnthropic) -> Store:
    return await sdk.beta.memory_stores.create(name="notes")


async def test_every_change_writes_a_version(http: httpx2.AsyncClient, sdk: anthropic.AsyncAnthropic) -> None:
    store = await sdk.beta.memory_stores.create(name="notes")
    (key,) = (await http.get("/v1/api_keys")).json()["data"]
    created = await sdk.beta.memory_stores.memories.create(store.id, path="/a", content="one")
    await sdk.beta.memory_stores.memories.update(created.id, memory_store_id=store.id, content="two")
    await sdk.beta.memory_stores.memories.delete(created.id, memory_store_id=store.id)
    versions = [item async for item in sdk.beta.memory_stores.memory_versions.list(store.id, view="full")]
    told = [(item.operation, item.path, item.content, item.content_size_bytes) for item in versions]
    assert told == [("deleted", "/a", None, None), ("modified", "/a", "two", 3), ("created", "/a", "one", 3)]
    assert {item.memory_id for item in versions} == {created.id}
    assert versions[2].id == created.memory_version_id
    assert versions[2].content_sha256 == created.content_sha256
    assert versions[0].content_sha256 is None
    assert versions[0].created_at > versions[1].created_at > versions[2].created_at
    for item in versions:
        assert item.created_by is not None
        assert item.created_by.to_dict() == {"type": "api_actor", "api_key_id": key["id"]}
        assert item.redacted_at is None
    one = await sdk.beta.memory_stores.memory_versions.retrieve(versions[1].id, memory_store_id=store.id)
    assert one == versions[1]
    basic = await sdk.beta.memory_stores.memory_versions.retrieve(
        versions[1].id, memory_store_id=store.id, view="basic"
    )
    assert (basic.content, basic.content_size_bytes) == (None, 3)


async def test_list_filters(api: RunningApi, sdk: anthropic.AsyncAnthropic, http: httpx2.AsyncClient) -> None:
    store = await sdk.beta.memory_stores.create(name="notes")
    (key,) = (await http.get("/v1/api_keys")).json()["data"]
    one = await sdk.beta.memory_stores.memories.create(store.id, path="/1", content="one")
    two = await sdk.beta.memory_stores.memories.update(one.id, memory_store_id=store.id, content="two")
    author = Author("session_actor", "sesn_1")
    three = await api.state.store.write(
        lambda db: create_memory(db, api.workspace_id, store.id, path="/3", content="three", author=author)
    )

    async def listed(**query: Any) -> set[str]:
        return {item.id async for item in sdk.beta.memory_stores.memory_versions.list(store.id, limit=1, **query)}

    ids = {"one": one.memory_version_id, "two": two.memory_version_id, "three": three["version_id"]}
    assert await listed() == set(ids.values())
    assert await listed(memory_id=one.id) == {ids["one"], ids["two"]}
    assert await listed(operation="modified") == {ids["two"]}
    assert await listed(api_key_id=key["id"]) == {ids["one"], ids["two"]}
    assert await listed(session_id="sesn_1") == {ids["three"]}
    assert await listed(session_id=key["id"]) == set()
    assert await listed(service_account_id="svac_1") == set()
    assert await listed(api_key_id=key["id"], operation="created") == {ids["one"]}
    late = two.updated_at + datetime.timedelta(hours=1)
    assert await listed(created_at_gte=late) == set()
    assert await listed(created_at_lte=late) == set(ids.values())
    assert await listed(created_at_lte=one.created_at, memory_id=one.id) == {ids["one"]}
    by_session = await sdk.beta.memory_stores.memory_versions.retrieve(ids["three"], memory_store_id=store.id)
    assert by_session.created_by is not None
    assert by_session.created_by.to_dict() == {"type": "session_actor", "session_id": "sesn_1"}


async def test_redaction_is_for_good(api: RunningApi, sdk: anthropic.AsyncAnthropic, store: Store) -> None:
    created = await sdk.beta.memory_stores.memories.create(store.id, path="/secret-path", content="secret words")
    version = created.memory_version_id
    with pytest.raises(anthropic.BadRequestError, match="update or delete the memory first"):
        await sdk.beta.memory_stores.memory_versions.redact(version, memory_store_id=store.id)
    await sdk.beta.memory_stores.memories.update(created.id, memory_store_id=store.id, path="/b", content="clean")
    redacted = await sdk.beta.memory_stores.memory_versions.redact(version, memory_store_id=store.id)
    assert redacted.redacted_at is not None
    assert redacted.redacted_by is not None
    assert redacted.redacted_by.type == "api_actor"
    assert (redacted.path, redacted.content, redacted.content_sha256, redacted.content_size_bytes) == (None,) * 4
    assert (redacted.operation, redacted.memory_id) == ("created", created.id)
    assert await sdk.beta.memory_stores.memory_versions.redact(version, memory_store_id=store.id) == redacted
    assert await sdk.beta.memory_stores.memory_versions.retrieve(version, memory_store_id=store.id) == redacted

    def everything(db: sa.Connection) -> str:
        return str(db.execute(sa.select(memory_versions)).all()) + str(db.execute(sa.select(stored_answers)).all())

    kept = await api.state.store.read(everything)
    assert "secret" not in kept
    assert created.content_sha256 not in kept
    assert (await sdk.beta.memory_stores.memories.retrieve(created.id, memory_store_id=store.id)).content == "clean"


async def test_a_deletion_is_redacted_too(sdk: anthropic.AsyncAnthropic, store: Store) -> None:
    created = await sdk.beta.memory_stores.memories.create(store.id, path="/a", content="one")
    await sdk.beta.memory_stores.memories.delete(created.id, memory_store_id=store.id)
    for item in [item async for item in sdk.beta.memory_stores.memory_versions.list(store.id)]:
        await sdk.beta.memory_stores.memory_versions.redact(item.id, memory_store_id=store.id)
    versions = [item async for item in sdk.beta.memory_stores.memory_versions.list(store.id, view="full")]
    assert [(item.operation, item.path, item.content) for item in versions] == [
        ("deleted", None, None),
        ("created", None, None),
    ]


async def test_unknown_version(sdk: anthropic.AsyncAnthropic, store: Store) -> None:
    for missing in (
        sdk.beta.memory_stores.memory_versions.retrieve("memver_x", memory_store_id=store.id),
        sdk.beta.memory_stores.memory_versions.redact("memver_x", memory_store_id=store.id),
    ):
        with pytest.raises(anthropic.NotFoundError) as caught:
            await missing
        body: Any = caught.value.body
        assert body["error"]["details"] == {"error_code": "memory_version_not_found"}

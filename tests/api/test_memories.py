import asyncio
import hashlib
from typing import Any

import anthropic
import httpx2
import pytest
import sqlalchemy as sa
from anthropic.types.beta import BetaManagedAgentsMemoryStore

from store.tables import stored_answers
from tests.api.conftest import RunningApi

Store = BetaManagedAgentsMemoryStore


@pytest.fixture
async def store(sdk: anthropic.AsyncAnthropic) -> Store:
    return await sdk.beta.memory_stores.create(name="notes")


def sha256(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


def error_of(caught: pytest.ExceptionInfo[anthropic.APIStatusError]) -> dict[str, Any]:
    body: Any = caught.value.body
    told: dict[str, Any] = body["error"]
    return told


async def test_create_and_retrieve(sdk: anthropic.AsyncAnthropic, store: Store) -> None:
    content = "grün\n\u00a0\U0001f600"
    created = await sdk.beta.memory_stores.memories.create(store.id, path="/a/b.md", content=content)
    assert (created.type, created.path, created.content) == ("memory", "/a/b.md", None)
    assert (created.content_sha256, created.content_size_bytes) == (sha256(content), len(content.encode()))
    assert created.memory_store_id == store.id
    retrieved = await sdk.beta.memory_stores.memories.retrieve(created.id, memory_store_id=store.id)
    assert retrieved == created.model_copy(update={"content": content})
    basic = await sdk.beta.memory_stores.memories.retrieve(created.id, memory_store_id=store.id, view="basic")
    assert basic == created
    full = await sdk.beta.memory_stores.memories.create(store.id, path="/full", content="", view="full")
    assert (full.content, full.content_size_bytes, full.content_sha256) == ("", 0, sha256(""))


async def test_largest_content(http: httpx2.AsyncClient, store: Store) -> None:
    path = f"/v1/memory_stores/{store.id}/memories"
    largest = "é" * 51_200
    assert (await http.post(path, json={"path": "/fits", "content": largest})).status_code == 200
    answer = await http.post(path, json={"path": "/over", "content": largest + "x"})
    assert answer.status_code == 400
    assert "102400" in answer.json()["error"]["message"]
    assert (await http.get(f"{path}?depth=1")).json()["data"][0]["content_size_bytes"] == 102_400


@pytest.mark.parametrize("path", ["/" + "/".join("a" * 20), "/" + "é" * 511, "/Ö/a b.md", "/.hidden/...", "/{}%`\\"])
async def test_path_accepted(sdk: anthropic.AsyncAnthropic, store: Store, path: str) -> None:
    await sdk.beta.memory_stores.memories.create(store.id, path=path, content="x")
    (listed,) = [item async for item in sdk.beta.memory_stores.memories.list(store.id)]
    assert listed.path == path


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("a", "at least 2"),
        ("a/b", "begin with"),
        ("/", "at least 2"),
        ("//", "empty"),
        ("/a/", "empty"),
        ("/a//b", "empty"),
        ("/a/./b", "`..`"),
        ("/..", "`..`"),
        ("/" + "/".join("a" * 21), "20 segments"),
        ("/" + "é" * 512, "1024 bytes"),
        ("/a\tb", "control"),
        ("/a\u200bb", "format"),
        ("/a\u2028b", "separators"),
        ("/O\u0308", "Normalization Form C"),
        ("/a\x00", "NUL"),
        (None, "string"),
    ],
)
async def test_path_refused(http: httpx2.AsyncClient, store: Store, path: object, told: str) -> None:
    at = f"/v1/memory_stores/{store.id}/memories"
    answer = await http.post(at, json={"path": path, "content": "x"})
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error"), answer.text
    assert told in answer.json()["error"]["message"]
    assert (await http.get(at)).json()["data"] == []


async def test_update_content_and_path(sdk: anthropic.AsyncAnthropic, store: Store) -> None:
    memories = sdk.beta.memory_stores.memories
    created = await memories.create(store.id, path="/a", content="one")
    changed = await memories.update(created.id, memory_store_id=store.id, content="two", view="full")
    assert (changed.id, changed.path, changed.content) == (created.id, "/a", "two")
    assert changed.memory_version_id != created.memory_version_id
    assert changed.updated_at > created.updated_at
    moved = await memories.update(created.id, memory_store_id=store.id, path="/a/b")
    assert (moved.id, moved.path, moved.content_sha256) == (created.id, "/a/b", sha256("two"))
    same = await memories.update(created.id, memory_store_id=store.id, path="/a/b", content="two")
    assert same == moved
    versions = [item async for item in sdk.beta.memory_stores.memory_versions.list(store.id)]
    assert [item.id for item in versions] == [
        moved.memory_version_id,
        changed.memory_version_id,
        created.memory_version_id,
    ]


async def test_precondition(sdk: anthropic.AsyncAnthropic, store: Store) -> None:
    memories = sdk.beta.memory_stores.memories
    created = await memories.create(store.id, path="/a", content="one")
    with pytest.raises(anthropic.ConflictError) as caught:
        await memories.update(
            created.id,
            memory_store_id=store.id,
            content="three",
            precondition={"type": "content_sha256", "content_sha256": sha256("two")},
        )
    assert error_of(caught)["type"] == "memory_precondition_failed_error"
    assert caught.value.response.headers["x-should-retry"] == "false"
    held = await memories.retrieve(created.id, memory_store_id=store.id)
    assert held.content == "one"
    changed = await memories.update(
        created.id,
        memory_store_id=store.id,
        path="/b",
        precondition={"type": "content_sha256", "content_sha256": held.content_sha256},
    )
    assert changed.path == "/b"


@pytest.mark.parametrize("sent", [{"type": "content_sha256"}, {"type": "content_sha256", "content_sha256": "A" * 64}])
async def test_precondition_refused(http: httpx2.AsyncClient, store: Store, sent: dict[str, str]) -> None:
    at = f"/v1/memory_stores/{store.id}/memories"
    created = (await http.post(at, json={"path": "/a", "content": "one"})).json()
    answer = await http.post(f"{at}/{created['id']}", json={"content": "two", "precondition": sent})
    assert answer.status_code == 400
    assert "precondition.content_sha256" in answer.json()["error"]["message"]


@pytest.mark.parametrize("path", ["/a/b", "/a", "/a/b/c", "/a/b/c/d"])
async def test_path_conflict(sdk: anthropic.AsyncAnthropic, store: Store, path: str) -> None:
    memories = sdk.beta.memory_stores.memories
    standing = await memories.create(store.id, path="/a/b", content="one")
    if path == "/a":
        await memories.update(standing.id, memory_store_id=store.id, path="/a/b/c")
    other = await memories.create(store.id, path="/other", content="two")
    with pytest.raises(anthropic.ConflictError) as caught:
        await memories.create(store.id, path=path, content="x")
    assert error_of(caught)["type"] == "memory_path_conflict_error"
    assert standing.id in error_of(caught)["message"]
    assert caught.value.response.headers["x-should-retry"] == "false"
    with pytest.raises(anthropic.ConflictError):
        await memories.update(other.id, memory_store_id=store.id, path=path)
    assert (await memories.retrieve(other.id, memory_store_id=store.id)).path == "/other"


async def test_neighbours_do_not_conflict(sdk: anthropic.AsyncAnthropic, store: Store) -> None:
    paths = ["/a/b", "/a/b-c", "/a/B", "/a/b0", "/a!"]
    for path in paths:
        await sdk.beta.memory_stores.memories.create(store.id, path=path, content="x")
    listed = [item.path async for item in sdk.beta.memory_stores.memories.list(store.id, limit=2)]
    assert listed == sorted(paths)


async def test_delete(sdk: anthropic.AsyncAnthropic, store: Store) -> None:
    memories = sdk.beta.memory_stores.memories
    created = await memories.create(store.id, path="/a", content="one")
    with pytest.raises(anthropic.ConflictError) as caught:
        await memories.delete(created.id, memory_store_id=store.id, expected_content_sha256=sha256("two"))
    assert error_of(caught)["type"] == "memory_precondition_failed_error"
    deleted = await memories.delete(created.id, memory_store_id=store.id, expected_content_sha256=sha256("one"))
    assert (deleted.id, deleted.type) == (created.id, "memory_deleted")
    for gone in (
        memories.retrieve(created.id, memory_store_id=store.id),
        memories.delete(created.id, memory_store_id=store.id),
        memories.update(created.id, memory_store_id=store.id, content="x"),
    ):
        with pytest.raises(anthropic.NotFoundError) as missing:
            await gone
        assert error_of(missing)["details"] == {"error_code": "memory_not_found"}
    again = await memories.create(store.id, path="/a", content="new")
    assert again.id != created.id


LISTED = ["/a/x.md", "/a/y/1.md", "/a/y/2.md", "/a/y/z/3.md", "/a-b/4.md", "/a0", "/top.md"]


@pytest.mark.parametrize(
    ("prefix", "depth", "expected"),
    [
        ("/", 0, sorted(LISTED)),
        ("/", 1, ["/a-b/", "/a/", "/a0", "/top.md"]),
        ("/", 2, ["/a-b/4.md", "/a/x.md", "/a/y/", "/a0", "/top.md"]),
        ("/", 20, sorted(LISTED)),
        ("/a/", 0, ["/a/x.md", "/a/y/1.md", "/a/y/2.md", "/a/y/z/3.md"]),
        ("/a/", 1, ["/a/x.md", "/a/y/"]),
        ("/a/y/", 1, ["/a/y/1.md", "/a/y/2.md", "/a/y/z/"]),
        ("/nothing/", 1, []),
    ],
)
async def test_list_by_folder(
    sdk: anthropic.AsyncAnthropic, store: Store, prefix: str, depth: int, expected: list[str]
) -> None:
    for path in LISTED:
        await sdk.beta.memory_stores.memories.create(store.id, path=path, content=path)
    for limit in (1, 2, 100):
        pages = sdk.beta.memory_stores.memories.list(
            store.id, path_prefix=prefix, depth=depth, limit=limit, view="full"
        )
        items = [item async for item in pages]
        assert [item.path for item in items] == expected
        for item in items:
            assert item.type == ("memory_prefix" if item.path.endswith("/") else "memory")
            if item.type == "memory":
                assert item.content == item.path


async def test_a_page_of_contents_is_bounded(http: httpx2.AsyncClient, store: Store) -> None:
    at = f"/v1/memory_stores/{store.id}/memories"
    for n in range(22):
        await http.post(at, json={"path": f"/{n}", "content": "x"})
    full = (await http.get(at, params={"limit": 100, "view": "full"})).json()
    assert (len(full["data"]), full["next_page"] is None) == (20, False)
    basic = (await http.get(at, params={"limit": 100})).json()
    assert (len(basic["data"]), basic["next_page"], basic["data"][0]["content"]) == (22, None, None)


async def test_the_longest_path_fits_a_cursor(http: httpx2.AsyncClient, store: Store) -> None:
    at = f"/v1/memory_stores/{store.id}/memories"
    for last in "ab":
        await http.post(at, json={"path": "/" + '"' * 1022 + last, "content": "x"})
    first = (await http.get(at, params={"limit": 1})).json()
    second = await http.get(at, params={"limit": 1, "page": first["next_page"]})
    assert second.json()["data"][0]["path"].endswith("b")


@pytest.mark.parametrize(
    "query",
    [
        {"path_prefix": "a/"},
        {"path_prefix": "/a"},
        {"path_prefix": "/../"},
        {"depth": -1},
        {"depth": 21},
        {"view": "all"},
        {"limit": 101},
        {"page": "x"},
    ],
)
async def test_list_refused(http: httpx2.AsyncClient, store: Store, query: dict[str, Any]) -> None:
    answer = await http.get(f"/v1/memory_stores/{store.id}/memories", params=query)
    assert answer.status_code == 400, answer.text
    assert f"`{next(iter(query))}`" in answer.json()["error"]["message"]


async def test_no_update_is_lost_among_concurrent_writers(sdk: anthropic.AsyncAnthropic, store: Store) -> None:
    """Each writer appends its line by read, precondition, write, and again after a conflict."""
    memories = sdk.beta.memory_stores.memories
    created = await memories.create(store.id, path="/log", content="")
    conflicts = 0

    async def append(writer: int) -> None:
        nonlocal conflicts
        while True:
            held = await memories.retrieve(created.id, memory_store_id=store.id)
            try:
                await memories.update(
                    created.id,
                    memory_store_id=store.id,
                    content=f"{held.content}{writer}\n",
                    precondition={"type": "content_sha256", "content_sha256": held.content_sha256},
                )
            except anthropic.ConflictError:
                conflicts += 1
            else:
                return

    await asyncio.gather(*(append(writer) for writer in range(12)))
    final = await memories.retrieve(created.id, memory_store_id=store.id)
    assert sorted((final.content or "").split(), key=int) == [str(writer) for writer in range(12)]
    assert conflicts > 0
    versions = [item async for item in sdk.beta.memory_stores.memory_versions.list(store.id, limit=5, view="full")]
    assert len(versions) == 13
    sizes = [item.content_size_bytes or 0 for item in versions]
    assert sizes == sorted(sizes, reverse=True)


async def test_one_of_many_takes_a_path(sdk: anthropic.AsyncAnthropic, store: Store) -> None:
    """Half of them create at the path, half move a memory there."""
    memories = sdk.beta.memory_stores.memories
    moving = [await memories.create(store.id, path=f"/from/{n}", content=str(n)) for n in range(5)]
    takers = [memories.create(store.id, path="/taken", content="new") for _ in range(5)]
    takers += [memories.update(item.id, memory_store_id=store.id, path="/taken") for item in moving]
    results = await asyncio.gather(*takers, return_exceptions=True)
    assert len([result for result in results if not isinstance(result, Exception)]) == 1
    assert all(isinstance(result, anthropic.ConflictError) for result in results if isinstance(result, Exception))
    listed = [item.path async for item in memories.list(store.id)]
    assert listed.count("/taken") == 1


async def test_a_post_sent_again_has_one_effect(api: RunningApi, http: httpx2.AsyncClient, store: Store) -> None:
    at = f"/v1/memory_stores/{store.id}/memories"
    body = {"path": "/a", "content": "once only"}
    headers = {"idempotency-key": "k1"}
    first = await http.post(at, json=body, headers=headers, params={"view": "full"})
    again = await http.post(at, json=body, headers=headers, params={"view": "full"})
    assert (first.status_code, first.json()) == (200, again.json())
    assert again.json()["content"] == "once only"
    kept = await api.state.store.read(lambda db: str(db.execute(sa.select(stored_answers.c.body)).all()))
    assert "once only" not in kept

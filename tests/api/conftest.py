"""The application, running on a free port, with the official client and a plain one in front of it."""

import asyncio
import pathlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import anthropic
import httpx2
import pytest
import uvicorn

from api.app import create_app, new_state
from api.deps import AppState
from runtimes.registry import KINDS, Entry
from security.keys import new_key
from settings import Settings
from store.engine import Store
from store.repositories.access import create_api_key, create_workspace
from tests.conftest import free_port


@dataclass
class RunningApi:
    """An API that serves. `key` is an admin key of `workspace_id`."""

    url: str
    key: str
    workspace_id: str
    state: AppState


@pytest.fixture
def stub_kind(monkeypatch: pytest.MonkeyPatch) -> str:
    """A runtime kind without capabilities."""
    monkeypatch.setitem(KINDS, "stub", Entry("tests.api.stub_runtime:StubRuntime", "only for tests"))
    return "stub"


@pytest.fixture
def settings(tmp_path: pathlib.Path, database_url: str) -> Settings:
    return Settings(
        state_dir=tmp_path,
        database_url=database_url,
        max_body_bytes=200_000,
        max_file_bytes=1_000_000,
        max_skill_bytes=100_000,
    )


class KeptStore(Store):
    """The suite's store, which outlives the application."""

    def __init__(self, kept: Store) -> None:
        self._kept = kept
        self.url, self.dialect = kept.url, kept.dialect

    async def read(self, work: Callable[..., Any]) -> Any:
        return await self._kept.read(work)

    async def write(self, work: Callable[..., Any]) -> Any:
        return await self._kept.write(work)

    async def close(self) -> None:
        return


@pytest.fixture
async def api(db_store: Store, settings: Settings, stub_kind: str) -> AsyncIterator[RunningApi]:
    """The API on a free port, with one workspace, an admin key, and a runtime `stub` that can do everything."""
    key = new_key()
    workspace = await db_store.write(lambda db: create_workspace(db, "first"))
    await db_store.write(
        lambda db: create_api_key(db, workspace_id=workspace["id"], name="admin", scope="admin", key=key)
    )
    state = new_state(settings, KeptStore(db_store))
    port = free_port()
    server = uvicorn.Server(
        uvicorn.Config(create_app(state), port=port, access_log=False, log_config=None, timeout_graceful_shutdown=2)
    )
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn tells it by this flag alone
        await asyncio.sleep(0.01)
    yield RunningApi(f"http://127.0.0.1:{port}", key, workspace["id"], state)
    server.should_exit = True
    await serving


@pytest.fixture
async def http(api: RunningApi) -> AsyncIterator[httpx2.AsyncClient]:
    """A plain client that sends the admin key."""
    async with httpx2.AsyncClient(base_url=api.url, headers={"authorization": f"Bearer {api.key}"}) as client:
        yield client


@pytest.fixture
async def member(api: RunningApi) -> AsyncIterator[httpx2.AsyncClient]:
    """A plain client that sends a member key of the same workspace."""
    key = new_key()
    await api.state.store.write(
        lambda db: create_api_key(db, workspace_id=api.workspace_id, name="member", scope="member", key=key)
    )
    async with httpx2.AsyncClient(base_url=api.url, headers={"x-api-key": key}) as client:
        yield client


@pytest.fixture
async def stranger(api: RunningApi) -> AsyncIterator[httpx2.AsyncClient]:
    """A plain client that sends a member key of another workspace."""
    key = new_key()
    other = await api.state.store.write(lambda db: create_workspace(db, "second"))
    await api.state.store.write(
        lambda db: create_api_key(db, workspace_id=other["id"], name="member", scope="member", key=key)
    )
    async with httpx2.AsyncClient(base_url=api.url, headers={"x-api-key": key}) as client:
        yield client


@pytest.fixture
async def sdk(api: RunningApi) -> AsyncIterator[anthropic.AsyncAnthropic]:
    """The official client, which refuses any answer that is not of its shapes."""
    async with anthropic.AsyncAnthropic(
        api_key=api.key, base_url=api.url, max_retries=0, _strict_response_validation=True
    ) as client:
        yield client


@pytest.fixture
async def stub_runtime(http: httpx2.AsyncClient) -> dict[str, Any]:
    """A registered runtime `stub` that has custom tools and approvals."""
    body = {"alias": "stub", "kind": "stub", "base_url": "http://127.0.0.1:9", "options": {"capable": True}}
    answer = await http.post("/v1/runtimes", json=body)
    assert answer.status_code == 200, answer.text
    registered: dict[str, Any] = answer.json()
    return registered

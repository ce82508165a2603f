"""A real OpenCode server for the folder's tests, whose model is the fake one, and an adapter on it."""

import asyncio
import pathlib
from collections.abc import AsyncIterator, Iterator

import pytest
from pydantic import SecretStr

from runtimes.base import Connection
from runtimes.opencode.install import BINARY
from runtimes.opencode.runtime import OpenCodeRuntime
from runtimes.opencode.testing import OpenCodeServer
from tests.fake_model import FakeModel


@pytest.fixture(scope="session")
def fake_model() -> Iterator[FakeModel]:
    with FakeModel() as model:
        yield model


@pytest.fixture(scope="session")
async def server(tmp_path_factory: pytest.TempPathFactory, fake_model: FakeModel) -> AsyncIterator[OpenCodeServer]:
    if not BINARY.exists():
        pytest.fail("OpenCode is not installed: run `python -m runtimes.opencode.install`", pytrace=False)
    running = OpenCodeServer(tmp_path_factory.mktemp("opencode"), fake_model.url)
    await asyncio.to_thread(running.start)
    yield running
    await asyncio.to_thread(running.stop)


@pytest.fixture
async def runtime(server: OpenCodeServer, tmp_path: pathlib.Path) -> AsyncIterator[OpenCodeRuntime]:
    options = {"workspaces_root": str(tmp_path), "local_workspaces": True, "lost_after_s": 5.0}
    adapter = OpenCodeRuntime(Connection("rt_1", server.url, SecretStr(server.password), options))
    yield adapter
    await adapter.close()

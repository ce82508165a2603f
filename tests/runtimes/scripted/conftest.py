from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from runtimes.scripted.testing import ScriptedServer

from .driver import Driver, driving


@pytest.fixture(scope="session")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ScriptedServer]:
    """One server for all tests that do not end it."""
    async with ScriptedServer(tmp_path_factory.mktemp("scripted"), heartbeat_s=0.1) as server:
        yield server


@pytest.fixture
async def own_server(tmp_path: Path) -> AsyncIterator[ScriptedServer]:
    """A server that the test may kill."""
    async with ScriptedServer(tmp_path / "scripted", heartbeat_s=0.1) as server:
        yield server


@pytest.fixture
async def driver(server: ScriptedServer) -> AsyncIterator[Driver]:
    """A new session, in the mode in which sends have a key."""
    async with driving(server.url) as driver:
        yield driver

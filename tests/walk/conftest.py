"""The runtimes that the walk is taken on: each with an agent, and messages that make it answer, ask and take long."""

import asyncio
import pathlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from runtimes.opencode.install import BINARY
from runtimes.opencode.testing import OpenCodeServer
from tests.driver import script
from tests.engine.conftest import FAST
from tests.fake_model import FakeModel
from tests.stack import Stack

ASKING = {"type": "agent_toolset_20260401", "default_config": {"permission_policy": {"type": "always_ask"}}}


@dataclass(frozen=True)
class Ground:
    """A runtime to walk on."""

    stack: Stack
    agent_id: str
    message: str
    asking: str
    long: str


@pytest.fixture(scope="session")
async def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    url = None
    if request.config.getoption("--database") == "postgresql":
        url = request.getfixturevalue("postgres").create_database()
    async with Stack(tmp_path_factory.mktemp("stack"), url, **FAST) as running:
        yield running


async def register(stack: Stack, **runtime: Any) -> None:
    """Register a runtime."""
    async with stack.http() as http:
        made = await http.post("/v1/runtimes", json=runtime)
        assert made.status_code == 200, made.text


@pytest.fixture(scope="session")
async def scripted(stack: Stack) -> Ground:
    agent = await stack.make_agent(extra_body={"runtime": "scripted"})
    asking = script({"tool": "bash", "input": {"command": "ls"}, "ask": True, "result": "a.txt"}, {"say": "listed"})
    return Ground(stack, agent, "hello", asking, script({"say": "begun"}, {"sleep": 60}))


@pytest.fixture(scope="session")
async def claude_managed_agents(
    stack: Stack, scripted: Ground, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Ground]:
    """A second Waystation as the provider, driven by the adapter through the official SDK."""
    async with Stack(tmp_path_factory.mktemp("provider"), **FAST) as provider:
        await register(
            stack, alias="provider", kind="claude_managed_agents", base_url=provider.url, credential=provider.key
        )
        agent = await stack.make_agent(extra_body={"runtime": "provider"})
        yield Ground(stack, agent, scripted.message, scripted.asking, scripted.long)


@pytest.fixture(scope="session")
async def opencode(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Ground]:
    """The real OpenCode server on a fake model."""
    if not BINARY.exists():
        pytest.fail("OpenCode is not installed: run `make install-opencode`", pytrace=False)
    folder: pathlib.Path = tmp_path_factory.mktemp("opencode")
    with FakeModel() as model:
        server = OpenCodeServer(folder, model.url)
        await asyncio.to_thread(server.start)
        try:
            options = {"workspaces_root": str(folder / "work"), "local_workspaces": True, "model": "fake/fake-model"}
            await register(
                stack, alias="code", kind="opencode", base_url=server.url, credential=server.password, options=options
            )
            agent = await stack.make_agent(extra_body={"runtime": "code"}, tools=[ASKING])
            yield Ground(stack, agent, "hello", "RUN:echo listed", "SLOW:200")
        finally:
            await asyncio.to_thread(server.stop)


@pytest.fixture(params=["scripted", "claude_managed_agents", pytest.param("opencode", marks=pytest.mark.opencode)])
def ground(request: pytest.FixtureRequest) -> Ground:
    """Each runtime in turn."""
    found: Ground = request.getfixturevalue(request.param)
    return found

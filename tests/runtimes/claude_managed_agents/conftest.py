"""A stand-in provider, and the adapter registered for it."""

from collections.abc import AsyncIterator, Iterator

import pytest
from pydantic import SecretStr

from runtimes.base import Agent, Connection, Session
from runtimes.claude_managed_agents.runtime import ClaudeManagedAgentsRuntime
from tests.runtimes.claude_managed_agents.stand_in import KEY, StandIn


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    server = StandIn()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def agent() -> Agent:
    definition = {"name": "n", "model": {"id": "m"}, "system": "Be brief.", "tools": [], "metadata": {"team": "blue"}}
    return Agent("agent_ours", 3, definition)


@pytest.fixture
async def runtime(stand_in: StandIn) -> AsyncIterator[ClaudeManagedAgentsRuntime]:
    adapter = ClaudeManagedAgentsRuntime(Connection("runtime_1", stand_in.url, SecretStr(KEY), {}))
    yield adapter
    await adapter.close()


@pytest.fixture
async def session(runtime: ClaudeManagedAgentsRuntime, agent: Agent) -> Session:
    native = await runtime.open_session("session_ours", agent, await runtime.upsert_agent(agent))
    return Session("session_ours", agent, native)

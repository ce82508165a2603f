"""A stand-in provider, and the adapter registered for it."""

from collections.abc import AsyncIterator, Iterator

import pytest
from pydantic import SecretStr

from runtimes.base import Agent, Connection, Session
from runtimes.claude_managed_agents.runtime import ClaudeManagedAgentsRuntime
from tests.runtimes.claude_managed_agents.stand_in import KEY, StandIn


@pytest.fixture(scope="session")
def server() -> Iterator[StandIn]:
    started = StandIn()
    started.start()
    yield started
    started.stop()


@pytest.fixture(scope="session")
async def adapter(server: StandIn) -> AsyncIterator[ClaudeManagedAgentsRuntime]:
    made = ClaudeManagedAgentsRuntime(Connection("runtime_1", server.url, SecretStr(KEY), {}))
    yield made
    await made.close()


@pytest.fixture
def stand_in(server: StandIn) -> StandIn:
    """The stand-in, as good as new."""
    server.clear()
    return server


@pytest.fixture
def agent() -> Agent:
    definition = {"name": "n", "model": {"id": "m"}, "system": "Be brief.", "tools": [], "metadata": {"team": "blue"}}
    return Agent("agent_ours", 3, definition)


@pytest.fixture
def runtime(adapter: ClaudeManagedAgentsRuntime, stand_in: StandIn) -> ClaudeManagedAgentsRuntime:
    return adapter


@pytest.fixture
async def session(runtime: ClaudeManagedAgentsRuntime, agent: Agent) -> Session:
    native = await runtime.open_session("session_ours", agent, await runtime.upsert_agent(agent))
    return Session("session_ours", agent, native)

import asyncio
import dataclasses

import pytest
from pydantic import SecretStr

from runtimes.base import Agent, Connection, Session
from runtimes.claude_managed_agents.failures import StillRunningError
from runtimes.claude_managed_agents.runtime import ClaudeManagedAgentsRuntime as Runtime
from tests.runtimes.claude_managed_agents.following import run, start
from tests.runtimes.claude_managed_agents.stand_in import KEY, StandIn


def registered(stand_in: StandIn, **options: object) -> Runtime:
    return Runtime(Connection("runtime_2", stand_in.url, SecretStr(KEY), dict(options)))


async def test_agent_and_environment_are_made_once(runtime: Runtime, agent: Agent, stand_in: StandIn) -> None:
    natives = await asyncio.gather(*(runtime.upsert_agent(agent) for _ in range(3)))
    assert natives == [{"agent_id": "agent_1", "version": 1, "environment_id": "env_1"}] * 3
    assert len(stand_in.agents) == len(stand_in.environments) == 1


async def test_agent_is_recognised_by_another_process(runtime: Runtime, agent: Agent, stand_in: StandIn) -> None:
    other = registered(stand_in)
    assert await runtime.upsert_agent(agent) == await other.upsert_agent(agent)
    assert len(stand_in.agents) == 1
    await other.close()


async def test_agent_says_whose_it_is(runtime: Runtime, agent: Agent, stand_in: StandIn) -> None:
    await runtime.upsert_agent(agent)
    made = stand_in.agents["agent_1"]
    assert made["system"] == "Be brief."
    assert made["metadata"]["team"] == "blue"
    assert (made["metadata"]["waystation_agent"], made["metadata"]["waystation_version"]) == ("agent_ours", "3")
    assert "tools" not in made


async def test_next_version_is_another_agent(runtime: Runtime, agent: Agent, stand_in: StandIn) -> None:
    await runtime.upsert_agent(agent)
    await runtime.upsert_agent(dataclasses.replace(agent, version=4))
    assert len(stand_in.agents) == 2


async def test_metadata_keeps_to_the_limit(runtime: Runtime, agent: Agent, stand_in: StandIn) -> None:
    many = {"runtime": "cma"} | {f"key{number}": "v" for number in range(16)}
    await runtime.upsert_agent(dataclasses.replace(agent, definition={**agent.definition, "metadata": many}))
    metadata = stand_in.agents["agent_1"]["metadata"]
    assert len(metadata) == 16
    assert "runtime" not in metadata


async def test_extras_reach_agent_and_session(agent: Agent, stand_in: StandIn) -> None:
    runtime = registered(stand_in, agent_extra={"runtime": "a"}, session_extra={"vault_ids": ["vlt_1"]})
    own = dataclasses.replace(agent, options={"agent_extra": {"runtime": "b"}, "environment_id": "env_own"})
    native = await runtime.open_session("session_ours", own, None)
    body = stand_in.sessions[native["session_id"]].body
    assert stand_in.agents["agent_1"]["runtime"] == "b"
    assert (body["vault_ids"], body["environment_id"]) == (["vlt_1"], "env_own")
    assert body["agent"] == {"type": "agent", "id": "agent_1", "version": 1}
    assert body["metadata"] == {"waystation_session": "session_ours"}
    assert not stand_in.environments
    await runtime.close()


async def test_given_agent_is_used_as_it_is(runtime: Runtime, agent: Agent, stand_in: StandIn) -> None:
    given = dataclasses.replace(agent, native_id="agent_given")
    native = await runtime.open_session("session_ours", given, await runtime.upsert_agent(given))
    assert stand_in.sessions[native["session_id"]].body["agent"] == {"type": "agent", "id": "agent_given"}
    assert not stand_in.agents


async def test_unknown_agent_option_needs_a_person(runtime: Runtime, agent: Agent) -> None:
    with pytest.raises(ValueError, match="colour") as refused:
        await runtime.upsert_agent(dataclasses.replace(agent, options={"colour": "red"}))
    failure = runtime.classify(refused.value)
    assert failure.kind == "needs_person"
    assert "red" not in failure.message


@pytest.mark.parametrize("mode", ["stop", "archive"])
async def test_running_session_is_interrupted_and_archived(
    runtime: Runtime, session: Session, stand_in: StandIn, mode: str
) -> None:
    await start(runtime, session, "wait")
    await stand_in.until_running(session.native["session_id"])
    for _ in range(2):
        await runtime.close_session(session, "stop" if mode == "stop" else "archive")
    assert stand_in.sessions[session.native["session_id"]].archived_at
    assert len(stand_in.asked("POST", "/archive")) == 1


async def test_delete_erases_and_repeats(runtime: Runtime, session: Session, stand_in: StandIn) -> None:
    await run(runtime, session, "hello")
    for _ in range(2):
        await runtime.close_session(session, "delete")
    assert not stand_in.sessions


async def test_session_never_opened_is_closed(runtime: Runtime, session: Session) -> None:
    await runtime.close_session(dataclasses.replace(session, native={}), "delete")


async def test_still_running_session_may_be_closed_again(runtime: Runtime) -> None:
    failure = runtime.classify(StillRunningError("still runs"))
    assert (failure.kind, failure.ambiguous) == ("retry", False)

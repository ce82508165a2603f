"""Tools of a script in a self-hosted environment: the client runs them, and the script goes on with the result."""

import dataclasses
from collections.abc import AsyncIterator

import pytest

from runtimes.base import Answer, Ask
from runtimes.scripted.testing import ScriptedServer

from .driver import AGENT, Driver, driving, kinds, script, texts

HOSTED = dataclasses.replace(AGENT, client_tools=True)


@pytest.fixture
async def hosted(server: ScriptedServer) -> AsyncIterator[Driver]:
    """A session whose built-in tools are left to the client."""
    async with driving(server.url, agent=HOSTED) as driver:
        yield driver


def ran(ask: Ask, text: str) -> Answer:
    return Answer("sevt_2", ask.native, "tool_result", content=[{"type": "text", "text": text}])


async def test_a_built_in_tool_waits_for_its_result(hosted: Driver) -> None:
    [ask] = hosted.asks(await hosted.run(script({"tool": "bash", "input": {"command": "ls"}}, {"say": "done"})))
    assert (ask.type, ask.client_tool) == ("agent.tool_use", True)
    assert ask.payload == {"name": "bash", "input": {"command": "ls"}, "evaluated_permission": "allow"}
    assert texts(await hosted.answer(ran(ask, "a.txt"))) == ["bash returned: a.txt", "done"]


async def test_one_that_asks_is_confirmed_first_and_may_be_denied(hosted: Driver) -> None:
    [ask] = hosted.asks(await hosted.run(script({"tool": "write", "input": {}, "ask": True}, {"say": "then"})))
    assert (ask.client_tool, ask.payload["evaluated_permission"]) == (True, "ask")
    events = await hosted.answer(Answer("sevt_2", ask.native, "confirmation", allow=False, deny_message="no"))
    assert texts(events, "tool_result") == ["no"]
    assert texts(events) == ["then"]


async def test_several_are_answered_in_one_set(hosted: Driver) -> None:
    first, second = hosted.asks(await hosted.run(script({"ask_all": [{"tool": "read"}, {"custom_tool": "price"}]})))
    assert (first.client_tool, second.client_tool) == (True, False)
    price = Answer("sevt_3", second.native, "custom_tool_result", content=[{"type": "text", "text": "3"}])
    assert texts(await hosted.answer(ran(first, "text"), price)) == ["read returned: text", "price returned: 3"]


async def test_other_tools_are_not_the_clients(hosted: Driver, driver: Driver) -> None:
    searched = await hosted.run(script({"tool": "web_search", "input": {}, "result": "found"}))
    assert kinds(searched) == ["tool_use", "tool_result", "end"]
    usual = await driver.run(script({"tool": "bash", "input": {}, "result": "a.txt"}))
    assert kinds(usual) == ["tool_use", "tool_result", "end"]


async def test_a_restarted_server_remembers_whose_the_tools_are(own_server: ScriptedServer) -> None:
    async with driving(own_server.url, agent=HOSTED) as hosted:
        await own_server.restart()
        [ask] = hosted.asks(await hosted.run(script({"tool": "bash", "input": {}}, {"say": "done"})))
        assert ask.client_tool
        await own_server.restart()
        assert texts(await hosted.answer(ran(ask, "x"))) == ["bash returned: x", "done"]

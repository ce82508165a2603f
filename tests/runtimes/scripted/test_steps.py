"""Each step of the script language, through the adapter, against the server in its own process."""

import asyncio
from typing import Literal

import pytest

from runtimes.base import (
    Answer,
    Ask,
    AskLostError,
    End,
    Event,
    InterruptResult,
    Message,
    Reference,
    Send,
    UnsupportedCapabilityError,
)

from .driver import Driver, kept, kinds, script, shown, texts


def allow(ask: Ask) -> Answer:
    return Answer("sevt_2", ask.native, "confirmation")


def deny(ask: Ask, message: str | None = None) -> Answer:
    return Answer("sevt_2", ask.native, "confirmation", allow=False, deny_message=message)


def result(ask: Ask, text: str) -> Answer:
    return Answer("sevt_2", ask.native, "custom_tool_result", content=[{"type": "text", "text": text}])


async def test_plain_text_is_echoed_with_usage(driver: Driver) -> None:
    events = await driver.run("grüß 🚂 dich")
    assert kinds(events) == ["message", "usage", "end"]
    assert texts(events) == ["You said: grüß 🚂 dich"] == [shown(events)]
    assert driver.translated(events)[-1] == End("end_turn")


async def test_image_is_refused_before_it_is_sent(driver: Driver) -> None:
    send = Send("turn_image", 5.0, Message("sevt_1", [{"type": "image", "source": {}}]))
    with pytest.raises(UnsupportedCapabilityError, match="content"):
        await driver.send(send)


async def test_deltas_name_the_message_they_become(driver: Driver) -> None:
    events = await driver.run(script({"say": "one two"}, {"say": "three"}))
    first, second = (event.key for event in events if event.type == "message")
    assert [event.data["of"] for event in events if event.type == "delta"] == [first, first, second]


async def test_keys_are_unique_in_the_session(driver: Driver) -> None:
    events = [event for _ in range(2) for event in await driver.run("equal text")]
    assert len({event.key for event in events}) == len(events)


async def test_say_in_pieces_and_slowly(driver: Driver) -> None:
    started = asyncio.get_running_loop().time()
    events = await driver.run(script({"say": "abcdefgh", "pieces": 4, "chunk_ms": 10}))
    assert texts(events, "delta") == ["ab", "cd", "ef", "gh"]
    assert asyncio.get_running_loop().time() - started >= 0.04


async def test_split_characters_arrive_whole(driver: Driver) -> None:
    events = await driver.run(script({"say": "é🚂ß ü", "split": True}, {"say": "plain", "split": True}))
    assert texts(events) == ["é🚂ß ü", "plain"]
    assert shown(events) == "é🚂ß üplain"


async def test_thinking_is_shown_live(driver: Driver) -> None:
    events = await driver.run(script({"think": "let me see"}))
    assert (kinds(events), shown(events)) == (["thinking", "end"], "let me see")


async def test_tool_result_refers_to_its_use(driver: Driver) -> None:
    events = await driver.run(script({"tool": "bash", "input": {"command": "ls"}, "result": "a.txt"}))
    use, told, _ = kept(events)
    (translated,) = driver.translated([told])
    assert isinstance(translated, Event)
    assert use.key is not None
    assert translated.payload["tool_use_id"] == Reference(use.key)


async def test_usage_is_told_as_given(driver: Driver) -> None:
    events = await driver.run(script({"usage": {"input_tokens": 7, "output_tokens": 9}}))
    end = driver.translated(events)[1]
    assert isinstance(end, Event)
    assert end.payload["model_usage"]["output_tokens"] == 9


@pytest.mark.parametrize(
    ("step", "end"),
    [
        ({"refuse_model": "not this"}, End("refusal")),
        ({"end_error": "broken"}, End("retries_exhausted", error="broken")),
        (
            {"end_error": "busy", "error_type": "model_overloaded_error"},
            End("retries_exhausted", error="busy", error_type="model_overloaded_error"),
        ),
    ],
)
async def test_turn_ends_otherwise(driver: Driver, step: dict[str, str], end: End) -> None:
    events = await driver.run(script(step, {"say": "never"}))
    assert driver.translated(events) == [end]


async def test_wrong_script_ends_the_turn_with_its_complaint(driver: Driver) -> None:
    (end,) = driver.translated(await driver.run("script: [{]"))
    assert isinstance(end, End)
    assert end.error is not None
    assert "not JSON" in end.error


async def test_silent_turn_sends_heartbeats(driver: Driver) -> None:
    events = await driver.run(script({"sleep": 0.35}, {"say": "done"}))
    assert sum(event.type == "heartbeat" for event in events) >= 2
    assert kinds(events) == ["message", "end"]


async def test_allowed_tool_runs_and_script_goes_on(driver: Driver) -> None:
    asked = await driver.run(script({"tool": "bash", "ask": True, "result": "ran"}, {"say": "after"}))
    assert driver.translated(asked)[-1] == End("requires_action")
    (ask,) = driver.asks(asked)
    events = await driver.answer(allow(ask))
    assert kinds(events) == ["tool_result", "message", "end"]
    assert kept(events)[0].data["tool_use"] == ask.native["ask_id"] == kept(asked)[0].key


@pytest.mark.parametrize(("message", "told"), [(None, "denied"), ("not on Sundays", "not on Sundays")])
async def test_denied_tool_is_an_error_and_script_goes_on(driver: Driver, message: str | None, told: str) -> None:
    (ask,) = driver.asks(await driver.run(script({"tool": "bash", "ask": True}, {"say": "after"})))
    refused, *rest = kept(await driver.answer(deny(ask, message)))
    assert refused.data["is_error"]
    assert told in refused.data["text"]
    assert [event.type for event in rest] == ["message", "end"]


async def test_custom_tool_result_is_quoted(driver: Driver) -> None:
    (ask,) = driver.asks(await driver.run(script({"custom_tool": "price", "input": {"of": "tea"}}, {"say": "after"})))
    assert (ask.type, ask.payload) == ("agent.custom_tool_use", {"name": "price", "input": {"of": "tea"}})
    assert texts(await driver.answer(result(ask, "3 €"))) == ["price returned: 3 €", "after"]


async def test_several_asks_are_answered_in_one_set(driver: Driver) -> None:
    steps = {"ask_all": [{"tool": "a"}, {"tool": "b"}, {"custom_tool": "c"}]}
    one, two, three = driver.asks(await driver.run(script(steps)))
    events = await driver.answer(allow(one), deny(two), result(three, "r"))
    assert kinds(events) == ["tool_result", "tool_result", "message", "end"]
    assert [event.data["is_error"] for event in events if event.type == "tool_result"] == [False, True]


async def test_asks_may_follow_asks(driver: Driver) -> None:
    first = driver.asks(await driver.run(script({"tool": "a", "ask": True}, {"tool": "b", "ask": True})))
    second = driver.asks(await driver.answer(allow(first[0])))
    assert kinds(await driver.answer(allow(second[0]))) == ["tool_result", "end"]


async def test_incomplete_set_of_answers_is_refused(driver: Driver) -> None:
    one, _ = driver.asks(await driver.run(script({"ask_all": [{"tool": "a"}, {"tool": "b"}]})))
    with pytest.raises(Exception, match="400") as refused:
        await driver.answer(allow(one))
    assert driver.runtime.classify(refused.value).kind == "terminal"


async def test_cancelled_asks_are_lost(driver: Driver) -> None:
    (ask,) = driver.asks(await driver.run(script({"tool": "a", "ask": True})))
    await driver.runtime.cancel_asks(driver.session, [ask.native])
    await driver.runtime.cancel_asks(driver.session, [ask.native])
    with pytest.raises(AskLostError):
        await driver.answer(allow(ask))


async def test_message_withdraws_what_was_asked(driver: Driver) -> None:
    (ask,) = driver.asks(await driver.run(script({"tool": "a", "ask": True})))
    assert kinds(await driver.run("never mind")) == ["message", "usage", "end"]
    with pytest.raises(AskLostError):
        await driver.answer(allow(ask))


@pytest.mark.parametrize("step", [{"sleep": 60}, {"hang": True}])
async def test_interrupt_ends_the_turn(driver: Driver, step: dict[str, object]) -> None:
    turn = await driver.start(script({"say": "wait"}, step))
    following = asyncio.ensure_future(driver.follow(turn))
    assert await driver.runtime.interrupt(driver.session, turn) == InterruptResult("accepted")
    assert await driver.runtime.interrupt(driver.session, turn) == InterruptResult("already_done")
    assert driver.translated(await following)[-1] == End("end_turn", interrupted=True)


async def test_second_message_meanwhile_is_refused_for_later(driver: Driver) -> None:
    turn = await driver.start(script({"sleep": 60}))
    with pytest.raises(Exception, match="409") as refused:
        await driver.start("too early")
    assert driver.runtime.classify(refused.value).kind == "retry"
    await driver.runtime.interrupt(driver.session, turn)


@pytest.mark.parametrize("mode", ["stop", "archive", "delete"])
async def test_closed_session_ends_its_turn_and_takes_no_more(
    driver: Driver, mode: Literal["stop", "archive", "delete"]
) -> None:
    turn = await driver.start(script({"sleep": 60}))
    following = asyncio.ensure_future(driver.follow(turn))
    for _ in range(2):
        await driver.runtime.close_session(driver.session, mode)
    assert driver.translated(await following)[-1] == End("end_turn", interrupted=True)
    with pytest.raises(Exception, match=r"410|404") as refused:
        await driver.start("more")
    assert driver.runtime.classify(refused.value).kind == "terminal"

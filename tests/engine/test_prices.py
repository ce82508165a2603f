"""What sessions cost: by list price, by the runtime's word, or unknown."""

from typing import Any

import pytest

from activities.prices import SOURCE, cost_of
from tests.driver import Driver, script
from tests.stack import Stack

MILLION = {"input_tokens": 0, "output_tokens": 1_000_000}
DOLLAR = 10**9

pytestmark = pytest.mark.timeout(120)


@pytest.mark.parametrize(
    ("model", "tokens", "dollars"),
    [
        ("claude-opus-4-5", MILLION, 25),
        ("anthropic/claude-opus-4-5", MILLION, 25),
        ("claude-opus-4-5", {"input_tokens": 1_000_000}, 5),
        ("claude-opus-4-5", {"cache_read_input_tokens": 1_000_000}, 0.5),
        ("claude-opus-4-5", {"cache_creation_input_tokens": 1_000_000}, 6.25),
        ("gemini-2.5-pro", {"input_tokens": 100_000}, 0.125),
        ("gemini-2.5-pro", {"input_tokens": 400_000}, 1),
    ],
)
def test_list_price(model: str, tokens: dict[str, int], dollars: float) -> None:
    cost = cost_of(model, tokens, None)
    assert cost is not None
    assert (cost.nano_usd, cost.source) == (round(dollars * DOLLAR), SOURCE)


@pytest.mark.parametrize("model", ["scripted", "ollama/llama3", "nobody/claude-opus-4-5", "a/b/c", "/", "x/"])
def test_unknown_models_have_no_price(model: str) -> None:
    assert cost_of(model, MILLION, None) is None


def test_what_the_runtime_says_goes_first() -> None:
    cost = cost_of("claude-opus-4-5", MILLION, 0.000155)
    assert cost is not None
    assert (cost.nano_usd, cost.source) == (155_000, "runtime")


async def usage_after(stack: Stack, model: str, *usages: dict[str, int]) -> Any:
    agent = await stack.sdk.beta.agents.create(model=model, name="priced")
    driver = await Driver.create(stack, agent.id)
    assert (await driver.client.beta.sessions.retrieve(driver.id)).usage.list_cost is None
    await driver.send(script(*[{"usage": usage} for usage in usages]))
    await driver.wait_idle()
    return (await driver.client.beta.sessions.retrieve(driver.id)).usage


async def test_a_session_tells_its_list_cost(stack: Stack) -> None:
    usage = await usage_after(stack, "claude-opus-4-5", MILLION, {"input_tokens": 1000, "output_tokens": 0})
    assert (usage.list_cost.amount, usage.list_cost.currency) == ("2501", "USD")
    assert usage.model_extra["cost_source"] == SOURCE
    assert (usage.input_tokens, usage.output_tokens) == (1000, 1_000_000)


async def test_a_session_of_an_unknown_model_tells_none(stack: Stack) -> None:
    usage = await usage_after(stack, "scripted", MILLION)
    assert usage.list_cost is None
    assert usage.model_extra["cost_source"] is None

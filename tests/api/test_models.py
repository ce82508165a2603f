"""Models over HTTP, with both faces of the official client and with a plain one."""

from typing import Any

import anthropic
import httpx2
import pytest

from tests.api.sessions import create_agent

Json = dict[str, Any]

pytestmark = [pytest.mark.timeout(60), pytest.mark.usefixtures("stub_runtime")]


async def test_models_are_those_that_agents_name(sdk: anthropic.AsyncAnthropic, http: httpx2.AsyncClient) -> None:
    for model in ("zeta", "provider/alpha", "zeta"):
        await create_agent(http, model=model)
    gone = await create_agent(http, model="gone")
    await http.post(f"/v1/agents/{gone['id']}/archive")
    changed = await create_agent(http, model="before")
    await http.post(f"/v1/agents/{changed['id']}", json={"model": "after"})
    listed = [model async for model in sdk.models.list()]
    assert [model.id for model in listed] == ["after", "provider/alpha", "zeta"]
    assert (listed[0].display_name, listed[0].capabilities, listed[0].created_at.year) == ("after", None, 1970)
    assert (await sdk.beta.models.retrieve("provider/alpha")).id == "provider/alpha"
    assert (await sdk.models.retrieve("zeta")).lifecycle == "active"
    for unknown in ("gone", "before", "provider"):
        with pytest.raises(anthropic.NotFoundError):
            await sdk.models.retrieve(unknown)


async def test_pages_lead_both_ways(sdk: anthropic.AsyncAnthropic, http: httpx2.AsyncClient) -> None:
    for model in "abcde":
        await create_agent(http, model=model)
    assert [model.id async for model in sdk.beta.models.list(limit=2)] == list("abcde")
    page = await sdk.beta.models.list(limit=2, after_id="b")
    assert ([model.id for model in page.data], page.has_more) == (["c", "d"], True)
    assert (page.first_id, page.last_id) == ("c", "d")
    before = await sdk.beta.models.list(limit=2, before_id="d")
    assert ([model.id for model in before.data], before.has_more) == (["b", "c"], True)
    first = await sdk.beta.models.list(limit=2, before_id="c")
    assert ([model.id for model in first.data], first.has_more) == (["a", "b"], False)


async def test_filter_by_lifecycle(sdk: anthropic.AsyncAnthropic, http: httpx2.AsyncClient) -> None:
    await create_agent(http, model="a")
    assert [model.id async for model in sdk.models.list(lifecycle=["active", "retired"])] == ["a"]
    assert [model.id async for model in sdk.models.list(lifecycle=["retired"])] == []


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "lifecycle=old", "after_id=a&before_id=b"])
async def test_list_refused(http: httpx2.AsyncClient, query: str) -> None:
    answer = await http.get(f"/v1/models?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


async def test_other_workspace_sees_nothing(http: httpx2.AsyncClient, stranger: httpx2.AsyncClient) -> None:
    await create_agent(http, model="secret")
    assert (await stranger.get("/v1/models")).json()["data"] == []
    assert (await stranger.get("/v1/models/secret")).status_code == 404

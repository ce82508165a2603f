"""The front with a stand-in for the server, which answers with what it was sent."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse

from tests.conformance.__main__ import serving
from tests.conformance.front import BEGIN, Front
from tests.conformance.objects import Objects
from tests.conformance.rewrite import Placeholders, Rewriter

TEST = "tests/api_resources/x.py::test_x"


@pytest.fixture
def echo() -> FastAPI:
    app = FastAPI()
    made: list[dict[str, Any]] = []

    @app.post("/v1/agents")
    async def create(request: Request) -> Any:
        made.append({"id": f"agent_{len(made) + 1}", "sent": await request.json()})
        return made[-1]

    @app.get("/v1/agents")
    async def list_(request: Request) -> Any:
        return {"data": made, "next_page": "cursor", "query": dict(request.query_params)}

    @app.get("/v1/agents/{agent}")
    async def retrieve(agent: str) -> Any:
        return {"id": agent}

    @app.post("/v1/agents/{agent}/archive")
    async def archive(agent: str) -> Any:
        return {"id": agent}

    @app.get("/v1/vaults/{vault}")
    async def broken(vault: str) -> Any:
        error = {"type": "not_found_error", "message": f"no vault {vault}"}
        return JSONResponse({"type": "error", "error": error}, 404, {"x-should-retry": "false"})

    @app.get("/v1/sessions/s/events/stream")
    async def stream() -> Any:
        async def endless() -> AsyncIterator[bytes]:
            yield b"event: ping\n\n"
            await asyncio.Event().wait()

        return StreamingResponse(endless(), media_type="text/event-stream")

    return app


@pytest.fixture
async def front(echo: FastAPI) -> AsyncIterator[Front]:
    transport = httpx2.ASGITransport(echo)
    async with (
        httpx2.AsyncClient(transport=transport, base_url="http://server") as server,
        httpx2.AsyncClient(transport=transport, base_url="http://server") as maker,
    ):
        yield Front(server, Rewriter(Objects(maker), "wrkspc_live", Placeholders()))


@pytest.fixture
async def client(front: Front) -> AsyncIterator[httpx2.AsyncClient]:
    async with serving(front) as url, httpx2.AsyncClient(base_url=url) as client:
        await client.post(BEGIN, content=TEST)
        yield client


async def test_what_is_read_is_shared_and_what_changes_is_new(client: httpx2.AsyncClient):
    made_up = "agent_011CZkYpogX7uDKUyvBTophP"
    read = [(await client.get(f"/v1/agents/{made_up}")).json()["id"] for _ in range(2)]
    changed = [(await client.post(f"/v1/agents/{made_up}/archive")).json()["id"] for _ in range(2)]
    assert read[0] == read[1]
    assert len({*read, *changed}) == 3


async def test_ids_in_bodies_are_live_and_the_rest_is_as_it_was(client: httpx2.AsyncClient):
    body = {"name": "n", "model": {"id": "m"}, "multiagent": {"agents": ["agent_011CZkYqphY8vELVzwCUpqiQ"]}}
    sent = (await client.post("/v1/agents", json=body)).json()["sent"]
    assert sent == body | {"multiagent": {"agents": ["agent_1"]}}


async def test_a_made_up_page_is_the_list_s_second(client: httpx2.AsyncClient):
    answer = (await client.get("/v1/agents?limit=0&page=page&include_archived=true&beta=true")).json()
    assert answer["query"] == {"limit": "1", "page": "cursor", "include_archived": "true", "beta": "true"}
    assert len(answer["data"]) == 2


async def test_an_error_stays_as_it_is(client: httpx2.AsyncClient, front: Front):
    answer = await client.get("/v1/vaults/vlt_x")
    assert answer.status_code == 404
    assert answer.headers["x-should-retry"] == "false"
    assert json.loads(answer.content)["error"]["message"] == "no vault vlt_x"
    (exchange,) = front.seen[TEST]
    assert (exchange.status, exchange.error) == (404, "not_found_error")
    assert "POST /v1/vaults: 404" in exchange.unprepared


async def test_the_workspace_is_the_live_one(echo: FastAPI, client: httpx2.AsyncClient):
    @echo.get("/v1/dreams")
    async def dreams(request: Request) -> Any:
        return dict(request.headers)

    answer = (await client.get("/v1/dreams", headers={"anthropic-workspace-id": "wrkspc_x", "x-api-key": "k"})).json()
    assert (answer["anthropic-workspace-id"], answer["x-api-key"]) == ("wrkspc_live", "k")

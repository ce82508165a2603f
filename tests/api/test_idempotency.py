"""`Idempotency-Key` on everything that changes something: one effect, and the same answer again."""

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from api.app import ROUTERS
from api.resends import attempt_of, upload_attempt
from store.engine import Store
from store.tables import stored_answers
from tests.api.sessions import create_agent, create_session

pytestmark = pytest.mark.usefixtures("stub_runtime")

_NEW = [
    ("/v1/agents", {"name": "a", "model": "m"}),
    ("/v1/environments", {"name": "e"}),
    ("/v1/runtimes", {"alias": "another", "kind": "stub", "base_url": "http://127.0.0.1:1"}),
    ("/v1/workspaces", {"name": "w"}),
    ("/v1/api_keys", {"name": "k"}),
]


def _calls(dependant: Dependant) -> Iterator[Any]:
    yield dependant.call
    for below in dependant.dependencies:
        yield from _calls(below)


def test_every_change_is_answered_once() -> None:
    changing = [
        route
        for router in ROUTERS
        for route in router.routes
        if isinstance(route, APIRoute) and route.methods & {"POST", "DELETE"} and route.status_code != 400  # refused
    ]
    assert len(changing) > 15
    assert [route.path for route in changing if not {attempt_of, upload_attempt} & set(_calls(route.dependant))] == []


async def _post(http: httpx2.AsyncClient, path: str, body: Any, key: str) -> httpx2.Response:
    return await http.post(path, json=body, headers={"Idempotency-Key": key})


@pytest.mark.parametrize(("path", "body"), _NEW, ids=[path for path, _ in _NEW])
async def test_a_creation_is_repeated_by_its_answer(http: httpx2.AsyncClient, path: str, body: Any) -> None:
    before = len((await http.get(path)).json()["data"])
    answers = await asyncio.gather(*(_post(http, path, body, "one") for _ in range(5)))
    assert {answer.status_code for answer in answers} == {200}, answers[0].text
    assert len({answer.text for answer in answers}) == 1
    assert len((await http.get(path)).json()["data"]) == before + 1
    refused = await _post(http, path, {**body, "name": "other", "alias": "other"}, "one")
    assert refused.status_code in (400, 409)
    assert len((await http.get(path)).json()["data"]) == before + 1


async def test_an_update_made_for_a_version_is_repeated_by_its_answer(http: httpx2.AsyncClient) -> None:
    agent = await create_agent(http)
    path, body = f"/v1/agents/{agent['id']}", {"version": 1, "name": "b"}
    first = await _post(http, path, body, "update")
    assert (first.status_code, first.json()["version"]) == (200, 2)
    assert (await _post(http, path, body, "update")).text == first.text
    assert (await http.post(path, json=body)).status_code == 409


async def test_a_deletion_is_repeated_by_its_answer(http: httpx2.AsyncClient) -> None:
    made = (await http.post("/v1/environments", json={"name": "e"})).json()
    path, headers = f"/v1/environments/{made['id']}", {"Idempotency-Key": "gone"}
    first = await http.delete(path, headers=headers)
    assert (first.status_code, first.json()["type"]) == (200, "environment_deleted")
    assert (await http.delete(path, headers=headers)).text == first.text
    assert (await http.delete(path)).status_code == 404


async def test_an_archive_is_repeated_by_its_answer(http: httpx2.AsyncClient) -> None:
    session = await create_session(http, (await create_agent(http))["id"])
    path = f"/v1/sessions/{session['id']}"
    headers = {"Idempotency-Key": "archive"}
    first = await http.post(f"{path}/archive", headers=headers)
    assert first.status_code == 200
    assert (await http.post(f"{path}/archive", headers=headers)).text == first.text


async def test_a_check_is_repeated_by_its_answer(http: httpx2.AsyncClient) -> None:
    headers = {"Idempotency-Key": "check"}
    first = await http.post("/v1/runtimes/stub/check", headers=headers)
    assert (first.status_code, first.json()["health"]["ok"]) == (200, True)
    again = await http.post("/v1/runtimes/stub/check", headers=headers)
    assert again.text == first.text
    assert (await http.post("/v1/runtimes/stub/check")).json()["checked_at"] != first.json()["checked_at"]


async def test_a_kept_answer_holds_no_secret(http: httpx2.AsyncClient, db_store: Store) -> None:
    made = (await _post(http, "/v1/api_keys", {"name": "k"}, "secret")).json()
    assert (await _post(http, "/v1/api_keys", {"name": "k"}, "secret")).json() == made
    kept = await db_store.read(lambda db: [str(row) for row in db.execute(stored_answers.select()).all()])
    assert [row for row in kept if "sealed" in row]
    assert [row for row in kept if made["key"] in row] == []

from typing import Any

import httpx2
import pytest

from tests.api.conftest import RunningApi


@pytest.fixture
async def anyone(api: RunningApi) -> Any:
    async with httpx2.AsyncClient(base_url=api.url) as client:
        yield client


async def test_livez_and_version_need_no_key(anyone: httpx2.AsyncClient) -> None:
    assert (await anyone.get("/livez")).json() == {"status": "ok"}
    assert (await anyone.get("/version")).json().keys() == {"version"}


async def test_readyz(api: RunningApi, anyone: httpx2.AsyncClient) -> None:
    answer = await anyone.get("/readyz")
    assert answer.status_code == 200
    unknown = {"temporal": None, "kinds_without_worker": None}
    assert answer.json() == {"status": "ok", "database": True, **unknown}

    async def engine_status() -> dict[str, Any]:
        return {"temporal": False, "kinds_without_worker": ["stub"]}

    api.state.engine_status = engine_status
    answer = await anyone.get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["kinds_without_worker"] == ["stub"]


async def test_readyz_without_database(
    api: RunningApi, anyone: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(work: object) -> None:
        raise ConnectionRefusedError

    monkeypatch.setattr(api.state.store, "read", fail)
    answer = await anyone.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["database"] is False
    assert (await anyone.get("/livez")).status_code == 200


async def test_description_is_complete(anyone: httpx2.AsyncClient) -> None:
    described = (await anyone.get("/openapi.json")).json()
    assert described["components"]["securitySchemes"].keys() == {"bearer", "api_key"}
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            assert operation["description"], f"{method} {path} has no docstring"
            assert "422" not in operation["responses"]
            # What is not offered has the refusal for its answer.
            assert operation["responses"].keys() & {"200", "400"}
            assert operation["responses"].keys() >= {"4XX", "5XX"}
            assert bool(operation.get("security")) == path.startswith("/v1/")
    assert (await anyone.get("/docs")).status_code == 200

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
import sqlalchemy as sa
import structlog

from tests.api.conftest import RunningApi

AGENT = {"name": "n", "model": "m"}


def _check_envelope(answer: httpx2.Response, status: int, kind: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert body["type"] == "error"
    assert body["error"]["type"] == kind
    assert body["request_id"] == answer.headers["request-id"]
    error: dict[str, Any] = body["error"]
    return error


async def test_unknown_path(http: httpx2.AsyncClient) -> None:
    for path in ("/", "/v1/nothing", "/v1/agents/", "/v1/agents/a/b/c", "/v1/agents/%00"):
        _check_envelope(await http.get(path), 404, "not_found_error")


async def test_wrong_method_names_the_allowed(http: httpx2.AsyncClient) -> None:
    answer = await http.put("/v1/agents", json={})
    _check_envelope(answer, 405, "invalid_request_error")
    assert answer.headers["allow"] == "GET, POST"


BROKEN = [
    b"{",
    b'{"name": ',
    b"[]",
    b'"text"',
    b"null",
    b"\xff\xfe",
    b'{"name": "\\ud800", "model": "m"}',
    b'{"name": "a\\u0000b", "model": "m"}',
    b'{"name": "n", "model": "m", "metadata": {"k\\u0000": "v"}}',
    b'{"name": NaN, "model": "m"}',
    b"[" * 5000,
    b'{"a":' * 5000,
    b'{"name": "n", "model": "m", "runtime": {"alias": "stub", "options": {"x": 1e999}}}',
    b'{"name": "n", "model": "m", "version": ' + b"9" * 40 + b"}",
    b'{"name": "n", "model": "m", "version": ' + b"9" * 5000 + b"}",
]


@pytest.mark.parametrize("body", BROKEN, ids=range(len(BROKEN)))
async def test_broken_body(http: httpx2.AsyncClient, stub_runtime: dict[str, Any], body: bytes) -> None:
    answer = await http.post("/v1/agents", content=body, headers={"content-type": "application/json"})
    _check_envelope(answer, 400, "invalid_request_error")


async def test_huge_numbers_and_deep_values_are_kept(http: httpx2.AsyncClient, stub_runtime: dict[str, Any]) -> None:
    deep: Any = 1
    for _ in range(100):
        deep = [deep]
    options = {"number": 10**30, "deep": deep, "text": "\\u0000 \x7f é 🎉"}
    answer = await http.post("/v1/agents", json={**AGENT, "runtime": {"alias": "stub", "options": options}})
    assert answer.status_code == 200, answer.text
    retrieved = await http.get(f"/v1/agents/{answer.json()['id']}")
    assert retrieved.json()["runtime"]["options"] == options


async def test_missing_body(http: httpx2.AsyncClient) -> None:
    error = _check_envelope(await http.post("/v1/agents"), 400, "invalid_request_error")
    assert "must be a JSON object" in error["message"]


async def test_other_content_type(http: httpx2.AsyncClient) -> None:
    answer = await http.post("/v1/agents", content=b'{"name": "n"}', headers={"content-type": "text/plain"})
    assert "content-type: application/json" in _check_envelope(answer, 400, "invalid_request_error")["message"]


async def test_message_names_fields_and_never_values(http: httpx2.AsyncClient) -> None:
    error = _check_envelope(
        await http.post("/v1/agents", json={"name": ["hush"], "foo": "hush"}), 400, "invalid_request_error"
    )
    assert "`name`" in error["message"]
    assert "`model`: required" in error["message"]
    assert "`foo`: unknown field; remove it" in error["message"]
    assert "hush" not in error["message"]


@pytest.mark.parametrize("limit", ["0", "101", "-1", "x", "1.5", "9" * 30, ""])
async def test_limit_out_of_range(http: httpx2.AsyncClient, limit: str) -> None:
    error = _check_envelope(await http.get("/v1/agents", params={"limit": limit}), 400, "invalid_request_error")
    assert "`limit`" in error["message"]


@pytest.mark.parametrize("moment", ["yesterday", "2026-13-01T00:00:00Z", "1", "2026-01-01", "0001-01-01T00:00:00\x00"])
async def test_odd_times(http: httpx2.AsyncClient, moment: str) -> None:
    _check_envelope(await http.get("/v1/agents", params={"created_at[gte]": moment}), 400, "invalid_request_error")


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999-23:59", "2026-01-01T00:00:00"])
async def test_extreme_times(http: httpx2.AsyncClient, moment: str) -> None:
    assert (await http.get("/v1/agents", params={"created_at[gte]": moment})).status_code == 200


async def test_body_over_the_limit(http: httpx2.AsyncClient) -> None:
    answer = await http.post("/v1/agents", json={**AGENT, "system": "x" * 200_001})
    _check_envelope(answer, 413, "invalid_request_error")


async def _chunks(total: int, sent: list[int]) -> AsyncIterator[bytes]:
    while sum(sent) < total:
        sent.append(50_000)
        yield b"x" * 50_000
        await asyncio.sleep(0)


async def test_chunked_body_over_the_limit(http: httpx2.AsyncClient) -> None:
    answer = await http.post("/v1/agents", content=_chunks(300_000, []), headers={"content-type": "application/json"})
    _check_envelope(answer, 413, "invalid_request_error")


async def test_endless_body_is_cut_off(http: httpx2.AsyncClient) -> None:
    sent: list[int] = []
    try:
        answer = await http.post("/v1/agents", content=_chunks(100_000_000, sent))
    except httpx2.TransportError:  # the server hung up while it was still being sent to
        pass
    else:
        _check_envelope(answer, 413, "invalid_request_error")
    assert sum(sent) < 50_000_000


@pytest.mark.parametrize(
    ("raised", "status", "kind"),
    [
        (sa.exc.OperationalError("SELECT secret", {}, Exception("gone")), 529, "overloaded_error"),
        (sa.exc.TimeoutError("pool"), 529, "overloaded_error"),
        (ConnectionRefusedError(), 529, "overloaded_error"),
        (sa.exc.ProgrammingError("SELECT secret", {}, Exception("bug")), 500, "api_error"),
        (KeyError("secret"), 500, "api_error"),
    ],
)
async def test_failures_of_the_server(
    api: RunningApi,
    http: httpx2.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
    raised: Exception,
    status: int,
    kind: str,
) -> None:
    async def fail(work: object) -> None:
        raise raised

    monkeypatch.setattr(api.state.store, "read", fail)
    with structlog.testing.capture_logs() as lines:
        answer = await http.get("/v1/agents")
    _check_envelope(answer, status, kind)
    assert "secret" not in answer.text
    logged = [line for line in lines if line["log_level"] in ("error", "warning")]
    assert len(logged) == 1


async def test_one_line_per_request_without_secrets(api: RunningApi, http: httpx2.AsyncClient) -> None:
    with structlog.testing.capture_logs() as lines:
        answer = await http.get("/v1/agents", params={"page": "hush"})
    (line,) = [line for line in lines if line["event"] == "request"]
    assert line == {
        "event": "request",
        "log_level": "info",
        "method": "GET",
        "path": "/v1/agents",
        "status": 400,
        "ms": line["ms"],
        "workspace_id": api.workspace_id,
    }
    assert answer.headers["request-id"].startswith("req_")
    assert "hush" not in json.dumps(lines)

"""What of the server the adapter does not show: its ledger, its token, and bad requests."""

import asyncio
from pathlib import Path

import httpx2
import pytest

from runtimes.scripted.testing import ScriptedServer

from .driver import Driver, connect, driving, script


async def test_ledger_shows_every_call_in_order(server: ScriptedServer, driver: Driver) -> None:
    turn = await driver.start("hello")
    await driver.follow(turn)
    await driver.snapshot(turn)
    await driver.follow(turn)
    entries = await server.ledger(driver.session.id)
    assert [entry["call"] for entry in entries] == ["open_session", "start_turn", "snapshot", "events"]
    sent = entries[1]
    assert (sent["text"], sent["key"], sent["turn"]) == ("hello", turn.id, turn.native["turn_id"])
    assert entries == await server.ledger(driver.session.native["session_id"])
    assert [sent] == await server.ledger(driver.session.id, "start_turn")


async def test_ledger_counts_calls(own_server: ScriptedServer) -> None:
    async with driving(own_server.url) as driver:
        send = await driver.prepare("hello")
        for _ in range(2):
            await driver.follow(await driver.send(send))
        running = await driver.start(script({"sleep": 60}))
        summary = await own_server.summary()
        assert summary["calls"]["start_turn"] == {"received": 3, "accepted": 3, "attached": 1}
        assert (summary["sessions"], summary["turns"], summary["running"]) == (1, 2, 1)
        await driver.runtime.interrupt(driver.session, running)


async def test_system_message_is_in_the_ledger(server: ScriptedServer, driver: Driver) -> None:
    body = {"text": "hello", "system": "be brief"}
    async with httpx2.AsyncClient(base_url=server.url) as client:
        await client.post(f"/sessions/{driver.session.native['session_id']}/turns", json=body)
    (entry,) = await server.ledger(driver.session.id, "start_turn")
    assert entry["system"] == "be brief"


async def test_token_is_required(tmp_path: Path) -> None:
    async with ScriptedServer(tmp_path, token="right") as server:
        for token, ok in (("right", True), ("wrong", False), (None, False)):
            runtime = connect(server.url, token)
            assert (await runtime.check()).ok is ok
            await runtime.close()
        runtime = connect(server.url)
        with pytest.raises(httpx2.HTTPStatusError) as refused:
            await runtime._client.call("GET", "/health")
        assert runtime.classify(refused.value).kind == "needs_person"
        await runtime.close()


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/sessions", b"{", 400),
        ("POST", "/sessions", b"[]", 400),
        ("GET", "/sessions/none/position", b"", 404),
        ("POST", "/sessions/none/turns", b"{}", 404),
        ("GET", "/sessions/{}/turns/none", b"", 404),
        ("GET", "/sessions/{}/history?after=x", b"", 400),
        ("GET", "/nowhere", b"", 404),
    ],
)
async def test_bad_request_is_refused(
    server: ScriptedServer, driver: Driver, method: str, path: str, body: bytes, status: int
) -> None:
    url = server.url + path.format(driver.session.native["session_id"])
    async with httpx2.AsyncClient() as client:
        response = await client.request(method, url, content=body)
    assert response.status_code == status
    assert response.json()["error"]["code"]


async def test_many_slow_turns_are_open_at_once(server: ScriptedServer) -> None:
    async with driving(server.url) as driver:

        async def one() -> int:
            async with driving(server.url) as own:
                return len(await own.run(script({"sleep": 0.5}, {"say": "x"})))

        counts = await asyncio.gather(*(one() for _ in range(40)))
        assert min(counts) >= 3
        assert driver.session.native

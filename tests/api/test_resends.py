"""POSTs that are sent again: by the official client after a lost answer, and by anyone with an `Idempotency-Key`."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anthropic
import httpx2
import pytest
import sqlalchemy as sa

from protocol.errors import ConflictError
from store import stored_answers, tables
from store.engine import Store
from store.resends import Attempt, Given, RunningAttempts, repeats, was_overtaken
from tests.api.conftest import RunningApi
from tests.api.sessions import RecordedWaker, counts, create_agent, create_session, message
from tests.conftest import free_port

Json = dict[str, Any]
Verdict = str
"""`pass`, `before` (cut before the server is reached) or `after` (cut once the server has answered)."""


@pytest.fixture(autouse=True)
def waker(api: RunningApi) -> RecordedWaker:
    api.state.waker = recorded = RecordedWaker()
    return recorded


@pytest.fixture
async def agent(http: httpx2.AsyncClient, stub_runtime: Json) -> Json:
    return await create_agent(http)


async def _read_http(reader: asyncio.StreamReader) -> tuple[bytes, dict[bytes, bytes]]:
    """Return one HTTP message as it came, and its headers."""
    head = await reader.readuntil(b"\r\n\r\n")
    headers = {}
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        headers[name.lower()] = value.strip()
    return head + await reader.readexactly(int(headers.get(b"content-length", 0))), headers


class CuttingProxy:
    """Stands between client and server, and cuts connections as `judge` says of each request's first line and count."""

    def __init__(self, target_port: int, judge: Callable[[str, int], Verdict]) -> None:
        self._target_port = target_port
        self._judge = judge
        self.cuts: Counter[Verdict] = Counter()
        self.port = free_port()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        try:
            yield f"http://127.0.0.1:{self.port}"
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream = await asyncio.open_connection("127.0.0.1", self._target_port)
        try:
            while True:
                request, headers = await _read_http(reader)
                line = request.split(b"\r\n", 1)[0].decode()
                verdict = self._judge(line, int(headers.get(b"x-stainless-retry-count", b"0")))
                self.cuts[verdict] += 1
                if verdict == "before":
                    return
                upstream.write(request)
                response, _ = await _read_http(upstream_reader)
                if verdict == "after":
                    return
                writer.write(response)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()
            upstream.close()


def _judge_first_sends(verdicts: Iterator[Verdict]) -> Callable[[str, int], Verdict]:
    """Give each first attempt the next verdict; let resends pass."""

    def judge(line: str, count: int) -> Verdict:
        return next(verdicts) if count == 0 and line.startswith("POST") else "pass"

    return judge


async def _texts(http: httpx2.AsyncClient, session_id: str) -> list[str]:
    events = (await http.get(f"/v1/sessions/{session_id}/events")).json()["data"]
    return [event["content"][0]["text"] for event in events]


@pytest.mark.timeout(240)
async def test_no_cut_connection_loses_or_doubles_a_message(
    api: RunningApi, http: httpx2.AsyncClient, agent: Json, waker: RecordedWaker
) -> None:
    """500 sends by the stock client, every one cut once: 400 after the commit, 100 before the server is reached."""
    dice = random.Random(20261122)
    verdicts = ["after"] * 400 + ["before"] * 100
    texts = ["the same again"] * 200 + [f"message {number}" for number in range(300)]
    dice.shuffle(verdicts)
    dice.shuffle(texts)
    shares = [texts[:60], *(texts[start : start + 40] for start in range(60, 500, 40))]
    sessions = [(await create_session(http, agent["id"]))["id"] for _ in shares]
    proxy = CuttingProxy(int(api.url.rsplit(":", 1)[1]), _judge_first_sends(iter(verdicts)))
    answered: dict[str, list[str]] = {session_id: [] for session_id in sessions}
    started = time.monotonic()
    async with proxy.serving() as url, anthropic.AsyncAnthropic(api_key=api.key, base_url=url) as client:

        async def send_all(session_id: str, share: list[str]) -> None:
            for text in share:
                sent = await client.beta.sessions.events.send(session_id, events=[message(text)])
                answered[session_id].extend(event.id for event in sent.data or [])

        await asyncio.gather(*map(send_all, sessions, shares))
    print(f"cuts {dict(proxy.cuts)} in {time.monotonic() - started:.1f} s on {api.state.store.dialect}")
    assert (proxy.cuts["after"], proxy.cuts["before"]) == (400, 100)
    for session_id, share in zip(sessions, shares, strict=True):
        assert await _texts(http, session_id) == share
        events = (await http.get(f"/v1/sessions/{session_id}/events")).json()["data"]
        assert [event["id"] for event in events] == answered[session_id]
    assert Counter(session_id for session_id, _ in waker.woken) == {
        session_id: len(share) for session_id, share in zip(sessions, shares, strict=True)
    }


@pytest.mark.timeout(120)
async def test_equal_messages_at_once_in_one_session(api: RunningApi, http: httpx2.AsyncClient, agent: Json) -> None:
    """Concurrent equal sends, each cut once, some twice: as many messages as sends."""
    session_id = (await create_session(http, agent["id"]))["id"]
    firsts = iter(["after"] * 30 + ["before"] * 10)
    seconds = iter(["after"] * 10 + ["pass"] * 1000)

    def judge(line: str, count: int) -> Verdict:
        return next(firsts) if count == 0 else next(seconds) if count == 1 else "pass"

    proxy = CuttingProxy(int(api.url.rsplit(":", 1)[1]), judge)
    async with proxy.serving() as url, anthropic.AsyncAnthropic(api_key=api.key, base_url=url) as client:
        send = client.beta.sessions.events.send
        await asyncio.gather(*(send(session_id, events=[message("hi")]) for _ in range(40)))
    assert await _texts(http, session_id) == ["hi"] * 40


async def test_created_sessions_are_not_doubled(api: RunningApi, http: httpx2.AsyncClient, agent: Json) -> None:
    proxy = CuttingProxy(int(api.url.rsplit(":", 1)[1]), _judge_first_sends(iter(["after"] * 15 + ["before"] * 5)))
    environment = (await http.get("/v1/environments")).json()["data"][0]["id"]
    async with proxy.serving() as url, anthropic.AsyncAnthropic(api_key=api.key, base_url=url) as client:
        made = await asyncio.gather(
            *(
                client.beta.sessions.create(
                    agent=agent["id"],
                    environment_id=environment,
                    initial_events=[message("hi")],
                )
                for _ in range(20)
            )
        )
    assert len({session.id for session in made}) == 20
    rows = await counts(api.state.store)
    assert (rows["sessions"], rows["events"]) == (20, 20)


async def test_lost_answers_of_both_attempts(api: RunningApi, http: httpx2.AsyncClient, agent: Json) -> None:
    session_id = (await create_session(http, agent["id"]))["id"]
    proxy = CuttingProxy(int(api.url.rsplit(":", 1)[1]), lambda _line, count: "after" if count < 2 else "pass")
    async with proxy.serving() as url, anthropic.AsyncAnthropic(api_key=api.key, base_url=url) as client:
        await client.beta.sessions.events.send(session_id, events=[message("hi")])
    assert await _texts(http, session_id) == ["hi"]


async def test_a_refused_request_stores_nothing(api: RunningApi, http: httpx2.AsyncClient, agent: Json) -> None:
    before = await counts(api.state.store)
    for body in ({"agent": "agent_none"}, {"agent": agent["id"], "budget": {"x": 1}}):
        answer = await http.post("/v1/sessions", json=body, headers={"idempotency-key": "k"})
        assert answer.status_code in (400, 404)
    assert await counts(api.state.store) == before
    accepted = await http.post("/v1/sessions", json={"agent": agent["id"]}, headers={"idempotency-key": "k"})
    assert accepted.status_code == 200


async def test_fifty_equal_requests_with_one_key_have_one_effect(
    api: RunningApi, http: httpx2.AsyncClient, agent: Json, waker: RecordedWaker
) -> None:
    body = {"agent": agent["id"], "initial_events": [message("hi")]}
    before = await counts(api.state.store)
    answers = await asyncio.gather(
        *(http.post("/v1/sessions", json=body, headers={"idempotency-key": "one"}) for _ in range(50))
    )
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1
    rows = await counts(api.state.store)
    assert {name: rows[name] - before[name] for name in ("sessions", "events", "stored_answers")} == {
        "sessions": 1,
        "events": 1,
        "stored_answers": 1,
    }
    assert len(waker.woken) == 1


async def test_a_key_belongs_to_one_request(http: httpx2.AsyncClient, agent: Json) -> None:
    session_id = (await create_session(http, agent["id"]))["id"]
    path, headers = f"/v1/sessions/{session_id}/events", {"idempotency-key": "k"}
    first = await http.post(path, json={"events": [message("a")]}, headers=headers)
    again = await http.post(path, json={"events": [message("a")]}, headers=headers)
    assert again.json() == first.json()
    for other in (
        await http.post(path, json={"events": [message("b")]}, headers=headers),
        await http.post("/v1/sessions", json={"events": [message("a")], "agent": agent["id"]}, headers=headers),
    ):
        assert other.status_code in (400, 409)
    conflict = await http.post(path, json={"events": [message("b")]}, headers=headers)
    assert conflict.status_code == 409
    assert conflict.json()["error"]["type"] == "conflict_error"
    assert conflict.headers["x-should-retry"] == "false"
    assert await _texts(http, session_id) == ["a"]


async def test_a_key_is_each_api_keys_own(http: httpx2.AsyncClient, member: httpx2.AsyncClient, agent: Json) -> None:
    headers = {"idempotency-key": "k"}
    body = {"agent": agent["id"]}
    first = (await http.post("/v1/sessions", json=body, headers=headers)).json()
    assert (await member.post("/v1/sessions", json=body, headers=headers)).json()["id"] != first["id"]


@pytest.mark.parametrize("key", ["", "x" * 256])
async def test_bad_keys_are_refused(http: httpx2.AsyncClient, agent: Json, key: str) -> None:
    answer = await http.post("/v1/sessions", json={"agent": agent["id"]}, headers={"idempotency-key": key})
    assert answer.status_code == 400


async def test_equal_messages_without_resends_are_all_stored(http: httpx2.AsyncClient, agent: Json) -> None:
    session_id = (await create_session(http, agent["id"]))["id"]
    headers = {"x-stainless-retry-count": "0"}
    for odd in ({}, headers, {"x-stainless-retry-count": "x"}, {"x-stainless-retry-count": "-1"}):
        answer = await http.post(f"/v1/sessions/{session_id}/events", json={"events": [message("hi")]}, headers=odd)
        assert answer.status_code == 200
    assert await _texts(http, session_id) == ["hi"] * 4


async def test_a_resend_with_another_body_is_another_request(http: httpx2.AsyncClient, agent: Json) -> None:
    session_id = (await create_session(http, agent["id"]))["id"]
    path = f"/v1/sessions/{session_id}/events"
    await http.post(path, json={"events": [message("a")]}, headers={"x-stainless-retry-count": "0"})
    await http.post(path, json={"events": [message("b")]}, headers={"x-stainless-retry-count": "1"})
    assert await _texts(http, session_id) == ["a", "b"]


SECOND = 1_000_000


@pytest.mark.parametrize(
    ("count", "after_s", "given", "expected"),
    [
        (1, 0.45, Given(0, 0, 0, None), True),
        (1, 4.4, Given(0, 0, 0, None), True),
        (1, 4.6, Given(0, 0, 0, None), False),
        (2, 1.5, Given(0, 0, 0, None), True),
        (2, 10.4, Given(0, 0, 0, None), True),
        (2, 10.6, Given(0, 0, 0, None), False),
        (2, 4.9, Given(1, 0, 0, None), True),
        (2, 5.1, Given(1, 0, 0, None), False),
        (1, 0.45, Given(1, 0, 0, None), False),
        (0, 0.45, Given(0, 0, 0, None), False),
        (1, -0.1, Given(0, 0, 0, None), False),
        (1, 0.45, Given(0, 0, 5 * SECOND, None), True),
        (1, 600.5, Given(0, 0, 0, 600.0), True),
        (1, 604.6, Given(0, 0, 0, 600.0), False),
        (1, 300.0, Given(0, 0, 0, 600.0), False),
        (2, 1201.4, Given(0, 0, 0, 600.0), True),
    ],
)
def test_which_attempts_repeat_an_answer(count: int, after_s: float, given: Given, expected: bool) -> None:
    assert repeats(count, int(after_s * SECOND), given) is expected


def test_which_attempts_were_overtaken() -> None:
    assert was_overtaken(0, 5, Given(1, 6, 7, None))
    assert not was_overtaken(0, 6, Given(1, 5, 7, None))
    assert not was_overtaken(1, 5, Given(1, 6, 7, None))


def _answered(db: sa.Connection, attempt: Attempt, answer: str) -> str:
    found = stored_answers.find(db, attempt)
    if found is None:
        stored_answers.keep(db, attempt, found := {"answer": answer})
    return str(found["answer"])


async def test_an_attempt_overtaken_by_its_resend_takes_its_answer(db_store: Store) -> None:
    """As when the resend reaches another process and is done before the original."""
    original = Attempt("key", "print", retry_count=0)
    await asyncio.sleep(0.05)
    equal = Attempt("key", "print", retry_count=0)
    await asyncio.sleep(0.05)
    resend = Attempt("key", "print", retry_count=1)
    assert await db_store.write(lambda db: _answered(db, resend, "resend")) == "resend"
    assert await db_store.write(lambda db: _answered(db, original, "original")) == "resend"
    assert await db_store.write(lambda db: _answered(db, equal, "other")) == "other"
    late = Attempt("key", "print", retry_count=0)
    assert await db_store.write(lambda db: _answered(db, late, "late")) == "late"


async def test_a_resend_waits_for_the_attempt_it_repeats() -> None:
    running, order = RunningAttempts(), []

    async def run(name: str, attempt: Attempt, seconds: float) -> None:
        async with running.turn_of(attempt):
            await asyncio.sleep(seconds)
            order.append(name)

    original = asyncio.create_task(run("original", Attempt("k", "print"), 0.2))
    await asyncio.sleep(0.01)
    others = [
        run("resend", Attempt("k", "print", retry_count=1), 0),
        run("equal", Attempt("k", "print"), 0),
        run("other", Attempt("k", "else", retry_count=1), 0),
    ]
    await asyncio.gather(original, *others)
    assert order == ["equal", "other", "original", "resend"]
    assert running._running == {}


async def test_old_answers_are_deleted(db_store: Store) -> None:
    table = tables.stored_answers

    async def find(key: str) -> Json | None:
        attempt = Attempt("key", "another", idempotency_key=key)
        return await db_store.write(lambda db: stored_answers.find(db, attempt))

    def keep_aged(db: sa.Connection, attempt: Attempt, age_s: int) -> None:
        stored_answers.keep(db, attempt, {})
        aged = sa.update(table).where(table.c.fingerprint == attempt.fingerprint)
        db.execute(aged.values(answered_at=table.c.answered_at - age_s * SECOND))

    for number, (age_s, key) in enumerate([(10, None), (1000, None), (1000, "young"), (90_000, "old")]):
        attempt = Attempt("key", f"print{number}", idempotency_key=key)
        await db_store.write(partial(keep_aged, attempt=attempt, age_s=age_s))
    assert await find("old") is None
    with pytest.raises(ConflictError):
        await find("young")
    await db_store.write(stored_answers.purge)
    left = await db_store.read(lambda db: set(db.execute(sa.select(table.c.fingerprint)).scalars()))
    assert left == {"print0", "print2"}

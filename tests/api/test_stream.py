import asyncio
import gc
import json
import pathlib
import random
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import anthropic
import httpx2
import pytest
import sqlalchemy as sa
import uvicorn
from anthropic.lib.sessions import accumulate_managed_agents_event
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Route

from api.app import create_app, new_state
from api.deps import AppState
from api.sse import EventStream
from protocol.frames import PING, RETRY
from security.keys import new_key
from settings import Settings
from store.engine import Store
from store.event_log import NewFrame
from store.live import LiveBus, open_live
from store.repositories.access import create_api_key
from store.tables import sessions, workspaces
from store.tails import Tails
from tests.api.conftest import KeptStore
from tests.conftest import free_port
from tests.store.live_log import WORKSPACE, insert_session, message, write


class Server(uvicorn.Server):
    """Sets `closing` before it waits for its connections, as the API's own does."""

    def __init__(self, config: uvicorn.Config, closing: asyncio.Event) -> None:
        super().__init__(config)
        self._closing = closing

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._closing.set()
        await super().shutdown(sockets)


@asynccontextmanager
async def serving(app: Any, closing: asyncio.Event) -> AsyncIterator[str]:
    port = free_port()
    config = uvicorn.Config(app, port=port, access_log=False, log_config=None, timeout_graceful_shutdown=5)
    server = Server(config, closing)
    task = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn tells it by this flag alone
        await asyncio.sleep(0.01)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    async with asyncio.timeout(5):
        await task


@pytest.fixture(autouse=True)
async def _no_stream_is_left() -> AsyncIterator[None]:
    yield
    for stream_ in RawStream.opened:
        stream_.drop()
    RawStream.opened.clear()
    await asyncio.sleep(0)


@dataclass
class Streaming:
    """An API that serves streams of one session."""

    url: str
    key: str
    session_id: str
    state: AppState
    bus: LiveBus
    app: FastAPI
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def path(self) -> str:
        return f"/v1/sessions/{self.session_id}/events/stream"

    @property
    def tails(self) -> Tails:
        found: Tails = self.app.state.tails
        return found

    async def write(self, *frames: NewFrame, announced: bool = True) -> int:
        return await write(self.state.store, self.bus if announced else None, self.session_id, *frames)


@pytest.fixture
async def api(db_store: Store, tmp_path: pathlib.Path) -> AsyncIterator[Streaming]:
    session_id = await db_store.write(insert_session)
    key = new_key()
    await db_store.write(lambda db: create_api_key(db, workspace_id=WORKSPACE, name="k", scope="member", key=key))
    settings = Settings(state_dir=tmp_path, database_url=db_store.url, max_streams=50)
    state = new_state(settings, KeptStore(db_store))
    state.live = bus = open_live(db_store, tmp_path)
    await bus.start()
    app = create_app(state)
    async with serving(app, state.closing) as url:
        yield Streaming(url, key, session_id, state, bus, app, {"authorization": f"Bearer {key}"})
    await bus.close()


class RawStream:
    """A stream over a bare connection, read as it comes."""

    opened: ClassVar[list["RawStream"]] = []

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.head = b""
        self.places: list[int] = []
        self.lines: list[str] = []
        self.opened.append(self)

    @property
    def text(self) -> str:
        return "".join(self.lines)

    @classmethod
    async def open(cls, api: Streaming, query: str = "", **headers: str) -> "RawStream":
        host, port = api.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        lines = [f"GET {api.path}{query} HTTP/1.1", f"host: {host}", f"authorization: Bearer {api.key}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        stream_ = cls(reader, writer)
        stream_.head = await reader.readuntil(b"\r\n\r\n")
        return stream_

    async def line(self) -> str:
        """Return the next line of the stream, skipping the framing of chunks."""
        while True:
            raw = await self.reader.readline()
            if not raw or raw == b"0\r\n":
                raise EOFError
            if not raw.endswith(b"\r\n"):
                return raw.decode()

    async def until(self, place: int, timeout: float = 20.0) -> list[int]:
        """Read up to the end of the frame at a place, and return all places seen."""
        async with asyncio.timeout(timeout):
            while not self.places or self.places[-1] < place:
                line = await self.line()
                self.lines.append(line)
                if line.startswith("id: "):
                    self.places.append(int(line[4:]))
            self.lines += [await self.line() for _ in range(3)]
        return self.places

    async def rest(self, timeout: float = 5.0) -> str:
        """Read to the end of the stream."""
        text = ""
        async with asyncio.timeout(timeout):
            while True:
                try:
                    text += await self.line()
                except EOFError:
                    return text

    def drop(self) -> None:
        self.writer.transport.abort()


async def quiet(tails: Tails) -> None:
    """Wait until no stream is open."""
    async with asyncio.timeout(5):
        while tails.count:  # noqa: ASYNC110 - nothing else tells when a server has seen a client leave
            await asyncio.sleep(0.005)


async def test_stream_has_the_contract_s_headers_and_frames(api: Streaming) -> None:
    await api.write(NewFrame("user.message", {"content": []}, event_id="sevt_u", queued=True))
    opened = await RawStream.open(api, "?after=0", accept="application/json", accept_encoding="gzip, br")
    head = opened.head.decode().lower()
    assert head.startswith("http/1.1 200")
    for line in (
        "content-type: text/event-stream; charset=utf-8",
        "cache-control: no-store",
        "x-accel-buffering: no",
        "transfer-encoding: chunked",
        "request-id: req_",
    ):
        assert f"\r\n{line}" in head
    assert "content-encoding" not in head
    assert "content-length" not in head
    await api.write(message("hi\n", event_id="sevt_a"), NewFrame("session.usage", {"usage": {}}))
    await opened.until(3)
    assert opened.text.startswith("retry: 1000\n\nid: 1\nevent: user.message\ndata: {")
    frames = re.findall(r"id: (\d+)\nevent: (\S+)\ndata: (.*)\n\n", opened.text)
    assert [frame[:2] for frame in frames] == [("1", "user.message"), ("2", "agent.message"), ("3", "message")]
    events = [json.loads(frame[2]) for frame in frames]
    assert events[0] == {"type": "user.message", "id": "sevt_u", "processed_at": None, "content": []}
    assert events[1]["content"] == [{"type": "text", "text": "hi\n"}]
    assert list(events[1])[:3] == ["type", "id", "processed_at"]
    assert events[2]["type"] == "session.usage"
    opened.drop()


@pytest.mark.parametrize(
    ("query", "headers", "status", "error"),
    [
        ("?after=-1", {}, 400, "invalid_request_error"),
        ("?after=x", {}, 400, "invalid_request_error"),
        ("?after=%C2%B2", {}, 400, "invalid_request_error"),
        ("?after=", {}, 400, "invalid_request_error"),
        ("?after=1", {}, 400, "invalid_request_error"),
        ("?after=99999999999999999999999", {}, 400, "invalid_request_error"),
        ("?after=0", {"last-event-id": "7"}, 400, "invalid_request_error"),
        ("", {"last-event-id": "sevt_1"}, 400, "invalid_request_error"),
        ("?event_deltas[]=agent.tool_use", {}, 400, "invalid_request_error"),
        ("?event_deltas=agent.message&event_deltas=x", {}, 400, "invalid_request_error"),
        ("", {"authorization": "Bearer no"}, 401, "authentication_error"),
    ],
)
async def test_bad_requests_are_refused_before_the_stream(
    api: Streaming, query: str, headers: dict[str, str], status: int, error: str
) -> None:
    async with httpx2.AsyncClient(headers=api.headers) as http:
        refused = await http.get(api.url + api.path + query, headers=headers)
    assert refused.status_code == status, refused.text
    assert refused.json()["error"]["type"] == error
    assert refused.headers["content-type"] == "application/json"


async def test_hidden_sessions_are_not_found(api: Streaming, db_store: Store) -> None:
    deleted = await db_store.write(insert_session)
    foreign = await db_store.write(insert_session)

    def hide(db: sa.Connection) -> None:
        db.execute(sa.insert(workspaces).values(id="wrkspc_other", name="other", created_at=1))
        db.execute(sa.update(sessions).where(sessions.c.id == deleted).values(deleted_at=1))
        db.execute(sa.update(sessions).where(sessions.c.id == foreign).values(workspace_id="wrkspc_other"))

    await db_store.write(hide)
    async with httpx2.AsyncClient(headers=api.headers) as http:
        for session_id in (deleted, foreign, "session_none"):
            answer = await http.get(f"{api.url}/v1/sessions/{session_id}/events/stream")
            assert answer.status_code == 404
            assert answer.json()["error"]["type"] == "not_found_error"
    assert api.tails.count == 0


async def test_too_many_streams_are_refused(api: Streaming) -> None:
    opened = [await RawStream.open(api) for _ in range(50)]
    async with httpx2.AsyncClient(headers=api.headers) as http:
        refused = await http.get(api.url + api.path)
    assert refused.status_code == 529
    assert refused.json()["error"]["type"] == "overloaded_error"
    opened.pop().drop()
    await asyncio.sleep(0.2)
    again = await RawStream.open(api)
    assert again.head.startswith(b"HTTP/1.1 200")
    for stream_ in (*opened, again):
        stream_.drop()
    await quiet(api.tails)


async def test_leaving_clients_free_everything_at_once(api: Streaming) -> None:
    opened = [await RawStream.open(api) for _ in range(20)]
    assert api.tails.count == 20
    tasks = len(asyncio.all_tasks())
    for stream_ in opened:
        stream_.drop()
    await asyncio.sleep(0.3)
    assert api.tails.count == 0
    assert api.bus._watches == {}
    assert len(asyncio.all_tasks()) <= tasks - 20


@pytest.mark.timeout(240)
async def test_thousand_drops_are_resumed_exactly(api: Streaming) -> None:
    total, clients, drops = 1100, 10, 100

    async def produce() -> None:
        done = 0
        while done < total:
            count = min(random.choice((1, 1, 2, 3, 30)), total - done)
            await api.write(*(message("x" * random.choice((1, 100, 3000))) for _ in range(count)))
            done += count
            await asyncio.sleep(0.003)

    async def consume() -> list[int]:
        places: list[int] = []
        for number in range(drops + 1):
            stream_ = await RawStream.open(api, last_event_id=str(len(places)))
            goal = total if number == drops else min(total, len(places) + random.randint(0, 2 * total // drops))
            if goal > len(places):
                places += await stream_.until(goal)
            stream_.drop()
        return places

    results = await asyncio.gather(produce(), *(consume() for _ in range(clients)))
    for places in results[1:]:
        assert places == list(range(1, total + 1))
    await quiet(api.tails)


async def test_client_that_does_not_read_slows_nobody(api: Streaming) -> None:
    stuck = await RawStream.open(api, "?after=0")
    quick = await RawStream.open(api, "?after=0")
    total, size = 400, 40_000
    reader = asyncio.create_task(quick.until(total, 50))
    for _ in range(total // 10):
        await api.write(*(message("x" * size) for _ in range(10)))
    assert await reader == list(range(1, total + 1))
    (slow,) = [viewer for viewer in next(iter(api.tails._tails.values())).viewers if viewer.lagging]
    assert slow._size < total * size / 20
    assert await stuck.until(total, 50) == list(range(1, total + 1))
    stuck.drop()
    quick.drop()


async def test_lost_announcements_are_made_up_for(api: Streaming) -> None:
    opened = [await RawStream.open(api) for _ in range(5)]
    await api.write(message("a"), announced=False)
    for stream_ in opened:
        assert await stream_.until(1, 4) == [1]
        stream_.drop()


async def test_deletion_ends_streams(api: Streaming, db_store: Store) -> None:
    opened = [await RawStream.open(api) for _ in range(3)]

    def delete(db: sa.Connection) -> None:
        db.execute(sa.update(sessions).where(sessions.c.id == api.session_id).values(deleted_at=1))

    await db_store.write(delete)
    for stream_ in opened:
        text = await stream_.rest(4)
        assert "event: session.deleted\n" in text
        assert "id: " not in text
    await quiet(api.tails)


async def test_terminated_session_is_replayed_and_stays_open(api: Streaming, db_store: Store) -> None:
    await api.write(message("a"), NewFrame("session.status_terminated", {}))
    await db_store.write(
        lambda db: db.execute(sa.update(sessions).where(sessions.c.id == api.session_id).values(status="terminated"))
    )
    opened = await RawStream.open(api, "?after=0")
    assert await opened.until(2) == [1, 2]
    with pytest.raises(TimeoutError):
        await opened.rest(0.3)
    await api.write(NewFrame("session.deleted", {}))
    assert "id: 3\nevent: session.deleted\n" in await opened.rest(4)


async def test_shutdown_ends_streams_promptly(db_store: Store, tmp_path: pathlib.Path) -> None:
    session_id = await db_store.write(insert_session)
    bus = open_live(db_store, tmp_path)
    await bus.start()
    tails = Tails(db_store, bus, 10)
    app = Starlette(routes=[Route("/{path:path}", lambda _: EventStream(lambda: tails.open(session_id, WORKSPACE)))])
    closing = asyncio.Event()
    ending = asyncio.create_task(closing.wait())
    ending.add_done_callback(lambda _: asyncio.ensure_future(tails.close()))
    async with serving(app, closing) as url:
        api = Streaming(url, "", session_id, None, bus, None)  # type: ignore[arg-type]
        opened = [await RawStream.open(api) for _ in range(5)]
        ended = [asyncio.create_task(stream_.rest()) for stream_ in opened]
        began = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - began < 2
    assert await asyncio.gather(*ended) == ["retry: 1000\n\n"] * 5
    await bus.close()


async def test_application_s_closing_ends_streams(api: Streaming) -> None:
    opened = await RawStream.open(api)
    api.state.closing.set()
    assert await opened.rest(1) == "retry: 1000\n\n"


async def test_idle_stream_is_pinged(db_store: Store, tmp_path: pathlib.Path) -> None:
    session_id = await db_store.write(insert_session)
    bus = open_live(db_store, tmp_path)
    await bus.start()
    tails = Tails(db_store, bus, 10)
    sent: list[bytes] = []
    left = asyncio.Event()

    async def receive() -> dict[str, str]:
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(answer: Any) -> None:
        sent.append(answer.get("body", b"start"))
        if len(sent) == 4:
            left.set()

    response = EventStream(lambda: tails.open(session_id, WORKSPACE), ping_s=0.02)
    async with asyncio.timeout(2):
        await response({"type": "http"}, receive, send)
    assert sent == [b"start", RETRY, PING, PING, b""]
    assert tails.count == 0
    await tails.close()
    await bus.close()


async def test_official_client_follows_a_turn(api: Streaming) -> None:
    async with anthropic.AsyncAnthropic(
        api_key=api.key, base_url=api.url, max_retries=0, _strict_response_validation=True
    ) as client:
        events = await client.beta.sessions.events.stream(
            api.session_id, event_deltas=["agent.message", "agent.thinking"]
        )
        delta = {"type": "content_delta", "index": 0, "content": {"type": "text", "text": "he"}}
        await api.write(NewFrame("session.status_running", {}))
        api.bus.preview(
            api.session_id,
            [
                {"type": "event_start", "event": {"type": "agent.message", "id": "sevt_m"}},
                {"type": "event_delta", "event_id": "sevt_m", "delta": delta},
            ],
        )
        seen = []
        partial = None
        texts = []
        async for event in events:
            seen.append(event.type)
            if event.type == "event_delta":
                await api.write(
                    message("hello", event_id="sevt_m"),
                    NewFrame("session.status_idle", {"stop_reason": {"type": "end_turn"}}),
                )
            partial = accumulate_managed_agents_event(partial, event)
            if partial is not None and partial.content and partial.content[0].type == "text":
                texts.append(partial.content[0].text)
            if event.type == "session.status_idle":
                break
        await events.close()
    assert seen == [
        "session.status_running", "event_start", "event_delta", "agent.message", "session.status_idle",
    ]  # fmt: skip
    assert texts == ["he", "hello", "hello"]
    gc.collect()

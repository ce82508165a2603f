"""How soon an event is seen, what an open stream costs, and whether a long log is read as quickly as a short one.

`python -m benchmarks.streams [--database-url URL]`; by default on a SQLite file of its own. Each figure of a stream
stands beside that of a bare Starlette stream, measured in the same run.
"""

import argparse
import asyncio
import json
import pathlib
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from sqlalchemy.engine import Connection
from sqlmodel import SQLModel

from benchmarks import stream_log, stream_server
from store.engine import Store, open_store
from store.event_log import NewFrame
from store.event_pages import CreatedAt, frames_after, list_events

Result = dict[str, Any]

_EVENTS = 200
_PAUSE_S = 0.01
_STREAMS = (200, 1000)
_LOGS = (100, 100_000)
_PAGE = 20


def _result(name: str, value: float, unit: str, bound: float | None = None) -> Result:
    holds = None if bound is None else value <= bound
    return {"name": name, "value": round(value, 3), "unit": unit, "bound": bound and round(bound, 3), "holds": holds}


class _Stream:
    """A client's end of a stream."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, port: int, path: str, key: str) -> "_Stream":
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET {path} HTTP/1.1\r\nhost: benchmark\r\nx-api-key: {key}\r\n\r\n".encode())
        stream = cls(reader, writer)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        await reader.readuntil(b"retry: 1000\n\n")
        return stream

    async def times(self, count: int) -> list[float]:
        """Return when each of the next events arrived."""
        arrived: list[float] = []
        while len(arrived) < count:
            if (await self.reader.readline()).startswith(b"data: "):
                arrived.append(time.monotonic())
        return arrived

    def close(self) -> None:
        self.writer.transport.abort()


@asynccontextmanager
async def _serving(app: Any) -> Any:
    port = stream_server.free_port()
    server = stream_server.server_of(app, port)
    task = asyncio.create_task(server.serve())
    await _until_open(port)
    yield port
    server.should_exit = True
    await task


async def _until_open(port: int) -> None:
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            await asyncio.sleep(0.05)
        else:
            writer.transport.abort()
            return


async def _latency(stream: _Stream, send: Callable[[int], Awaitable[float]]) -> float:
    """Return the median milliseconds from a commit until the event has arrived; `send` returns when it committed."""
    count = stream_log.WARM_UP + _EVENTS
    reading = asyncio.create_task(stream.times(count))
    sent = []
    for number in range(count):
        sent.append(await send(number))
        await asyncio.sleep(_PAUSE_S)
    return _median_ms(sent, await reading)


def _median_ms(sent: list[float], arrived: list[float]) -> float:
    waits = [after - before for before, after in zip(sent, arrived, strict=True)]
    return statistics.median(waits[stream_log.WARM_UP :]) * 1000


async def _bare_latency() -> float:
    items: asyncio.Queue[bytes] = asyncio.Queue()

    async def send(number: int) -> float:
        items.put_nowait(b'id: %d\nevent: agent.message\ndata: {"type":"agent.message"}\n\n' % number)
        return time.monotonic()

    async with _serving(stream_server.bare_app(items)) as port:
        stream = await _Stream.open(port, "/", "")
        found = await _latency(stream, send)
        stream.close()
    return found


async def measure_latency(store: Store, folder: pathlib.Path) -> list[Result]:
    """Milliseconds from an append's commit until an SSE client has the event, in one process and across two."""
    workspace_id, key = await store.write(stream_log.create_caller)
    session_id = await store.write(lambda db: stream_log.create_session(db, workspace_id))
    path = f"/v1/sessions/{session_id}/events/stream"
    app = stream_server.our_app(store.url, str(folder))
    bus = app.state.waystation.live
    await bus.start()

    async def send(number: int) -> float:
        seq = await stream_log.append_one(store, session_id, number)
        committed = time.monotonic()
        bus.announce(session_id, seq)
        return committed

    bare = [await _bare_latency()]
    async with _serving(app) as port:
        stream = await _Stream.open(port, path, key)
        one = await _latency(stream, send)
        bare.append(await _bare_latency())
        two = await _two_process_latency(stream, store.url, folder, session_id)
        stream.close()
    await bus.close()
    floor = statistics.mean(bare)
    return [
        _result("bare Starlette stream, sent to received, p50", floor, "ms"),
        _result("appended to received, one process, p50", one, "ms", max(10, 1.5 * floor)),
        _result("appended to received, two processes, p50", two, "ms", max(25, 1.5 * floor)),
    ]


async def _two_process_latency(stream: _Stream, url: str, folder: pathlib.Path, session_id: str) -> float:
    reading = asyncio.create_task(stream.times(stream_log.WARM_UP + _EVENTS))
    arguments = ("-m", "benchmarks.stream_log", url, str(folder), session_id, str(_EVENTS), str(_PAUSE_S))
    child = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=asyncio.subprocess.PIPE)
    output, _ = await child.communicate()
    return _median_ms(json.loads(output), await reading)


async def measure_memory(store: Store, folder: pathlib.Path) -> list[Result]:
    """Kilobytes of the serving process per open idle stream, from 200 to 1,000 streams of as many sessions."""
    workspace_id, key = await store.write(stream_log.create_caller)

    def create(db: Connection) -> list[str]:
        return [stream_log.create_session(db, workspace_id) for _ in range(_STREAMS[1])]

    paths = [f"/v1/sessions/{session_id}/events/stream" for session_id in await store.write(create)]
    bare = await _memory_slope("bare", store.url, folder, paths, key)
    ours = await _memory_slope("ours", store.url, folder, paths, key)
    return [
        _result("bare Starlette stream, memory per idle stream", bare, "KB"),
        _result("memory per idle stream", ours, "KB", max(50, 1.5 * bare)),
    ]


async def _memory_slope(kind: str, url: str, folder: pathlib.Path, paths: list[str], key: str) -> float:
    arguments = ("-m", "benchmarks.stream_server", kind, url, str(folder))
    child = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    assert child.stdout is not None
    port = int(await child.stdout.readline())
    # The application logs there; unread, it would stop once the pipe is full.
    draining = asyncio.create_task(child.stdout.read())
    await _until_open(port)
    streams: list[_Stream] = []
    used = []
    async with httpx2.AsyncClient() as http:
        for goal in _STREAMS:
            while len(streams) < goal:
                batch = paths[len(streams) : len(streams) + 20]
                streams += await asyncio.gather(*(_Stream.open(port, path, key) for path in batch))
            await asyncio.sleep(1.5)
            used.append((await http.get(f"http://127.0.0.1:{port}/memory")).json())
    for stream in streams:
        stream.close()
    child.terminate()
    await child.wait()
    await draining
    return float(used[1] - used[0]) / (_STREAMS[1] - _STREAMS[0]) / 1024


async def measure_pages(store: Store) -> list[Result]:
    """How much longer a page takes in a log of 100,000 events than in one of 100."""
    workspace_id, _ = await store.write(stream_log.create_caller)
    logs = []
    for size in _LOGS:
        session_id = await store.write(lambda db: stream_log.create_session(db, workspace_id))
        for _ in range(max(size // 10_000, 1)):
            part = min(size, 10_000)
            await store.write(lambda db, to=session_id, part=part: stream_log.append_turns(db, to, part))  # type: ignore[misc]
        rare = [NewFrame("session.error", {"error": {"type": "unknown_error"}}) for _ in range(_PAGE + 5)]
        await store.write(lambda db, to=session_id, rare=rare: stream_log.append(db, to, rare))  # type: ignore[misc]
        logs.append(session_id)
    return [await _ratio(store, name, read, logs) for name, read in _READS.items()]


async def _ratio(store: Store, name: str, read: Callable[[Connection, str, int], object], logs: list[str]) -> Result:
    times: list[list[float]] = [[], []]
    for _ in range(300):
        for number, session_id in enumerate(logs):
            place = random.randrange(_LOGS[number] // 2)
            began = time.perf_counter()
            await store.read(lambda db, of=session_id, place=place: read(db, of, place))  # type: ignore[misc]
            times[number].append(time.perf_counter() - began)
    short, long = (statistics.median(found) for found in times)
    return _result(f"{name}: p50 at 100,000 events over p50 at 100", long / short, "x", 1.5)


def _deep(db: Connection, session_id: str, place: int) -> object:
    since = frames_after(db, session_id, max(place, 3), 1)[0]
    at = since.processed_at or 0
    return list_events(db, session_id, limit=_PAGE, created_at=CreatedAt(gte=at))


_READS: dict[str, Callable[[Connection, str, int], object]] = {
    "resume": lambda db, session_id, place: frames_after(db, session_id, place, _PAGE),
    "first page": lambda db, session_id, _: list_events(db, session_id, limit=_PAGE),
    "last page": lambda db, session_id, _: list_events(db, session_id, limit=_PAGE, order="desc"),
    "page from a time": _deep,
    "page of a rare type": lambda db, session_id, _: list_events(
        db, session_id, limit=_PAGE, types=["session.error", "agent.thinking"]
    ),
    "page of a rare type, downwards": lambda db, session_id, _: list_events(
        db, session_id, limit=_PAGE, types=["session.error", "agent.thinking"], order="desc"
    ),
}


async def measure(database_url: str, folder: pathlib.Path) -> list[Result]:
    """Measure everything, on a database that has no tables yet."""
    store = open_store(database_url)
    await store.write(lambda db: SQLModel.metadata.create_all(db))
    results = await measure_latency(store, folder)
    results += await measure_memory(store, folder)
    results += await measure_pages(store)
    await store.close()
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database-url", default="", help="an empty database; by default a SQLite file of its own")
    with tempfile.TemporaryDirectory() as folder:
        url = parser.parse_args().database_url or f"sqlite:///{folder}/streams.db"
        for result in asyncio.run(measure(url, pathlib.Path(folder))):
            bound = "" if result["bound"] is None else f"  bound {result['bound']} {result['unit']}"
            verdict = {None: "", True: "  holds", False: "  DOES NOT HOLD"}[result["holds"]]
            print(f"{result['name']:<75} {result['value']:>9} {result['unit']}{bound}{verdict}")


if __name__ == "__main__":
    main()

import asyncio
import os
import pathlib
import signal
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator

import pytest
from sqlmodel import SQLModel

from store.engine import Store, open_store
from store.live_sqlite import SqliteBus, socket_folder


@pytest.fixture
async def store(tmp_path: pathlib.Path) -> AsyncIterator[Store]:
    store = open_store(f"sqlite:///{tmp_path}/live.db")
    await store.write(lambda db: SQLModel.metadata.create_all(db))
    yield store
    await store.close()


async def test_sockets_left_behind_are_removed(store: Store, tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "live"
    folder.mkdir()
    left, young = folder / "1-aa.sock", folder / "2-bb.sock"
    for path in (left, young):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as dead:
            dead.bind(str(path))
    os.utime(left, (time.time() - 60, time.time() - 60))
    bus = SqliteBus(store, tmp_path)
    await bus.start()
    assert not left.exists()
    assert young.exists()
    assert folder.stat().st_mode & 0o777 == 0o700
    await bus.close()
    assert list(folder.iterdir()) == [young]


async def test_long_folder_is_replaced_by_a_short_one(store: Store, tmp_path: pathlib.Path) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    folder = socket_folder(deep)
    assert folder == socket_folder(deep)
    assert folder.parent == pathlib.Path(tempfile.gettempdir())
    first, second = SqliteBus(store, deep), SqliteBus(store, deep)
    await first.start()
    await second.start()
    watch = second.watch("s1")
    first.announce("s1", 1)
    assert await watch.wait(0.9)
    await first.close()
    await second.close()
    assert list(folder.iterdir()) == []
    folder.rmdir()


async def test_folder_of_another_kind_is_refused(store: Store, tmp_path: pathlib.Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "live").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PermissionError, match="must be a folder"):
        await SqliteBus(store, tmp_path).start()


async def test_removed_socket_is_bound_again(store: Store, tmp_path: pathlib.Path) -> None:
    first, second = SqliteBus(store, tmp_path), SqliteBus(store, tmp_path)
    await first.start()
    await second.start()
    for path in (tmp_path / "live").iterdir():
        path.unlink()
    await asyncio.sleep(2.2)
    watch = second.watch("s1")
    first.announce("s1", 1)
    assert await watch.wait(0.9)
    await first.close()
    await second.close()


async def test_stopped_process_costs_little_and_is_told_later(store: Store, tmp_path: pathlib.Path) -> None:
    script = "import socket,sys,time;s=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM);s.bind(sys.argv[1]);print(1,flush=True);time.sleep(60)"  # noqa: E501
    folder = tmp_path / "live"
    folder.mkdir()
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, str(folder / "9-cc.sock"), stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    await child.stdout.readline()
    child.send_signal(signal.SIGSTOP)
    bus, other = SqliteBus(store, tmp_path), SqliteBus(store, tmp_path)
    await bus.start()
    await other.start()
    watch = other.watch("s1")
    for number in range(1, 2001):
        bus.announce("s1", number)
        await asyncio.sleep(0.0005)
    async with asyncio.timeout(5):
        while watch.seq < 2000:
            await watch.wait(1)
            watch.take()
    peer = bus._peers[str(folder / "9-cc.sock")]
    assert 0 < len(peer.waiting) <= 256
    child.kill()
    await child.wait()
    await bus.close()
    await other.close()


async def test_unchanged_database_is_not_polled(
    store: Store, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus = SqliteBus(store, tmp_path)
    await bus.start()
    bus.watch("s1").seq = 0
    await asyncio.sleep(1.3)
    reads = 0
    read = store.read

    async def counted(work: object) -> object:
        nonlocal reads
        reads += 1
        return await read(work)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "read", counted)
    await asyncio.sleep(2.2)
    assert reads == 0
    await store.write(lambda db: db.exec_driver_sql("CREATE TABLE t (x)"))
    await asyncio.sleep(1.3)
    assert reads == 1
    await bus.close()


async def test_other_senders_are_left_alone(store: Store, tmp_path: pathlib.Path) -> None:
    bus = SqliteBus(store, tmp_path)
    await bus.start()
    watch = bus.watch("s1")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"no packet", str(bus._path))
        sender.sendto(b'["x",[["s1",4]]]', str(bus._path))
    assert await watch.wait(1)
    assert watch.take() == [4]
    await bus.close()

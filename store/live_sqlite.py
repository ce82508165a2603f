"""The bus of processes that share a SQLite file: Unix datagrams between sockets in a folder, one socket a process."""

import asyncio
import errno
import hashlib
import os
import secrets
import socket
import sqlite3
import stat
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import Final

import sqlalchemy as sa
import structlog

from store.engine import Store
from store.live_bus import PACKET_BYTES, LiveBus
from store.live_watch import UNKNOWN

_log = structlog.get_logger()

_PATH_BYTES: Final = 100
"""A socket's path may have 107 bytes on Linux and 103 on macOS."""
_NAME_BYTES: Final = 24
_STALE_S: Final = 5.0
"""Age from which a socket that nobody reads counts as left behind: a younger one may not be bound yet."""
_FLUSH_S: Final = 0.001
_MOST_WAITING: Final = 256
_RETRY_S: Final = (0.002, 1.0)


def socket_folder(state_dir: Path) -> Path:
    """Return `<state_dir>/live`, or a folder for temporary files where that would be too long for a socket's path."""
    folder = state_dir.resolve() / "live"
    if len(os.fsencode(folder)) + _NAME_BYTES + 1 <= _PATH_BYTES:
        return folder
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"waystation-{os.geteuid()}-{digest}"


class _Peer:
    """Another process's socket, and what waits because its buffer is full."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.waiting: deque[bytes] = deque(maxlen=_MOST_WAITING)
        self.delay = _RETRY_S[0]
        self.retry: asyncio.TimerHandle | None = None


class SqliteBus(LiveBus):
    """Each process binds a socket of its own and sends to every other in the folder."""

    def __init__(self, store: Store, state_dir: Path) -> None:
        super().__init__(store)
        self._folder = socket_folder(state_dir)
        self._path = self._folder / f"{os.getpid()}-{secrets.token_hex(4)}.sock"
        self._socket: socket.socket | None = None
        self._peers: dict[str, _Peer] = {}
        self._folder_seen = 0
        self._flushing = False
        self._flushed_at = 0.0
        self._database: sqlite3.Connection | None = None
        self._seen_version: int | None = None

    async def _open(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = self._folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise PermissionError(f"{self._folder} must be a folder of this user: remove it")
        self._folder.chmod(0o700)
        self._bind()
        self._list_peers()
        # Of its own: the pragma tells of changes made through other connections than the one it is asked on.
        database = sa.make_url(self._store.url).database
        self._database = sqlite3.connect(database or "", check_same_thread=False, isolation_level=None)

    async def _shut(self) -> None:
        self._flush()
        for peer in self._peers.values():
            self._forget_retry(peer)
        self._peers.clear()
        self._unbind()
        if self._database is not None:
            self._database.close()
            self._database = None

    def _bind(self) -> None:
        receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        receiver.setblocking(False)
        receiver.bind(str(self._path))
        self._socket = receiver
        asyncio.get_running_loop().add_reader(receiver.fileno(), self._readable)

    def _unbind(self) -> None:
        if self._socket is None:
            return
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._socket.close()
        self._socket = None
        self._path.unlink(missing_ok=True)

    def _readable(self) -> None:
        assert self._socket is not None
        for _ in range(_MOST_WAITING):
            try:
                packet = self._socket.recv(2 * PACKET_BYTES)
            except (BlockingIOError, InterruptedError):
                return
            if packet:
                self._receive(packet)

    def _outgoing(self) -> None:
        # What many announce goes out together, at most once a millisecond: a socket's buffer holds few datagrams.
        if not self._flushing and self._socket is not None:
            self._flushing = True
            loop = asyncio.get_running_loop()
            loop.call_at(self._flushed_at + _FLUSH_S, self._flush)

    def _flush(self) -> None:
        self._flushing = False
        self._flushed_at = asyncio.get_running_loop().time()
        packets = self._take_packets()
        if self._socket is None or not packets:
            return
        if self._folder_seen != self._folder_changed():
            self._list_peers()
        for peer in list(self._peers.values()):
            peer.waiting.extend(packets)
            if peer.retry is None:
                self._send(peer)

    def _send(self, peer: _Peer) -> None:
        peer.retry = None
        while peer.waiting and self._socket is not None:
            try:
                self._socket.sendto(peer.waiting[0], peer.path)
            except OSError as error:
                self._not_sent(peer, error)
                return
            peer.waiting.popleft()
            peer.delay = _RETRY_S[0]

    def _not_sent(self, peer: _Peer, error: OSError) -> None:
        if error.errno in (errno.EAGAIN, errno.EWOULDBLOCK, errno.ENOBUFS, errno.EINTR):
            # Its buffer is full. If it never empties, the oldest packets go, and its safety poll finds what they told.
            peer.retry = asyncio.get_running_loop().call_later(peer.delay, self._send, peer)
            peer.delay = min(peer.delay * 2, _RETRY_S[1])
            return
        self._peers.pop(peer.path, None)
        if error.errno == errno.ECONNREFUSED:
            _remove_stale(peer.path)
        elif error.errno != errno.ENOENT:
            _log.warning("live_packet_not_sent", socket=peer.path, error=str(error))

    @staticmethod
    def _forget_retry(peer: _Peer) -> None:
        if peer.retry is not None:
            peer.retry.cancel()
            peer.retry = None

    def _folder_changed(self) -> int:
        try:
            return self._folder.stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def _list_peers(self) -> None:
        self._folder_seen = self._folder_changed()
        found = {str(path) for path in self._folder.glob("*.sock")} - {str(self._path)}
        for path in self._peers.keys() - found:
            self._forget_retry(self._peers.pop(path))
        for path in found - self._peers.keys():
            peer = self._peers[path] = _Peer(path)
            peer.waiting.append(b"")
            self._send(peer)

    async def _poll(self) -> None:
        # A socket made in the same moment as the folder was last listed, or removed by hand, would else stay unseen.
        if not self._path.exists():
            self._unbind()
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._bind()
        self._list_peers()
        await super()._poll()

    async def _version(self) -> int | None:
        database = self._database
        if database is None:
            return None
        try:
            return int((await asyncio.to_thread(database.execute, "PRAGMA data_version")).fetchone()[0])
        except sqlite3.Error:
            return None

    def _is_new(self, version: int | None) -> bool:
        if version is None or version != self._seen_version:
            return True
        return any(watch.seq == UNKNOWN for watches in self._watches.values() for watch in watches)

    def _polled(self, version: int | None) -> None:
        self._seen_version = version


def _remove_stale(path: str) -> None:
    try:
        if time.time() - os.lstat(path).st_mtime > _STALE_S:
            os.unlink(path)
    except FileNotFoundError:
        pass

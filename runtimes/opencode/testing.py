"""A real OpenCode server for tests and local trials: the pinned program, in folders of its own, without a network."""

import json
import os
import pathlib
import secrets
import signal
import socket
import subprocess
import time
from typing import IO

import httpx2

from runtimes.base import Json
from runtimes.opencode.install import BINARY

_MARK = "WAYSTATION_OPENCODE_SERVER"
"""Variable by which a server's processes are found; its shells are in process groups of their own."""
_BOOT_S = 60.0


def config(model_url: str, permission: Json | None = None) -> Json:
    """Return OpenCode's configuration for one provider, `fake`, whose OpenAI-compatible API is at `<model_url>/v1`."""
    model = {
        "limit": {"context": 200_000, "output": 8_000},
        "cost": {"input": 1, "output": 2, "cache_read": 0.1},
    }
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "options": {"baseURL": f"{model_url}/v1", "apiKey": "none"},
        "models": {"fake-model": model},
    }
    chosen = {"model": "fake/fake-model", "small_model": "fake/fake-model", "autoupdate": False, "share": "disabled"}
    return {**chosen, "provider": {"fake": provider}, "permission": permission or {}}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class OpenCodeServer:
    """`opencode serve` on a port of its own, its state under `folder`; state and port outlive `kill` and `restart`.

    The methods block; call them from a thread where an event loop runs.
    """

    def __init__(self, folder: pathlib.Path, model_url: str, permission: Json | None = None) -> None:
        self.folder = folder
        self.password = secrets.token_urlsafe(16)
        self.port = _free_port()
        self._config = config(model_url, permission)
        self._mark = secrets.token_hex(16)
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _environment(self) -> dict[str, str]:
        home = str(self.folder / "home")
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
        places = {f"XDG_{name}_HOME": f"{home}/{name.lower()}" for name in ("DATA", "CONFIG", "STATE", "CACHE")}
        off = ("MODELS_FETCH", "AUTOUPDATE", "LSP_DOWNLOAD", "DEFAULT_PLUGINS", "CLAUDE_CODE", "PROJECT_CONFIG")
        return {
            **kept,
            **places,
            **{f"OPENCODE_DISABLE_{name}": "1" for name in off},
            "HOME": home,
            "OPENCODE_DB": f"{home}/opencode.db",
            "OPENCODE_CONFIG_CONTENT": json.dumps(self._config),
            "OPENCODE_SERVER_PASSWORD": self.password,
            _MARK: self._mark,
        }

    def start(self) -> None:
        """Start the program and wait until it answers.

        Raises:
            TimeoutError: it did not within a minute; its log is `<folder>/server.log`.
            FileNotFoundError: it is not installed.
        """
        if not BINARY.exists():
            raise FileNotFoundError("OpenCode is not installed: run `python -m runtimes.opencode.install`")
        (self.folder / "home").mkdir(parents=True, exist_ok=True)
        self._log = (self.folder / "server.log").open("ab")
        command = [str(BINARY), "serve", "--hostname", "127.0.0.1", "--port", str(self.port), "--print-logs"]
        self._process = subprocess.Popen(
            command,
            env=self._environment(),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + _BOOT_S
        while time.monotonic() < deadline:
            # A starting server accepts connections that it does not answer: ask anew rather than wait.
            try:
                answer = httpx2.get(f"{self.url}/global/health", auth=("opencode", self.password), timeout=2.0)
            except httpx2.TransportError:
                time.sleep(0.2)
                continue
            if answer.is_success:
                return
        raise TimeoutError(f"OpenCode did not answer within {_BOOT_S:.0f} s; see {self.folder / 'server.log'}")

    def processes(self) -> list[tuple[int, str]]:
        """Return id and command line of each living process of this server, shells that outlive it included."""
        found = []
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                marked = f"{_MARK}={self._mark}".encode() in (entry / "environ").read_bytes()
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if marked:
                found.append((int(entry.name), command.strip()))
        return found

    def kill(self) -> None:
        """End the server's process group with SIGKILL. Shells it ran go on, as they do when a server crashes."""
        if self._process is None:
            return
        os.killpg(self._process.pid, signal.SIGKILL)
        self._reap()

    def _reap(self) -> None:
        if self._process is not None:
            self._process.wait(10)
            self._process = None
        if self._log is not None:
            self._log.close()
            self._log = None

    def stop(self) -> None:
        """End the server, and what is left of its shells."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
        self._reap()
        for pid, _ in self.processes():
            os.kill(pid, signal.SIGKILL)

    def restart(self) -> None:
        """Start again after `kill` or `stop`, with the same state, port and password."""
        self.start()

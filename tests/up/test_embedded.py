"""`make up` itself: the real Temporal server, scripted runtime, worker and API, as a person uses them."""

import os
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
PORTS = ("PORT", "TEMPORAL_PORT", "TEMPORAL_UI_PORT", "SCRIPTED_PORT")

Launcher = subprocess.Popen[str]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    with ExitStack() as held:
        free = [held.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in PORTS]
    ports = {f"WAYSTATION_{name}": str(port) for name, port in zip(PORTS, free, strict=True)}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WAYSTATION_")}
    return kept | ports | {"WAYSTATION_STATE_DIR": str(tmp_path / "state")}


@contextmanager
def embedded(environment: dict[str, str]) -> Iterator[tuple[Launcher, str]]:
    """Start it; give the launcher and its greeting; end it by Ctrl-C and see that nothing is left."""
    launcher = subprocess.Popen(
        [sys.executable, "-m", "up"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment,
    )
    try:
        greeting = read_greeting(launcher)
        yield launcher, greeting
        children = psutil.Process(launcher.pid).children(recursive=True)
        launcher.send_signal(signal.SIGINT)
        assert launcher.wait(40) == 0
        assert not [child for child in children if child.is_running()]
    finally:
        launcher.kill()
        launcher.communicate(timeout=10)


def read_greeting(launcher: Launcher) -> str:
    assert launcher.stdout is not None
    read = ""
    while "Ctrl-C ends everything" not in read:
        line = launcher.stdout.readline()
        if not line:
            _, error = launcher.communicate()
            pytest.fail(f"it did not start: {error}")
        read += line
    return read


def paste_snippet(greeting: str) -> str:
    """Run what the greeting offers, as a shell would; return what it printed."""
    found = re.search(r"another terminal:\n\n(.*\nEOF\n)", greeting, re.DOTALL)
    assert found, greeting
    return subprocess.run(["bash", "-c", found[1]], capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.mark.timeout(300)
def test_the_snippet_runs_as_pasted_also_after_the_worker_was_killed_and_after_a_restart(
    environment: dict[str, str],
) -> None:
    with embedded(environment) as (launcher, greeting):
        printed = paste_snippet(greeting)
        assert '"agent.message"' in printed
        assert '"session.status_idle"' in printed
        worker = re.search(r"worker (\d+), api", greeting)
        assert worker, greeting
        os.kill(int(worker[1]), signal.SIGKILL)
        assert launcher.stdout is not None
        assert "worker (pid" in launcher.stdout.readline() + launcher.stdout.readline()
        assert '"agent.message"' in paste_snippet(greeting)
    key_file = Path(environment["WAYSTATION_STATE_DIR"]) / "admin.key"
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    with embedded(environment) as (_, second_greeting):
        # The same key, agents and sessions: the first snippet still holds.
        assert key_file.read_text().strip() in second_greeting
        assert '"agent.message"' in paste_snippet(greeting)


@pytest.mark.timeout(180)
def test_the_smoke_script_passes(environment: dict[str, str]) -> None:
    with embedded(environment) as (_, greeting):
        url = f"http://127.0.0.1:{environment['WAYSTATION_PORT']}"
        assert url in greeting
        result = subprocess.run(
            [sys.executable, "tests/smoke.py", "--url", url],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env=environment,
            timeout=70,
        )
        assert result.returncode == 0, result.stderr

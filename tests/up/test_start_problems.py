"""What a person can get wrong before anything is started: each is one line on stderr with its remedy, exit code 2."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import up.__main__
from up import config, services, state_folder
from up.errors import StartError

ROOT = Path(__file__).parents[2]


Refusal = Callable[..., str]


@pytest.fixture
def refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refusal:
    """The line with which a launch under these settings is refused."""

    def launch(**settings: str) -> str:
        for name, value in ({"WAYSTATION_STATE_DIR": str(tmp_path)} | settings).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(up.__main__, "run", lambda _config: pytest.fail("it was started"))
        assert up.__main__.main() == 2
        said = capsys.readouterr()
        assert said.out == ""
        (line,) = said.err.splitlines()
        assert line.startswith("waystation: ")
        return line

    return launch


def test_a_taken_port_is_named_with_its_setting(refusal: Refusal) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refusal(WAYSTATION_TEMPORAL_UI_PORT=str(port))
    assert f"port {port} on 127.0.0.1 cannot be used (Address already in use)" in said
    assert "set WAYSTATION_TEMPORAL_UI_PORT to another" in said


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WAYSTATION_PORT", "eighty"),
        ("WAYSTATION_PORT", "0"),
        ("WAYSTATION_SCRIPTED_PORT", "70000"),
        ("WAYSTATION_MAX_STREAMS", "many"),
    ],
)
def test_a_broken_setting_is_named(refusal: Refusal, name: str, value: str) -> None:
    said = refusal(**{name: value})
    assert f"{name} is no valid setting" in said


def test_two_parts_on_one_port_are_named(refusal: Refusal) -> None:
    said = refusal(WAYSTATION_SCRIPTED_PORT="7733")
    assert "WAYSTATION_TEMPORAL_PORT and WAYSTATION_SCRIPTED_PORT are both 7733" in said


def test_a_host_that_is_no_address_is_named(refusal: Refusal) -> None:
    said = refusal(WAYSTATION_HOST="no such host")
    assert "WAYSTATION_HOST='no such host' is no address" in said


def test_a_state_folder_that_cannot_be_written_is_named(refusal: Refusal, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said = refusal(WAYSTATION_STATE_DIR=str(tmp_path / "file" / "state"))
    assert f"the state folder {tmp_path}/file/state cannot be written (Not a directory)" in said


def test_a_second_launch_on_the_same_state_folder_is_refused(refusal: Refusal, tmp_path: Path) -> None:
    with state_folder.held(tmp_path):
        said = refusal()
    assert f"already runs on {tmp_path} (pid {os.getpid()})" in said


def test_the_lock_of_a_killed_launcher_is_free(tmp_path: Path) -> None:
    hold = "import sys, time, pathlib; from up import state_folder\n"
    hold += "with state_folder.held(pathlib.Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", hold, str(tmp_path)], stdout=subprocess.PIPE, cwd=ROOT) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        holder.send_signal(signal.SIGKILL)
        holder.wait(5)
        with state_folder.held(tmp_path):
            pass


def test_a_missing_temporal_program_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StartError, match="`temporal` program is missing: run `make setup`") as raised:
        services.all_services(config.read())
    assert raised.value.code == 2


def test_a_temporal_profile_of_the_person_does_not_reach_the_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WAYSTATION_DATABASE_URL", raising=False)
    theirs = {"TEMPORAL_ADDRESS": "cloud:7233", "TEMPORAL_API_KEY": "secret", "HTTPS_PROXY": "proxy"}
    environment = config.child_environment(config.read(), theirs)
    assert environment["TEMPORAL_ADDRESS"] == "127.0.0.1:7733"
    assert "TEMPORAL_API_KEY" not in environment
    assert environment["HTTPS_PROXY"] == "proxy"
    assert "127.0.0.1" in environment["NO_PROXY"]


def test_a_refused_launch_shows_no_traceback() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "up"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"WAYSTATION_PORT": "x"},
        timeout=30,
    )
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1

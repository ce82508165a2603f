"""The launcher's promises, with small stand-ins as children and a real launcher process."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
SLEEP = "import time; time.sleep(60)"
DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); {SLEEP}"
PARENT = (
    f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', '{SLEEP}']); print('born', flush=True); {SLEEP}"
)

Launch = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    started: list[subprocess.Popen[str]] = []

    def start(**programs: str) -> "subprocess.Popen[str]":
        arguments = [f"{name}={code}" for name, code in programs.items()]
        launcher = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("stand_in.py")), str(tmp_path), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        started.append(launcher)
        return launcher

    yield start
    for launcher in started:
        launcher.terminate()
        launcher.communicate(timeout=10)


def line(launcher: "subprocess.Popen[str]") -> str:
    assert launcher.stdout is not None
    return launcher.stdout.readline().strip()


def descendants(launcher: "subprocess.Popen[str]") -> list[psutil.Process]:
    return psutil.Process(launcher.pid).children(recursive=True)


def wait_for(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)


def all_gone(processes: list[psutil.Process]) -> bool:
    return not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes)


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_every_child_and_the_launcher_succeeds(launch: Launch, ending: signal.Signals) -> None:
    launcher = launch(one=SLEEP, two=SLEEP)
    assert line(launcher) == "standing"
    children = descendants(launcher)
    assert len(children) == 2
    launcher.send_signal(ending)
    assert launcher.wait(5) == 0
    assert all_gone(children)


def test_children_end_in_reverse_order(launch: Launch, tmp_path: Path) -> None:
    record = tmp_path / "order"
    code = (
        "import signal,sys,time; signal.signal(signal.SIGTERM, lambda *_: (open({0!r},'a').write({1!r}),sys.exit())); "
    )
    code += "print('set', flush=True); time.sleep(60)"
    launcher = launch(a=code.format(str(record), "a"), b=code.format(str(record), "b"), c=code.format(str(record), "c"))
    assert line(launcher) == "standing"
    wait_for(lambda: all((tmp_path / f"{name}.log").read_text() == "set\n" for name in "abc"))
    launcher.send_signal(signal.SIGINT)
    assert launcher.wait(5) == 0
    assert record.read_text() == "cba"


def test_a_child_that_ignores_sigterm_is_killed_after_its_bound(launch: Launch, tmp_path: Path) -> None:
    launcher = launch(deaf=DEAF)
    assert line(launcher) == "standing"
    wait_for(lambda: "deaf" in (tmp_path / "deaf.log").read_text())
    begun = time.monotonic()
    launcher.send_signal(signal.SIGINT)
    assert launcher.wait(5) == 0
    assert time.monotonic() - begun >= 1.0


def test_a_second_signal_ends_the_patience(launch: Launch, tmp_path: Path) -> None:
    launcher = launch(deaf=DEAF)
    assert line(launcher) == "standing"
    wait_for(lambda: "deaf" in (tmp_path / "deaf.log").read_text())
    begun = time.monotonic()
    launcher.send_signal(signal.SIGINT)
    time.sleep(0.1)
    launcher.send_signal(signal.SIGINT)
    assert launcher.wait(5) == 0
    assert time.monotonic() - begun < 0.9


def test_what_a_child_started_is_ended_too(launch: Launch, tmp_path: Path) -> None:
    launcher = launch(parent=PARENT)
    assert line(launcher) == "standing"
    wait_for(lambda: "born" in (tmp_path / "parent.log").read_text())
    family = descendants(launcher)
    assert len(family) == 2
    launcher.send_signal(signal.SIGTERM)
    assert launcher.wait(5) == 0
    wait_for(lambda: all_gone(family))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent was killed")
def test_children_die_with_a_killed_launcher(launch: Launch) -> None:
    launcher = launch(one=SLEEP, two=SLEEP)
    assert line(launcher) == "standing"
    children = descendants(launcher)
    launcher.kill()
    wait_for(lambda: all_gone(children))


def test_a_killed_child_is_started_again_and_said(launch: Launch) -> None:
    launcher = launch(one=SLEEP, two=SLEEP)
    assert line(launcher) == "standing"
    victim = descendants(launcher)[0]
    victim.kill()
    assert f"(pid {victim.pid}) ended with SIGKILL, starting it again in 1 s" in line(launcher)
    assert "was started again (pid " in line(launcher)
    assert len(descendants(launcher)) == 2


def test_delays_double_while_a_child_keeps_dying(launch: Launch) -> None:
    launcher = launch(short="print('out of luck')")
    said = [line(launcher) for _ in range(4)]
    assert said[0] == "standing"
    assert said[1].endswith("ended with exit code 0, starting it again in 1 s: out of luck")
    assert said[2].startswith("waystation: short was started again")
    assert said[3].endswith("starting it again in 2 s: out of luck")


def test_a_task_runs_to_its_end_before_the_next_starts(launch: Launch, tmp_path: Path) -> None:
    record = str(tmp_path / "record")
    launcher = launch(
        task=f"import time; time.sleep(0.3); open({record!r}, 'w').write('x')", one=f"open({record!r}); {SLEEP}"
    )
    assert line(launcher) == "standing"
    assert len(descendants(launcher)) == 1


@pytest.mark.parametrize(
    ("programs", "message"),
    [
        (
            {"one": SLEEP, "task": "raise SystemExit('no such table')"},
            "task ended with exit code 1 before it was ready",
        ),
        (
            {"one": SLEEP, "never": f"print('still at it', flush=True); {SLEEP}"},
            "never was not ready within 0 s: still",
        ),
        (
            {"never": "print('bad news'); raise SystemExit(3)"},
            "never ended with exit code 3 before it was ready: bad news",
        ),
    ],
)
def test_a_child_that_does_not_start_stops_everything_in_one_line(
    launch: Launch, programs: dict[str, str], message: str
) -> None:
    launcher = launch(**programs)
    output, error = launcher.communicate(timeout=5)
    assert launcher.returncode == 1
    assert output == ""
    assert len(error.splitlines()) == 1
    assert message in error

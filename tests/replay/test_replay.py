"""Recorded histories replay: a change of the workflow must not break sessions that are under way."""

from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

from tests.replay.record import HISTORIES, SCENARIOS
from workflows.session import SessionWorkflow


@pytest.fixture(params=sorted(HISTORIES.glob("*.json")), ids=lambda path: path.stem)
def history(request: pytest.FixtureRequest) -> WorkflowHistory:
    path: Path = request.param
    return WorkflowHistory.from_json(path.stem, path.read_text())


async def test_history_replays(history: WorkflowHistory) -> None:
    await Replayer(workflows=[SessionWorkflow]).replay_workflow(history)


def test_every_scenario_has_a_history() -> None:
    assert {path.stem for path in HISTORIES.glob("*.json")} >= {scenario.__name__ for scenario in SCENARIOS}

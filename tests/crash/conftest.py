"""One running product for the engine's tests."""

import pathlib
from collections.abc import AsyncIterator

import pytest

from tests.stack import Stack

FAST = {
    "heartbeat_timeout_s": "3",
    "reconcile_interval_s": "0.5",
    "reconcile_after_s": "2",
    "schedule_to_start_s": "20",
    "stop_bound_s": "5",
}
"""Shorter waits than a product's, so that a test need not wait for what it tests."""


@pytest.fixture(scope="session")
async def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """The product, with its engine's waits shortened."""
    folder: pathlib.Path = tmp_path_factory.mktemp("stack")
    url = None
    if request.config.getoption("--database") == "postgresql":
        url = request.getfixturevalue("postgres").create_database()
    async with Stack(folder, url, **FAST) as running:
        yield running

"""Plugin of the pytest that runs the SDK's tests, in place of the SDK's own `conftest.py`.

That one needs packages which have no part in these tests. The clients are made as it makes them, but with a key of the
server. This module is outside the package `tests`, which is the SDK's where it is loaded.
"""

import json
import os
import sys
import urllib.request
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

sys.path.append(os.environ["CONFORMANCE_PACKAGES"])  # behind the project's own, which it must not replace

from anthropic import Anthropic, AsyncAnthropic, DefaultAioHttpClient
from pytest_asyncio import is_async_test

FRONT = os.environ["TEST_API_BASE_URL"]
KEY = os.environ.pop("CONFORMANCE_KEY")
RESULTS = os.environ["CONFORMANCE_RESULTS"]


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "respx: of a package that these tests do without")


def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    for item in items:
        if is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    request = urllib.request.Request(f"{FRONT}/-/begin", data=item.nodeid.encode(), method="POST")
    urllib.request.urlopen(request).close()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Write the outcome of a test, and of a set-up or clean-up that did not pass."""
    if report.when == "call" or not report.passed:
        line = {"test": report.nodeid, "outcome": report.outcome, "text": report.longreprtext[-1500:]}
        with open(RESULTS, "a") as results:
            results.write(json.dumps(line) + "\n")


@pytest.fixture(scope="session")
def client(request: pytest.FixtureRequest) -> Iterator[Anthropic]:
    strict = getattr(request, "param", True)
    with Anthropic(base_url=FRONT, api_key=KEY, _strict_response_validation=strict) as client:
        yield client


@pytest.fixture(scope="session")
async def async_client(request: pytest.FixtureRequest) -> AsyncIterator[AsyncAnthropic]:
    asked: Any = getattr(request, "param", True)
    options = asked if isinstance(asked, dict) else {"strict": asked}
    http_client = DefaultAioHttpClient() if options.get("http_client") == "aiohttp" else None
    strict = options.get("strict", True)
    async with AsyncAnthropic(
        base_url=FRONT, api_key=KEY, _strict_response_validation=strict, http_client=http_client
    ) as client:
        yield client


class Unmocked:
    """Takes what the tests of downloads would have `respx` answer, and leaves the answer to the server."""

    def get(self, _path: str) -> "Unmocked":
        return self

    def mock(self, **_answer: Any) -> None:
        return


@pytest.fixture
def respx_mock() -> Unmocked:
    return Unmocked()

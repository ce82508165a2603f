"""Run the official SDK's own tests of the control plane's resources against this server: `make conformance`."""

import argparse
import asyncio
import contextlib
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import uvicorn

from tests.conformance import sdk_tests
from tests.conformance.front import Front
from tests.conformance.objects import Objects
from tests.conformance.rewrite import Placeholders, Rewriter
from tests.conformance.verdict import PREFIX, Verdict, judge, read_exceptions
from tests.stack import Stack, free_port

_SHOWN_FAILURES = 200


@contextlib.asynccontextmanager
async def serving(front: Front) -> AsyncIterator[str]:
    """Serve the front on a free port; yields its address."""
    port = free_port()
    config = uvicorn.Config(
        front, port=port, lifespan="off", access_log=False, log_level="warning", timeout_graceful_shutdown=2
    )
    server = uvicorn.Server(config)
    serve = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn tells it by this flag alone
        await asyncio.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await serve


async def run(source: Path, folder: Path, options: argparse.Namespace) -> Verdict:
    """Start the product and the front, run the tests, and judge what came of them."""
    results = folder / "results.jsonl"
    results.touch()
    placeholders = Placeholders()
    # Nobody listens at the addresses of the tests' credentials, and none of them leads away from this machine.
    stack = Stack(folder / "stack", options.database_url, allow_private_addresses="true")
    async with stack, stack.http() as maker:
        workspaces = (await maker.get("/v1/workspaces")).raise_for_status().json()["data"]
        objects = Objects(maker)
        await objects.register_runtimes(stack.scripted.url, str(folder / "workspaces"))
        rewriter = Rewriter(objects, workspaces[0]["id"], placeholders)
        async with httpx2.AsyncClient(base_url=stack.url, timeout=60.0) as server:
            front = Front(server, rewriter)
            async with serving(front) as url:
                environment = sdk_tests.environment(url, stack.key, results)
                command = sdk_tests.command(options.select)
                process = await asyncio.create_subprocess_exec(*command, cwd=source, env=environment)
                # Whoever ends the run early still sees what came of it until then.
                asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, process.terminate)
                code = await process.wait()
    whole = options.select is None
    verdict = judge(sdk_tests.read_results(results), front.seen, read_exceptions(), whole=whole)
    if code not in (0, 1):  # 1: some tests failed
        verdict.complaints.append(f"pytest ended with exit code {code}")
    if whole:
        for _, name, value in sorted(placeholders.unused):
            verdict.complaints.append(f"placeholders.toml: no test sends {name}={value}: remove it")
    return verdict


def show(verdict: Verdict) -> None:
    """Print what is wrong, then the counts; the last line is the verdict."""
    for reason, count in Counter(reason for _, reason in verdict.failures).most_common(_SHOWN_FAILURES):
        print(f"FAILED {count:3} x {reason}")
    for complaint in verdict.complaints:
        print(f"WRONG {complaint}")
    failed = Counter(test.split("::")[0].removeprefix(PREFIX) for test, _ in verdict.failures)
    for name, count in sorted(failed.items()):
        print(f"failed {count:4} in {name}")
    print(f"{verdict.untouched} further tests do not touch the server")
    print(verdict)


def main() -> int:
    """Return the exit code: 0 if nothing failed that is not excepted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-k", dest="select", help="run only these, as pytest's -k; stale entries are not looked for")
    parser.add_argument("--database-url", help="by default a new SQLite file")
    options = parser.parse_args()
    source = sdk_tests.prepare()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="waystation-conformance-") as folder:
        verdict = asyncio.run(run(source, Path(folder), options))
    print(f"took {time.monotonic() - begun:.0f} s")
    show(verdict)
    return 0 if verdict.good else 1


if __name__ == "__main__":
    sys.exit(main())

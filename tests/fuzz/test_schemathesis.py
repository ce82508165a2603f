"""Generated requests against every route of a running product: no answer may be a server error, or undocumented."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from tests.driver import Driver
from tests.stack import Stack

EXAMPLES = "4"
SEED = "20261122"
TIMEOUT_S = 900


@pytest.fixture
async def stack(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stack]:
    url = None
    if request.config.getoption("--database") == "postgresql":
        url = request.getfixturevalue("postgres").create_database()
    async with Stack(tmp_path / "stack", url) as running:
        yield running


async def tenant_key(stack: Stack) -> str:
    """Return a member key of another workspace than the stack's own."""
    async with httpx2.AsyncClient(base_url=stack.url, headers={"x-api-key": stack.key}) as http:
        workspace = (await http.post("/v1/workspaces", json={"name": "second"})).raise_for_status().json()
        wanted = {"name": "member", "workspace_id": workspace["id"], "scope": "member"}
        return str((await http.post("/v1/api_keys", json=wanted)).raise_for_status().json()["key"])


@pytest.mark.schemathesis
@pytest.mark.timeout(TIMEOUT_S + 60)
@pytest.mark.parametrize("caller", ["admin", "tenant"])
async def test_no_generated_request_is_a_server_error(stack: Stack, tmp_path: Path, caller: str) -> None:
    driver = await Driver.create(stack, await stack.make_agent())
    await driver.send("so that there is something to find")
    await driver.wait_idle()
    key = stack.key if caller == "admin" else await tenant_key(stack)
    command = [str(Path(sys.executable).parent / "schemathesis"), "run", f"{stack.url}/openapi.json"]
    command += ["--header", f"Authorization: Bearer {key}", "--no-shrink", "--workers", "2"]
    command += ["--checks", "not_a_server_error,status_code_conformance"]
    # A stream does not end; tests/api/test_stream.py sends it what is bad.
    command += ["--exclude-path-regex", "/events/stream$", "--seed", SEED, "--max-examples", EXAMPLES]
    command += ["--phases", "examples,coverage,fuzzing,stateful", "--continue-on-failure", "--request-timeout", "30"]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(TIMEOUT_S):
        output, _ = await process.communicate()
    assert process.returncode == 0, output.decode(errors="replace")[-8000:]
    assert b"generated" in output, output.decode(errors="replace")[-2000:]
    assert stack.api.running
    assert '"level": "error"' not in stack.api.log.read_text(errors="replace")

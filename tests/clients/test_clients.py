"""Every generation of the official SDKs talks to a running product (2.x of Python is what all other tests use)."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients.install import PYTHON, TYPESCRIPT, node_folder_of, python_of
from tests.stack import Stack

HERE = Path(__file__).parent

pytestmark = [pytest.mark.clients, pytest.mark.timeout(120)]


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    async with Stack(tmp_path / "stack") as running:
        yield running


async def walk(*command: str | Path, folder: Path) -> dict[str, Any]:
    """Return what the program printed last."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "ANTHROPIC_"))}
    process = await asyncio.create_subprocess_exec(
        *map(str, command), cwd=folder, env=plain, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(90):
        printed, complaints = await process.communicate()
    assert process.returncode == 0, complaints.decode()[-4000:]
    seen: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return seen


def check(seen: dict[str, Any], version: str) -> None:
    turn = ["user.message", "session.status_running", "agent.message", "session.status_idle"]
    assert seen["version"] == version
    assert [type_ for type_ in seen["seen"] if type_ in turn][-3:] == turn[1:]
    assert [type_ for type_ in seen["listed"] if type_ in turn] == turn
    assert seen["versions"] == [2, 1]
    assert seen["refused"] == "not_found_error"
    assert seen["archived"] is True


@pytest.mark.parametrize("version", PYTHON)
async def test_python(stack: Stack, version: str) -> None:
    seen = await walk(python_of(version), HERE / "conversation.py", stack.url, stack.key, folder=HERE)
    check(seen, version)


@pytest.mark.parametrize("version", TYPESCRIPT)
async def test_typescript(stack: Stack, version: str) -> None:
    program = HERE / "conversation.mjs"
    seen = await walk("node", program, stack.url, stack.key, folder=node_folder_of(version))
    check(seen, version)

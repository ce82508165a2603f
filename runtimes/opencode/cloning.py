"""Cloning a repository with git. Its token is in the environment of git alone: not in the address, not on the disk."""

import asyncio
import base64
import contextlib
import os
import shutil
import signal
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from runtimes.base import Json, Resource
from runtimes.opencode.failures import WorkspaceError

_MOST_TOLD: Final = 200


async def clone(resource: Resource, target: Path) -> None:
    """Clone a repository into a folder that is not there yet.

    Raises:
        WorkspaceError: git could not; the message says what git said.
    """
    url, checkout = str(resource.detail["url"]), resource.detail.get("checkout")
    environment = _environment(url, resource.token.get_secret_value() if resource.token else None)
    await _git(_clone_command(url, checkout, target), environment, url)
    if checkout is not None and checkout["type"] == "commit":
        await _git(["-C", str(target), "checkout", "--quiet", "--detach", checkout["sha"]], environment, url)


def _clone_command(url: str, checkout: Json | None, target: Path) -> list[str]:
    chosen: list[str] = []
    if checkout is not None:
        chosen = ["--branch", checkout["name"]] if checkout["type"] == "branch" else ["--no-checkout"]
    return ["clone", "--quiet", "--template=", *chosen, "--", url, str(target)]


def _environment(url: str, token: str | None) -> dict[str, str]:
    parts = urlsplit(url)
    settings = {
        "core.hooksPath": os.devnull,
        # A redirect could carry the token elsewhere.
        "http.followRedirects": "false",
        "credential.helper": "",
    }
    if token is not None:
        encoded = base64.b64encode(f"x-access-token:{token}".encode()).decode()
        settings[f"http.{parts.scheme}://{parts.netloc}/.extraHeader"] = f"Authorization: Basic {encoded}"
    numbered = enumerate(settings.items())
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": os.devnull,
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "true",
        "GIT_ALLOW_PROTOCOL": parts.scheme,
        "GIT_CONFIG_COUNT": str(len(settings)),
        **{
            f"GIT_CONFIG_{part}_{number}": value
            for number, pair in numbered
            for part, value in zip(("KEY", "VALUE"), pair, strict=True)
        },
    }


async def _git(command: list[str], environment: dict[str, str], url: str) -> None:
    try:
        process = await asyncio.create_subprocess_exec(
            "git",
            *command,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
    except FileNotFoundError as error:
        raise WorkspaceError("the worker's host has no `git`, which repositories need") from error
    try:
        _, told = await process.communicate()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    if process.returncode != 0:
        lines = told.decode(errors="replace").strip().splitlines() or ["no reason given"]
        raise WorkspaceError(f"the repository {url} cannot be cloned: {lines[-1][:_MOST_TOLD]}")


async def remove_draft(draft: Path) -> None:
    """Remove what a clone that failed, or was killed, has left."""
    await asyncio.to_thread(shutil.rmtree, draft, ignore_errors=True)

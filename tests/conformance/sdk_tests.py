"""The SDK's own tests, from the source distribution of the installed version, in a folder that is never committed."""

import hashlib
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".conformance"
LOCK = ROOT / "requirements" / "dev.txt"
INSIDE = Path(__file__).with_name("inside")
REQUIREMENTS = Path(__file__).with_name("requirements.txt")
TIMEOUT_S = 60

_RESOURCES = (
    "beta/agents", "beta/environments", "beta/memory_stores", "beta/organization/test_webhooks.py", "beta/sessions",
    "beta/skills", "beta/test_agents.py", "beta/test_deployment_runs.py", "beta/test_deployments.py",
    "beta/test_dreams.py", "beta/test_environments.py", "beta/test_files.py", "beta/test_memory_stores.py",
    "beta/test_models.py", "beta/test_sessions.py", "beta/test_skills.py", "beta/test_tunnels.py",
    "beta/test_user_profiles.py", "beta/test_vaults.py", "beta/tunnels", "beta/user_profiles", "beta/vaults", "skills",
    "test_files.py", "test_models.py", "test_skills.py", "test_user_profiles.py", "user_profiles",
)  # fmt: skip
"""The control plane's part of `tests/api_resources`; the rest is the Messages API and administration."""


def locked_hashes(package: str, pinned: str, lock: str) -> set[str]:
    """Return the SHA-256 hashes that a lock names for a version of a package."""
    entry = rf"^{re.escape(package)}=={re.escape(pinned)} \\\n((?: +--hash=sha256:\w+(?: \\)?\n)+)"
    found = re.search(entry, lock, re.MULTILINE)
    return set(re.findall(r"sha256:(\w+)", found[1])) if found else set()


def prepare() -> Path:
    """Return the folder with the installed SDK's tests; fetch it from the package index where it is not there yet."""
    installed = version("anthropic")
    source = FOLDER / f"anthropic-{installed}"
    if not source.is_dir():
        FOLDER.mkdir(exist_ok=True)
        archive = FOLDER / f"anthropic-{installed}.tar.gz"
        if not archive.is_file():
            _pip("download", "--no-deps", "--no-binary", "anthropic", "-d", str(FOLDER), f"anthropic=={installed}")
        _check(archive, installed)
        with tempfile.TemporaryDirectory(dir=FOLDER) as unfinished, tarfile.open(archive) as opened:
            opened.extractall(unfinished, filter="data")
            Path(unfinished, source.name).rename(source)
    if not _packages().is_dir():
        with tempfile.TemporaryDirectory(dir=FOLDER) as unfinished:
            target = Path(unfinished, "packages")
            _pip("install", "--require-hashes", "--no-deps", "--target", str(target), "-r", str(REQUIREMENTS))
            target.rename(_packages())
    return source


def _packages() -> Path:
    digest = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:12]
    return FOLDER / f"packages-{digest}"


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments, "--quiet"]
    subprocess.run(command, check=True, timeout=600)


def _check(archive: Path, installed: str) -> None:
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    if digest not in locked_hashes("anthropic", installed, LOCK.read_text()):
        raise SystemExit(f"{archive} has the SHA-256 {digest}, which {LOCK} does not name: remove it and run again")


def command(select: str | None = None) -> list[str]:
    """Return the command that runs them, of which `select` chooses as pytest's `-k` does."""
    options = ["--noconftest", "-p", "sdk_clients", "-p", "no:cacheprovider", "-o", "addopts="]
    options += ["--timeout", f"{TIMEOUT_S}", "-q", "--tb=line", "--no-header", "--no-summary"]
    options += ["-k", select] if select else []
    return [sys.executable, "-m", "pytest", *options, *(f"tests/api_resources/{name}" for name in _RESOURCES)]


def environment(front: str, key: str, results: Path) -> dict[str, str]:
    """Return the environment they run in: nothing of this machine's settings for the SDK."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANTHROPIC_", "PYTEST_"))}
    ours = {"TEST_API_BASE_URL": front, "CONFORMANCE_KEY": key, "CONFORMANCE_RESULTS": str(results)}
    ours |= {"CONFORMANCE_PACKAGES": str(_packages()), "PYTHONPATH": str(INSIDE), "PYTHONDONTWRITEBYTECODE": "1"}
    return kept | ours


def read_results(results: Path) -> dict[str, tuple[str, str]]:
    """Return the outcome of each test, and what was written of it; one that failed at any time has failed."""
    outcomes: dict[str, tuple[str, str]] = {}
    for line in results.read_text().splitlines():
        result = json.loads(line)
        if result["outcome"] != "passed" or result["test"] not in outcomes:
            outcomes[result["test"]] = (result["outcome"], result["text"])
    return outcomes

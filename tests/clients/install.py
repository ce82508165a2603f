"""`python -m tests.clients.install`: install the older generations of the official SDKs, each in its own folder."""

import subprocess
import sys
import venv
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).resolve().parents[2] / ".clients"
PYTHON: Final = ("1.17.0", "0.125.0")
TYPESCRIPT: Final = ("1.12.0", "0.137.0")


def python_of(version: str) -> Path:
    """Return the interpreter that has this generation of the Python SDK."""
    return FOLDER / f"python-{version}" / "bin" / "python"


def node_folder_of(version: str) -> Path:
    """Return the folder whose `node_modules` has this generation of the TypeScript SDK."""
    return FOLDER / f"typescript-{version}"


def main() -> int:
    """Install what is missing."""
    for version in PYTHON:
        if not python_of(version).exists():
            venv.create(python_of(version).parents[1], with_pip=True)
        wanted = [f"anthropic=={version}"]
        subprocess.run([python_of(version), "-m", "pip", "install", "--quiet", "--no-input", *wanted], check=True)
    for version in TYPESCRIPT:
        folder = node_folder_of(version)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text('{"private": true}\n')
        wanted = ["--save-exact", f"@anthropic-ai/sdk@{version}"]
        subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund", *wanted], cwd=folder, check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

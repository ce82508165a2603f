"""`python -m runtimes.opencode.install`: put the pinned OpenCode into `.runtimes/opencode` of this project.

Only tests and local trials need it; a deployment brings its own OpenCode server. It takes npm and the registry that
npm is configured for, records no address, and does nothing if the pinned version is there.
"""

import json
import pathlib
import shutil
import subprocess
import sys

FOLDER = pathlib.Path(__file__).resolve().parents[2] / ".runtimes" / "opencode"
BINARY = FOLDER / "node_modules" / ".bin" / "opencode"
_PACKAGE = "opencode-ai"


class InstallError(Exception):
    """OpenCode could not be installed, or is not the version it should be."""


def pinned_version() -> str:
    """Return the version that `package.json` names."""
    manifest = json.loads((pathlib.Path(__file__).parent / "package.json").read_text())
    return str(manifest["dependencies"][_PACKAGE])


def installed_version() -> str | None:
    """Return what the installed program says of itself; None if there is none that runs."""
    if not BINARY.exists():
        return None
    try:
        done = subprocess.run([BINARY, "--version"], capture_output=True, text=True, timeout=120, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def install() -> str:
    """Install the pinned version if it is not there, and return it.

    Raises:
        InstallError: npm is missing or fails, or what came is another version.
    """
    version = pinned_version()
    if installed_version() == version:
        return version
    npm = shutil.which("npm")
    if npm is None:
        raise InstallError("npm is needed to install OpenCode")
    FOLDER.mkdir(parents=True, exist_ok=True)
    # The lock file would record where the package was downloaded from.
    flags = ["--no-save", "--no-package-lock", "--no-audit", "--no-fund", "--loglevel=error"]
    command = [npm, "install", *flags, "--prefix", str(FOLDER), f"{_PACKAGE}@{version}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    (FOLDER / "node_modules" / ".package-lock.json").unlink(missing_ok=True)
    if done.returncode != 0:
        raise InstallError(f"npm could not install {_PACKAGE}@{version}:\n{done.stderr[-2000:]}")
    # npm takes an older version, without a word, where an engine does not fit.
    came = installed_version()
    if came != version:
        raise InstallError(f"{version} was asked for, and {came or 'nothing that runs'} came")
    return version


def main() -> int:
    """Install, say what came, and return the exit code."""
    try:
        sys.stdout.write(f"OpenCode {install()} at {BINARY}\n")
    except InstallError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

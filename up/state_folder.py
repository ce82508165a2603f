"""The folder that outlives a launch, and the lock that gives it to one launcher at a time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from up.errors import StartError


@contextmanager
def held(state_dir: Path) -> Iterator[None]:
    """Make the folder where it is missing and hold it; the kernel lets go when the launcher ends, however it ends.

    Raises:
        StartError: the folder cannot be written, or another launcher holds it.
    """
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        (state_dir / "logs").mkdir(exist_ok=True)
        descriptor = os.open(state_dir / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StartError(
            f"the state folder {state_dir} cannot be written ({error.strerror}): "
            "make it writable or set WAYSTATION_STATE_DIR"
        ) from None
    try:
        _lock(descriptor, state_dir)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, state_dir: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
        raise StartError(
            f"`make up` already runs on {state_dir} (pid {holder}): end it with `kill {holder}` "
            "or set WAYSTATION_STATE_DIR and the ports to others"
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)

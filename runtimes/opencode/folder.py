"""Writing below a folder that an agent can change at any time: no link in it is ever followed."""

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from runtimes.opencode.failures import WorkspaceError

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW


@contextmanager
def opened(root: Path, parts: Sequence[str], *, make: bool) -> Iterator[int]:
    """Yield a descriptor of the folder `parts` below `root`; with `make`, folders that are missing are made.

    Raises:
        WorkspaceError: something on the way is a link or a file.
        FileNotFoundError: it is not there, without `make`.
    """
    descriptor = os.open(root, _FOLDER)
    try:
        for part in parts:
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, dir_fd=descriptor)
            inner = _open_folder(part, descriptor)
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)


def _open_folder(part: str, parent: int) -> int:
    try:
        return os.open(part, _FOLDER, dir_fd=parent)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise WorkspaceError(f"{part!r} in the session's folder is a link or a file, not a folder") from error
        raise


@contextmanager
def new_file(root: Path, parts: Sequence[str], draft: str) -> Iterator[int]:
    """Yield a descriptor to write a file with; at the end it takes its place whole, or not at all.

    Raises:
        WorkspaceError: something on the way is a link or a file, or a folder is in its place.
    """
    with opened(root, parts[:-1], make=True) as folder:
        descriptor = os.open(draft, _NEW_FILE, 0o644, dir_fd=folder)
        try:
            try:
                yield descriptor
            finally:
                os.close(descriptor)
            os.rename(draft, parts[-1], src_dir_fd=folder, dst_dir_fd=folder)
        except IsADirectoryError as error:
            raise WorkspaceError(f"{parts[-1]!r} in the session's folder is a folder, not a file") from error
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(draft, dir_fd=folder)


def move_in(source: Path, root: Path, parts: Sequence[str]) -> None:
    """Move a folder to its place, unless something is there already.

    Raises:
        WorkspaceError: something on the way is a link or a file.
    """
    with opened(root, parts[:-1], make=True) as folder:
        if not _exists(parts[-1], folder):
            os.rename(source, parts[-1], dst_dir_fd=folder)


def exists(root: Path, parts: Sequence[str]) -> bool:
    """Return whether something is there, a link included."""
    try:
        with opened(root, parts[:-1], make=False) as folder:
            return _exists(parts[-1], folder)
    except FileNotFoundError:
        return False


def _exists(name: str, folder: int) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def remove(root: Path, parts: Sequence[str]) -> None:
    """Remove a file, or a folder with all it holds; links in it are removed, not followed."""
    try:
        with opened(root, parts[:-1], make=False) as folder:
            if stat.S_ISDIR(os.stat(parts[-1], dir_fd=folder, follow_symlinks=False).st_mode):
                shutil.rmtree(parts[-1], dir_fd=folder)
            else:
                os.unlink(parts[-1], dir_fd=folder)
    except FileNotFoundError:
        return

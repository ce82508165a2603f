"""What is laid into a session's folder: files and repositories at their mount paths below it, skills for OpenCode."""

import asyncio
import io
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

from runtimes.base import Resource
from runtimes.opencode import cloning, folder
from runtimes.opencode.failures import WorkspaceError

_SKILLS = (".agents", "skills")
"""Where OpenCode looks for skills also when it is told not to read configuration from the folders it works in."""


def told_mounts(mounts: Sequence[str]) -> str:
    """Return what the agent is told of files and repositories; empty if there are none."""
    if not mounts:
        return ""
    lines = "\n".join(f"- {path} is at .{path}" for path in mounts)
    return f"Files and repositories that were given to you lie below your working folder:\n{lines}"


class Workspace:
    """The folder of one session, on this host."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def lay(self, resources: Sequence[Resource]) -> None:
        """Bring resources in, or take them out. May be repeated.

        Raises:
            WorkspaceError: the folder, or what the agent made of it, does not allow it; or a repository cannot be had.
        """
        try:
            for resource in resources:
                await self._lay_one(resource)
        except OSError as error:
            raise WorkspaceError(f"the session's folder cannot be written: {error.strerror}") from error

    async def _lay_one(self, resource: Resource) -> None:
        if resource.removed:
            await asyncio.to_thread(folder.remove, self._root, _parts(resource))
        elif resource.type == "file":
            await self._lay_file(resource)
        elif resource.type == "github_repository":
            await self._lay_repository(resource)
        else:
            await self._lay_skill(resource)

    async def _lay_file(self, resource: Resource) -> None:
        assert resource.content is not None
        with folder.new_file(self._root, _parts(resource), f".{resource.id}") as descriptor:
            async for piece in resource.content():
                await asyncio.to_thread(_write, descriptor, piece)

    async def _lay_repository(self, resource: Resource) -> None:
        if await asyncio.to_thread(folder.exists, self._root, _parts(resource)):
            return
        # Beside the sessions' folders, so that it can be moved in whole.
        draft = self._root.parent / f".{resource.id}"
        await cloning.remove_draft(draft)
        try:
            await cloning.clone(resource, draft)
            await asyncio.to_thread(folder.move_in, draft, self._root, _parts(resource))
        finally:
            await cloning.remove_draft(draft)

    async def _lay_skill(self, resource: Resource) -> None:
        assert resource.content is not None
        packed = io.BytesIO(b"".join([piece async for piece in resource.content()]))
        await asyncio.to_thread(self._unpack, packed, resource)

    def _unpack(self, packed: io.BytesIO, resource: Resource) -> None:
        with zipfile.ZipFile(packed) as archive:
            for member in archive.infolist():
                inner = member.filename.split("/")[1:]
                with folder.new_file(self._root, [*_parts(resource), *inner], f".{resource.id}") as descriptor:
                    _write(descriptor, archive.read(member))


def _parts(resource: Resource) -> list[str]:
    if resource.type == "skill":
        return [*_SKILLS, resource.detail["name"]]
    return resource.mount_path.split("/")[1:]


def _write(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]

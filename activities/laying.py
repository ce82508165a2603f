"""Bringing a session's resources into its runtime, before the turn that is to find them there."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Final

import structlog
from pydantic import SecretStr
from sqlalchemy import RowMapping

from runtimes.base import ContentError, Resource, Runtime, Session
from runtimes.capabilities import Capabilities
from security.vault import Vault
from store.blobs import BlobMissingError, Blobs
from store.engine import Store
from store.repositories import session_resources

_LIMIT_S: Final = 600.0
_log = structlog.get_logger()


class Layer:
    """Gives runtimes what they have yet to be told of a session's resources."""

    def __init__(self, store: Store, blobs: Blobs, vault: Vault) -> None:
        self._store = store
        self._blobs = blobs
        self._vault = vault

    async def lay(self, runtime: Runtime, session: Session, workspace_id: str) -> Sequence[str]:
        """Lay what is pending, and return where resources are mounted.

        Raises:
            TimeoutError: it took ten minutes.
            SealError: a token cannot be opened.
        """
        if not takes_resources(runtime.capabilities):
            return ()
        rows = await self._store.read(partial(session_resources.pending_resources, session_id=session.id))
        if rows:
            resources = [self._resource(row, workspace_id) for row in rows]
            async with asyncio.timeout(_LIMIT_S):
                await runtime.lay(session, resources)
            await self._store.write(partial(session_resources.mark_laid, rows=rows))
            _log.info("resources_laid", session_id=session.id, count=len(rows))
        return await self._store.read(partial(session_resources.mount_paths, session_id=session.id))

    def _resource(self, row: RowMapping, workspace_id: str) -> Resource:
        token = None
        if row["token"] is not None:
            token = SecretStr(self._vault.open(row["token"], workspace_id, row["id"]))
        return Resource(
            id=row["id"],
            type=row["type"],
            mount_path=row["mount_path"],
            detail=row["detail"],
            removed=row["removed_at"] is not None,
            token=token,
            content=partial(self._content, row["blob_id"]) if row["blob_id"] else None,
        )

    async def _content(self, blob_id: str) -> AsyncIterator[bytes]:
        try:
            async for piece in self._blobs.open(blob_id):
                yield piece
        except (BlobMissingError, OSError) as error:
            raise ContentError(f"a file of the session cannot be read now ({type(error).__name__})") from error


def takes_resources(capabilities: Capabilities) -> bool:
    """Return whether a runtime can be given anything of ours."""
    return capabilities.files or capabilities.repositories or capabilities.skills == "own"

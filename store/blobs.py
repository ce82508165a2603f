"""Bytes that are too large for the database: a folder, or a bucket of an S3-compatible service.

A blob is named by an id of ours, never by what a client sent, and is never changed. Which blobs there should be stands
in the table `blobs`: see `store.repositories.blobs`.
"""

import abc
import asyncio
import contextlib
import hashlib
import os
import re
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeVar
from urllib.parse import urlsplit

T = TypeVar("T")

_CHUNK: Final = 1024 * 1024
_ID: Final = re.compile(r"blob_[0-9a-z]{26}")
_DRAFT_LIFE_S: Final = 24 * 3600


class BlobMissingError(Exception):
    """The store has no such blob."""


class BlobStoreError(OSError):
    """The blob store cannot be reached, or refuses."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What was stored: bytes, and their SHA-256 in hexadecimal."""

    size: int
    sha256: str


class Blobs(abc.ABC):
    """A blob store. Every operation may be repeated."""

    @abc.abstractmethod
    async def put(self, blob_id: str, source: BinaryIO) -> Stored:
        """Store what can be read from `source`: whole and durable, or not at all."""

    @abc.abstractmethod
    def open(self, blob_id: str) -> AsyncIterator[bytes]:
        """Yield the blob in pieces of at most 1 MiB.

        Raises:
            BlobMissingError: at the first piece, if there is no such blob.
        """

    @abc.abstractmethod
    async def delete(self, blob_id: str) -> None:
        """Remove a blob, if it is there."""

    async def sweep(self) -> None:
        """Remove what puts that never ended have left behind."""
        return


class FolderBlobs(Blobs):
    """Blobs as files below a folder, on the disk that the database's host uses or one that all processes share."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._drafts = folder / "drafts"

    def _path(self, blob_id: str) -> Path:
        # The end of an id is random, its beginning is time.
        return self._folder / _checked(blob_id)[-2:] / blob_id

    async def put(self, blob_id: str, source: BinaryIO) -> Stored:
        return await asyncio.to_thread(self._put, blob_id, source)

    def _put(self, blob_id: str, source: BinaryIO) -> Stored:
        path, draft = self._path(blob_id), self._drafts / f"{blob_id}.{os.getpid()}"
        for folder in (path.parent, self._drafts):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with draft.open("xb") as file:
                stored = _copy(source, file)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        for folder in (path.parent, self._folder):
            _sync_folder(folder)
        return stored

    async def open(self, blob_id: str) -> AsyncIterator[bytes]:
        try:
            file = await asyncio.to_thread(self._path(blob_id).open, "rb")
        except FileNotFoundError:
            raise BlobMissingError(blob_id) from None
        with file:
            while chunk := await asyncio.to_thread(file.read, _CHUNK):
                yield chunk

    async def delete(self, blob_id: str) -> None:
        await asyncio.to_thread(self._path(blob_id).unlink, missing_ok=True)

    async def sweep(self) -> None:
        await asyncio.to_thread(self._sweep)

    def _sweep(self) -> None:
        before = time.time() - _DRAFT_LIFE_S
        for draft in self._drafts.glob("*"):
            with contextlib.suppress(FileNotFoundError):
                if draft.stat().st_mtime < before:
                    draft.unlink()


class BucketBlobs(Blobs):
    """Blobs as objects of a bucket; credentials and region are found as boto3 finds them."""

    def __init__(self, bucket: str, prefix: str, endpoint: str | None) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._endpoint = endpoint

    @cached_property
    def _client(self) -> Any:
        # Imported when used: it takes a third of a second, and few installations need it.
        import boto3

        return boto3.client("s3", endpoint_url=self._endpoint)

    def _named(self, blob_id: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": f"{self._prefix}{_checked(blob_id)}"}

    async def put(self, blob_id: str, source: BinaryIO) -> Stored:
        return await self._run(partial(self._put, blob_id, source))

    def _put(self, blob_id: str, source: BinaryIO) -> Stored:
        start = source.tell()
        stored = _copy(source, None)
        source.seek(start)
        self._client.upload_fileobj(source, **self._named(blob_id))
        return stored

    async def open(self, blob_id: str) -> AsyncIterator[bytes]:
        body = await self._run(partial(self._get, blob_id))
        with contextlib.closing(body):
            while chunk := await self._run(partial(body.read, _CHUNK)):
                yield chunk

    def _get(self, blob_id: str) -> Any:
        try:
            return self._client.get_object(**self._named(blob_id))["Body"]
        except self._client.exceptions.NoSuchKey:
            raise BlobMissingError(blob_id) from None

    async def delete(self, blob_id: str) -> None:
        await self._run(lambda: self._client.delete_object(**self._named(blob_id)))

    async def _run(self, work: Callable[[], T]) -> T:
        """Run a call of boto3, which blocks, in a thread."""
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return await asyncio.to_thread(work)
        except (Boto3Error, BotoCoreError, ClientError) as error:
            raise BlobStoreError(f"the blob store failed: {type(error).__name__}") from error


def open_blobs(url: str, endpoint: str, state_dir: Path) -> Blobs:
    """Return the blob store of an `s3://bucket/prefix` address, or the folder `blobs` of the state folder.

    Raises:
        ValueError: the address is of another kind, or names no bucket.
    """
    if not url:
        return FolderBlobs(state_dir / "blobs")
    parts = urlsplit(url)
    if parts.scheme != "s3" or not parts.netloc:
        raise ValueError("blobs_url must be s3://bucket or s3://bucket/prefix")
    return BucketBlobs(parts.netloc, parts.path, endpoint or None)


def _checked(blob_id: str) -> str:
    if not _ID.fullmatch(blob_id):
        raise ValueError(f"not a blob's id: {blob_id!r}")
    return blob_id


def _copy(source: BinaryIO, target: BinaryIO | None) -> Stored:
    digest, size = hashlib.sha256(), 0
    while chunk := source.read(_CHUNK):
        digest.update(chunk)
        size += len(chunk)
        if target is not None:
            target.write(chunk)
    return Stored(size, digest.hexdigest())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""One suite for both blob stores, and the sweep that keeps them and the database in step."""

import hashlib
import io
import os
import pathlib
import time
from collections.abc import Iterator

import boto3
import pytest
from moto.server import ThreadedMotoServer

from activities.blob_sweep import BlobSweep
from protocol.errors import OverloadedError
from protocol.ids import new_id
from store.blobs import BlobMissingError, Blobs, BlobStoreError, FolderBlobs, Stored, open_blobs
from store.engine import Store
from store.repositories.access import create_workspace
from store.repositories.blobs import begin_blob, claim_blob, release_blob
from store.repositories.files import create_file, delete_file, get_file
from store.tables import blobs as blob_rows
from store.tables import files

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(params=["folder", "bucket"])
def blobs(request: pytest.FixtureRequest, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Blobs:
    if request.param == "folder":
        return open_blobs("", "", tmp_path)
    endpoint: str = request.getfixturevalue("s3")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket="bucket")
    return open_blobs(f"s3://bucket/{tmp_path.name}/", endpoint, tmp_path)


async def content(blobs: Blobs, blob_id: str) -> bytes:
    return b"".join([piece async for piece in blobs.open(blob_id)])


async def test_what_is_put_is_read_back(blobs: Blobs) -> None:
    blob_id, data = new_id("blob"), os.urandom(3_000_001)
    stored = await blobs.put(blob_id, io.BytesIO(data))
    assert stored == Stored(len(data), hashlib.sha256(data).hexdigest())
    pieces = [piece async for piece in blobs.open(blob_id)]
    assert b"".join(pieces) == data
    assert max(map(len, pieces)) <= 1024 * 1024


async def test_an_empty_blob_is_one(blobs: Blobs) -> None:
    blob_id = new_id("blob")
    assert (await blobs.put(blob_id, io.BytesIO())).size == 0
    assert await content(blobs, blob_id) == b""


async def test_a_put_may_be_repeated(blobs: Blobs) -> None:
    blob_id = new_id("blob")
    for _ in range(2):
        await blobs.put(blob_id, io.BytesIO(b"same"))
    assert await content(blobs, blob_id) == b"same"


async def test_deleted_is_gone_and_may_be_deleted_again(blobs: Blobs) -> None:
    blob_id = new_id("blob")
    await blobs.put(blob_id, io.BytesIO(b"x"))
    for _ in range(2):
        await blobs.delete(blob_id)
    with pytest.raises(BlobMissingError):
        await content(blobs, blob_id)


@pytest.mark.parametrize("name", ["../../etc/passwd", "blob_", "blob_" + "a" * 25 + "/", "x"])
async def test_only_ids_of_ours_name_blobs(blobs: Blobs, name: str) -> None:
    with pytest.raises(ValueError, match="not a blob's id"):
        await blobs.put(name, io.BytesIO(b"x"))
    with pytest.raises(ValueError, match="not a blob's id"):
        await blobs.delete(name)


class Broken(io.BytesIO):
    def read(self, *_: object) -> bytes:
        raise OSError("the disk is gone")


async def test_a_put_that_fails_leaves_nothing(tmp_path: pathlib.Path) -> None:
    blob_id = new_id("blob")
    with pytest.raises(OSError, match="disk is gone"):
        await FolderBlobs(tmp_path).put(blob_id, Broken())
    assert not any(path.is_file() for path in tmp_path.rglob("*"))  # noqa: ASYNC240 - nothing else runs


async def test_an_old_draft_is_swept(tmp_path: pathlib.Path) -> None:
    blobs = FolderBlobs(tmp_path)
    await blobs.put(kept := new_id("blob"), io.BytesIO(b"kept"))
    old, young = tmp_path / "drafts" / "old", tmp_path / "drafts" / "young"
    for draft in (old, young):
        draft.write_bytes(b"half")
    os.utime(old, (time.time() - 90_000,) * 2)
    await blobs.sweep()
    assert not old.exists()
    assert young.exists()
    assert await content(blobs, kept) == b"kept"


@pytest.mark.parametrize("url", ["http://bucket", "s3://", "bucket"])
def test_another_address_is_refused(url: str, tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match="s3://bucket"):
        open_blobs(url, "", tmp_path)


async def test_a_bucket_that_is_away_is_an_error_of_its_own(
    s3: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with pytest.raises(BlobStoreError):
        await open_blobs("s3://no-such-bucket", s3, tmp_path).put(new_id("blob"), io.BytesIO(b"x"))


async def made_file(store: Store, blobs: Blobs, **values: object) -> tuple[str, str, str]:
    """Return workspace, file and blob of a new file."""
    workspace = await store.write(lambda db: create_workspace(db, "w"))
    blob_id = await store.write(begin_blob)
    stored = await blobs.put(blob_id, io.BytesIO(b"bytes"))
    named = {"filename": "a.txt", "mime_type": "text/plain"}
    row = await store.write(lambda db: create_file(db, workspace["id"], blob_id, stored, named, **values))  # type: ignore[arg-type]
    return workspace["id"], row["id"], blob_id


async def rows_of(store: Store) -> set[str]:
    return set(await store.read(lambda db: db.execute(blob_rows.select()).scalars().all()))


async def test_the_sweep_removes_what_was_released(db_store: Store, blobs: Blobs) -> None:
    workspace, file_id, blob_id = await made_file(db_store, blobs)
    sweep = BlobSweep(db_store, blobs)
    assert await sweep.sweep() == 0
    await db_store.write(lambda db: delete_file(db, workspace, file_id))
    assert await sweep.sweep() == 1
    assert await rows_of(db_store) == set()
    with pytest.raises(BlobMissingError):
        await content(blobs, blob_id)


async def test_the_sweep_keeps_what_something_still_refers_to(db_store: Store, blobs: Blobs) -> None:
    _, _, blob_id = await made_file(db_store, blobs)
    await db_store.write(lambda db: release_blob(db, blob_id))
    assert await BlobSweep(db_store, blobs).sweep() == 0
    assert await content(blobs, blob_id) == b"bytes"


async def test_an_orphan_of_a_dead_process_is_swept_after_a_day(db_store: Store, blobs: Blobs) -> None:
    blob_id = await db_store.write(begin_blob)
    await blobs.put(blob_id, io.BytesIO(b"orphan"))
    sweep = BlobSweep(db_store, blobs)
    assert await sweep.sweep() == 0
    await db_store.write(lambda db: db.execute(blob_rows.update().values(removable_at=1)))
    assert await sweep.sweep() == 1
    with pytest.raises(BlobMissingError):
        await content(blobs, blob_id)


class FailsOnce(FolderBlobs):
    failed = False

    async def delete(self, blob_id: str) -> None:
        if not self.failed:
            self.failed = True
            raise OSError("away")
        await super().delete(blob_id)


async def test_a_sweep_that_dies_between_is_finished_by_the_next(db_store: Store, tmp_path: pathlib.Path) -> None:
    blobs = FailsOnce(tmp_path)
    workspace, file_id, blob_id = await made_file(db_store, blobs)
    await db_store.write(lambda db: delete_file(db, workspace, file_id))
    sweep = BlobSweep(db_store, blobs)
    with pytest.raises(OSError, match="away"):
        await sweep.sweep()
    with pytest.raises(OverloadedError):
        await db_store.write(lambda db: claim_blob(db, blob_id))
    assert await sweep.sweep() == 1
    assert await rows_of(db_store) == set()


async def test_an_expired_file_loses_its_bytes(db_store: Store, blobs: Blobs) -> None:
    workspace, file_id, _ = await made_file(db_store, blobs, lifetime_us=3_600_000_000)
    sweep = BlobSweep(db_store, blobs)
    assert await sweep.sweep() == 0
    await db_store.write(lambda db: db.execute(files.update().values(expires_at=1)))
    assert await sweep.sweep() == 1
    row = await db_store.read(lambda db: get_file(db, workspace, file_id))
    assert row["blob_id"] is None

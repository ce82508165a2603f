"""Which blobs there should be.

A blob's row is committed before its bytes are stored, removable after a day: should the process die, the sweep finds
it. What refers to a blob claims it in its own transaction; what ceases to, releases it. So no row is ever without its
bytes, and no bytes stay that nothing refers to.
"""

from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa
from sqlalchemy import Connection

from protocol.errors import OverloadedError
from protocol.ids import new_id
from store.clock import now_us
from store.tables import blobs, files, session_resources, skill_versions

_UNCLAIMED_US: Final = 24 * 3600 * 1_000_000
"""Longer than any upload may take."""
_REFERRED: Final = sa.or_(
    *(
        sa.exists().where(column == blobs.c.id)
        for column in (files.c.blob_id, skill_versions.c.blob_id, session_resources.c.blob_id)
    )
)


def begin_blob(db: Connection) -> str:
    """Return the id of a blob that is to be stored now and claimed within a day."""
    blob_id = new_id("blob")
    values = {"created_at": now_us(), "removable_at": now_us() + _UNCLAIMED_US, "removing": False}
    db.execute(sa.insert(blobs).values(id=blob_id, **values))
    return blob_id


def claim_blob(db: Connection, blob_id: str) -> None:
    """Keep a blob for what the transaction is about to make refer to it.

    Raises:
        OverloadedError: the sweep has taken it already: its upload took over a day.
    """
    claimed = db.execute(
        sa.update(blobs).where(blobs.c.id == blob_id, sa.not_(blobs.c.removing)).values(removable_at=None)
    )
    if claimed.rowcount != 1:
        raise OverloadedError("the upload took too long; send it again")


def release_blob(db: Connection, blob_id: str | None) -> None:
    """Let the sweep remove a blob, unless something else refers to it."""
    if blob_id is not None:
        db.execute(sa.update(blobs).where(blobs.c.id == blob_id).values(removable_at=now_us()))


def expire_files(db: Connection, limit: int) -> int:
    """Take their blobs from files whose time is over, and return how many there were."""
    due = sa.select(files.c.id).where(files.c.expires_at <= now_us(), files.c.blob_id.is_not(None)).limit(limit)
    taken = db.execute(sa.select(files.c.id, files.c.blob_id).where(files.c.id.in_(due)).with_for_update()).all()
    for file_id, blob_id in taken:
        db.execute(sa.update(files).where(files.c.id == file_id).values(blob_id=None))
        release_blob(db, blob_id)
    return len(taken)


def take_removable(db: Connection, limit: int) -> Sequence[str]:
    """Return blobs that are to be removed; from this commit nothing can claim them."""
    due = (
        sa.select(blobs.c.id).where(blobs.c.removable_at <= now_us()).order_by(blobs.c.removable_at).limit(limit)
    ).with_for_update(skip_locked=True)
    ids = list(db.execute(due).scalars())
    if not ids:
        return ids
    named = blobs.c.id.in_(ids)
    db.execute(sa.update(blobs).where(named, _REFERRED).values(removable_at=None))
    taken = sa.update(blobs).where(named, blobs.c.removable_at.is_not(None)).values(removing=True)
    return list(db.execute(taken.returning(blobs.c.id)).scalars())


def forget_blob(db: Connection, blob_id: str) -> None:
    """Erase the row of a blob whose bytes are removed."""
    db.execute(sa.delete(blobs).where(blobs.c.id == blob_id, blobs.c.removing))

"""Memories, in the database: every change writes a version and is made under the locks of its store and memory.

A caller has its store from `get_memory_store` in the same transaction, which is what keeps workspaces apart.
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, RowMapping

from protocol.errors import NotFoundError
from protocol.ids import new_id
from protocol.memory_stores import (
    Author,
    MemoryPathConflictError,
    MemoryPreconditionFailedError,
    MemoryUpdateParams,
    sha256_of,
)
from store.clock import read_now
from store.repositories.memory_stores import get_memory_store, get_writable_store
from store.tables import memories, memory_versions

Json = dict[str, Any]

_BASIC = sa.select(*memories.c, memory_versions.c.content_sha256, memory_versions.c.content_size_bytes).join_from(
    memories, memory_versions, memory_versions.c.id == memories.c.version_id
)


def create_memory(
    db: Connection, workspace_id: str, memory_store_id: str, *, path: str, content: str, author: Author
) -> RowMapping:
    """Create a memory at a free path.

    Raises:
        NotFoundError: there is no such store in the workspace.
        InvalidRequestError: it is archived.
        MemoryPathConflictError: the path is taken.
    """
    get_writable_store(db, workspace_id, memory_store_id, "exclusive")
    memory_id = new_id("mem")
    _refuse_taken(db, memory_store_id, memory_id, path)
    now = read_now(db)
    version = _version(memory_store_id, memory_id, author, now, operation="created", path=path, **_described(content))
    db.execute(sa.insert(memory_versions).values(version))
    row = {"id": memory_id, "memory_store_id": memory_store_id, "path": path, "version_id": version["id"]}
    db.execute(sa.insert(memories).values(**row, created_at=now, updated_at=now))
    return _get(db, memory_store_id, memory_id)


def get_memory(db: Connection, workspace_id: str, memory_store_id: str, memory_id: str) -> RowMapping:
    """Return a memory without its content.

    Raises:
        NotFoundError: there is no such store in the workspace, or no such memory in it.
    """
    get_memory_store(db, workspace_id, memory_store_id)
    return _get(db, memory_store_id, memory_id)


def contents_of(db: Connection, version_ids: list[str]) -> dict[str, str | None]:
    """Return the contents of versions that are still there, by their ids."""
    statement = sa.select(memory_versions.c.id, memory_versions.c.content).where(memory_versions.c.id.in_(version_ids))
    return {row.id: row.content for row in db.execute(statement)}


def update_memory(
    db: Connection,
    workspace_id: str,
    memory_store_id: str,
    memory_id: str,
    params: MemoryUpdateParams,
    author: Author,
) -> RowMapping:
    """Change a memory's content or path; without a difference, nothing is written.

    Raises:
        NotFoundError: there is no such store in the workspace, or no such memory in it.
        InvalidRequestError: the store is archived.
        MemoryPreconditionFailedError: the memory's content is another than the update was made for.
        MemoryPathConflictError: the path is taken.
    """
    get_writable_store(db, workspace_id, memory_store_id, "shared" if params.path is None else "exclusive")
    current = _get_locked(db, memory_store_id, memory_id)
    _check_content(current, params.precondition.content_sha256 if params.precondition else None)
    path = current["path"] if params.path is None else params.path
    if path != current["path"]:
        _refuse_taken(db, memory_store_id, memory_id, path)
    elif params.content is None or sha256_of(params.content) == current["content_sha256"]:
        return current
    content = params.content
    if content is None:
        content = contents_of(db, [current["version_id"]])[current["version_id"]]
        assert content is not None  # the version a memory points to is never redacted
    now = _next_time(db, current)
    version = _version(memory_store_id, memory_id, author, now, operation="modified", path=path, **_described(content))
    db.execute(sa.insert(memory_versions).values(version))
    changed = {"path": path, "version_id": version["id"], "updated_at": now}
    db.execute(sa.update(memories).where(memories.c.id == memory_id).values(changed))
    return _get(db, memory_store_id, memory_id)


def delete_memory(
    db: Connection,
    workspace_id: str,
    memory_store_id: str,
    memory_id: str,
    *,
    expected_content_sha256: str | None,
    author: Author,
) -> None:
    """Delete a memory; its versions stay, with one more that tells of this.

    Raises:
        NotFoundError: there is no such store in the workspace, or no such memory in it.
        MemoryPreconditionFailedError: the memory's content is not the expected one.
    """
    get_memory_store(db, workspace_id, memory_store_id, "shared")
    current = _get_locked(db, memory_store_id, memory_id)
    _check_content(current, expected_content_sha256)
    now = _next_time(db, current)
    version = _version(memory_store_id, memory_id, author, now, operation="deleted", path=current["path"])
    db.execute(sa.insert(memory_versions).values(version))
    db.execute(sa.delete(memories).where(memories.c.id == memory_id))


def list_memories(
    db: Connection, memory_store_id: str, *, prefix: str, depth: int, limit: int, after: str | None
) -> list[RowMapping | str]:
    """Return memories below `prefix` by path, and one more than the limit if there are more.

    With a `depth` over 0, those that lie deeper are one item, their folder's path. `after` is the item before.
    """
    items: list[RowMapping | str] = []
    low = prefix if after is None else _first_after(after)
    while len(items) <= limit:
        wanted = limit + 1 - len(items)
        rows = db.execute(_between(memory_store_id, low, _first_after(prefix)).limit(wanted)).mappings().all()
        for row in rows:
            folder = _folder(row["path"], prefix, depth)
            if folder is None:
                items.append(row)
            elif not items or items[-1] != folder:
                items.append(folder)
        if len(rows) < wanted:
            break
        low = _first_after(path_of(items[-1]))
    return items


def path_of(item: RowMapping | str) -> str:
    """Return the path of an item of a list."""
    return item if isinstance(item, str) else str(item["path"])


def _between(memory_store_id: str, low: str, high: str) -> sa.Select[Any]:
    path = memories.c.path
    return (
        _BASIC.where(memories.c.memory_store_id == memory_store_id).where(path >= low, path < high).order_by(path.asc())
    )


def _first_after(item: str) -> str:
    """Return the lowest place behind an item: behind a folder and all in it, or right behind a memory's path."""
    # The character that follows `/` is `0`; no path holds a control character.
    return f"{item[:-1]}0" if item.endswith("/") else f"{item}\x01"


def _folder(path: str, prefix: str, depth: int) -> str | None:
    segments = path[len(prefix) :].split("/")
    return f"{prefix}{'/'.join(segments[:depth])}/" if 0 < depth < len(segments) else None


def _get(db: Connection, memory_store_id: str, memory_id: str) -> RowMapping:
    statement = _BASIC.where(memories.c.memory_store_id == memory_store_id, memories.c.id == memory_id)
    row = db.execute(statement).mappings().first()
    if row is None:
        raise NotFoundError(f"no memory {memory_id!r}", error_code="memory_not_found")
    return row


def _get_locked(db: Connection, memory_store_id: str, memory_id: str) -> RowMapping:
    # Locked by itself first: a join would be read as it was before the wait.
    own = sa.select(memories.c.id).where(memories.c.memory_store_id == memory_store_id, memories.c.id == memory_id)
    db.execute(own.with_for_update())
    return _get(db, memory_store_id, memory_id)


def _check_content(current: RowMapping, expected: str | None) -> None:
    if expected is not None and expected != current["content_sha256"]:
        raise MemoryPreconditionFailedError(
            f"memory {current['id']!r} has another content by now: retrieve it, and send the change for that one"
        )


def _refuse_taken(db: Connection, memory_store_id: str, memory_id: str, path: str) -> None:
    """Refuse a path at which, above which or below which another memory stands."""
    segments = path.split("/")
    above = ["/".join(segments[:count]) for count in range(2, len(segments) + 1)]
    below = sa.and_(memories.c.path >= f"{path}/", memories.c.path < f"{path}0")
    taken = sa.select(memories.c.id, memories.c.path).where(
        memories.c.memory_store_id == memory_store_id,
        memories.c.id != memory_id,
        sa.or_(memories.c.path.in_(above), below),
    )
    found = db.execute(taken.limit(1)).first()
    if found is not None:
        raise MemoryPathConflictError(
            f"`path`: memory {found.id!r} stands at {found.path!r}: update that one, or choose another path"
        )


def _described(content: str) -> Json:
    size = len(content.encode())
    return {"content": content, "content_sha256": sha256_of(content), "content_size_bytes": size}


def _version(memory_store_id: str, memory_id: str, author: Author, now: int, **change: Any) -> Json:
    return {
        "id": new_id("memver"),
        "memory_store_id": memory_store_id,
        "memory_id": memory_id,
        "author_type": author.type,
        "author_id": author.id,
        "created_at": now,
        **change,
    }


def _next_time(db: Connection, current: RowMapping) -> int:
    """Return a time later than the memory's last change, so that its versions have an order."""
    return max(read_now(db), int(current["updated_at"]) + 1)

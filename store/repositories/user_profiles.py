"""User profiles, in the database."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, RowMapping

from protocol.errors import NotFoundError
from protocol.ids import new_id
from store.clock import read_now
from store.tables import user_profiles

Json = dict[str, Any]
Condition = sa.ColumnElement[bool]

_BY_AGE = (user_profiles.c.created_at, user_profiles.c.id)
_BY_NAME = (user_profiles.c.name_key, user_profiles.c.id)


def create_user_profile(db: Connection, workspace_id: str, values: Json) -> RowMapping:
    """Create a profile; `values` are `name`, `access_type`, `details` and `metadata`."""
    now = read_now(db)
    stored = {
        "id": new_id("uprof"),
        "workspace_id": workspace_id,
        "name_key": name_key(values["name"]),
        "created_at": now,
        "updated_at": now,
        **values,
    }
    return db.execute(sa.insert(user_profiles).values(stored).returning(user_profiles)).mappings().one()


def get_user_profile(db: Connection, workspace_id: str, profile_id: str, *, lock: bool = False) -> RowMapping:
    """Return a profile; with `lock`, nobody else changes it until the transaction ends.

    Raises:
        NotFoundError: there is no such profile in the workspace.
    """
    statement = sa.select(user_profiles).where(_one(workspace_id, profile_id))
    row = db.execute(statement.with_for_update() if lock else statement).mappings().first()
    if row is None:
        raise NotFoundError(f"no user profile {profile_id!r}")
    return row


def update_user_profile(db: Connection, current: RowMapping, values: Json) -> RowMapping:
    """Set those columns of a locked profile that get another value; without any, nothing changes."""
    changed = {column: value for column, value in values.items() if value != current[column]}
    if not changed:
        return current
    if "name" in changed:
        changed["name_key"] = name_key(changed["name"])
    statement = sa.update(user_profiles).where(_one(current["workspace_id"], current["id"])).returning(user_profiles)
    return db.execute(statement.values({**changed, "updated_at": read_now(db)})).mappings().one()


def delete_user_profile(db: Connection, workspace_id: str, profile_id: str) -> None:
    """Delete a profile.

    Raises:
        NotFoundError: there is no such profile in the workspace.
    """
    if db.execute(sa.delete(user_profiles).where(_one(workspace_id, profile_id))).rowcount == 0:
        raise NotFoundError(f"no user profile {profile_id!r}")


def list_by_age(
    db: Connection, workspace_id: str, *, ascending: bool, limit: int, after: tuple[int, str] | None
) -> Sequence[RowMapping]:
    """Return profiles by `created_at`, and one more than the limit if there are more."""
    bound = None if after is None else (sa.literal(after[0], sa.BigInteger()), sa.literal(after[1]))
    return _walk(db, workspace_id, sa.true(), _BY_AGE, bound, ascending=ascending, most=limit + 1)


def list_by_name(
    db: Connection, workspace_id: str, *, ascending: bool, limit: int, after: tuple[str | None, str] | None
) -> Sequence[RowMapping]:
    """Return profiles by name, those without one last, and one more than the limit if there are more."""
    name, profile_id = after or (None, None)
    walk = partial(_walk, db, workspace_id, ascending=ascending)
    found: list[RowMapping] = []
    if after is None or name is not None:
        bound = None if name is None else (sa.literal(name_key(name), sa.LargeBinary()), sa.literal(profile_id))
        found += walk(user_profiles.c.name_key.is_not(None), _BY_NAME, bound, most=limit + 1)
        profile_id = None
    if len(found) <= limit:
        last = None if profile_id is None else (sa.literal(profile_id),)
        found += walk(user_profiles.c.name_key.is_(None), _BY_NAME[1:], last, most=limit + 1 - len(found))
    return found


def _walk(
    db: Connection,
    workspace_id: str,
    which: Condition,
    key: Sequence[Any],
    bound: Sequence[Any] | None,
    *,
    ascending: bool,
    most: int,
) -> Sequence[RowMapping]:
    """Return rows in the order of a key, beyond a bound: one walk along an index."""
    statement = sa.select(user_profiles).where(user_profiles.c.workspace_id == workspace_id, which)
    if bound is not None:
        statement = statement.where(
            sa.tuple_(*key) > sa.tuple_(*bound) if ascending else sa.tuple_(*key) < sa.tuple_(*bound)
        )
    order = [column.asc() if ascending else column.desc() for column in key]
    return db.execute(statement.order_by(*order).limit(most)).mappings().all()


def name_key(name: str | None) -> bytes | None:
    """Return what a name is sorted by: ASCII letters count in lower case."""
    return None if name is None else name.encode().lower()


def _one(workspace_id: str, profile_id: str) -> Condition:
    return sa.and_(user_profiles.c.workspace_id == workspace_id, user_profiles.c.id == profile_id)

"""Leases: who runs a loop that one process at a time should run."""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from store.clock import now_us
from store.tables import leases


def take(db: Connection, name: str, holder: str, length_s: float) -> bool:
    """Take or renew a lease by the database's clock; False while somebody else holds it."""
    insert = sqlite.insert if db.dialect.name == "sqlite" else postgresql.insert
    until = now_us() + int(length_s * 1e6)
    statement = insert(leases).values(name=name, holder=holder, expires_at=until)
    taken = db.execute(
        statement.on_conflict_do_update(
            index_elements=[leases.c.name],
            set_={"holder": holder, "expires_at": until},
            where=sa.or_(leases.c.holder == holder, leases.c.expires_at < now_us()),
        ).returning(leases.c.name)
    ).one_or_none()
    return taken is not None


def release(db: Connection, name: str, holder: str) -> None:
    """Give a lease back, so that another process need not wait for its end."""
    db.execute(sa.delete(leases).where(leases.c.name == name, leases.c.holder == holder))

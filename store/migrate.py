"""The database's schema, brought to a revision: each run is one transaction that others wait for.

`python -m store.migrate [upgrade | downgrade REVISION | draft MESSAGE]` does the same by hand; `draft` writes a new
revision from what the tables and the database differ in, to be read and completed.
"""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from settings import Settings
from store.engine import dump_json
from store.sqlite_writer import sqlite_engine

_MIGRATIONS: Final = Path(__file__).parent / "migrations"
HEAD: Final = "head"
_LOCK: Final = 7_926_441_017  # any number, the same in every process that migrates
_SQLITE_WAIT_MS: Final = 60_000


def alembic_config(db: Connection) -> Config:
    """Return Alembic's configuration for running on an open connection."""
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = db
    return config


def upgrade(url: str, revision: str = HEAD) -> None:
    """Bring the database up to a revision; two that try at once take turns. Not to be called in an event loop."""
    _in_transaction(url, lambda db: command.upgrade(alembic_config(db), revision))


def downgrade(url: str, revision: str) -> None:
    """Take the database back to a revision, `base` for an empty one. Not to be called in an event loop."""
    _in_transaction(url, lambda db: command.downgrade(alembic_config(db), revision))


def draft(url: str, message: str) -> None:
    """Write a revision that would bring the database to the tables as they are declared."""
    _in_transaction(url, lambda db: _draft(db, message))


def _draft(db: Connection, message: str) -> None:
    command.revision(alembic_config(db), message, autogenerate=True, rev_id=f"{_count() + 1:04}")


def _count() -> int:
    return len(list((_MIGRATIONS / "versions").glob("[0-9]*.py")))


def _in_transaction(url: str, work: Callable[[Connection], None]) -> None:
    if sa.make_url(url).get_backend_name() == "sqlite":
        _in_sqlite(url, work)
    else:
        asyncio.run(_in_postgres(url, work))


def _in_sqlite(url: str, work: Callable[[Connection], None]) -> None:
    database = sa.make_url(url).database
    if database:
        Path(database).parent.mkdir(parents=True, exist_ok=True)
    engine = sqlite_engine(url, dump_json, str)
    try:
        with engine.connect() as db:
            db.exec_driver_sql(f"PRAGMA busy_timeout={_SQLITE_WAIT_MS}")
            db.exec_driver_sql("BEGIN EXCLUSIVE")
            try:
                work(db)
            except BaseException:
                db.exec_driver_sql("ROLLBACK")
                raise
            db.exec_driver_sql("COMMIT")
    finally:
        engine.dispose()


async def _in_postgres(url: str, work: Callable[[Connection], None]) -> None:
    engine = create_async_engine(sa.make_url(url).set(drivername="postgresql+asyncpg"))
    try:
        async with engine.begin() as db:
            await db.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
            await db.run_sync(work)
    finally:
        await engine.dispose()


def main(arguments: list[str]) -> int:
    """Run the command line and return its exit code."""
    url = Settings().database_url
    if arguments in ([], ["upgrade"]):
        upgrade(url)
    elif len(arguments) == 2 and arguments[0] == "downgrade":
        downgrade(url, arguments[1])
    elif len(arguments) == 2 and arguments[0] == "draft":
        draft(url, arguments[1])
    else:
        sys.stderr.write("usage: python -m store.migrate [upgrade | downgrade REVISION | draft MESSAGE]\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

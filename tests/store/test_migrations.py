import asyncio
import sqlite3
import threading

import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.engine import Connection
from sqlmodel import SQLModel

import store.tables  # noqa: F401 - declares the tables
from store.engine import open_store
from store.migrate import downgrade, upgrade


def _differences(url: str) -> list[object]:
    """Return what the declared tables and the database differ in."""

    def compare(db: Connection) -> list[object]:
        context = MigrationContext.configure(db, opts={"compare_type": True, "compare_server_default": True})
        return list(compare_metadata(context, SQLModel.metadata))

    return _read(url, compare)


def _tables(url: str) -> set[str]:
    return set(_read(url, lambda db: sa.inspect(db).get_table_names())) - {"alembic_version"}


def _read(url: str, work):  # type: ignore[no-untyped-def]
    async def run():  # type: ignore[no-untyped-def]
        opened = open_store(url)
        try:
            return await opened.read(work)
        finally:
            await opened.close()

    return asyncio.run(run())


def test_upgrade_equals_declared_tables(database_url: str) -> None:
    upgrade(database_url)
    assert _differences(database_url) == []
    assert _tables(database_url) == set(SQLModel.metadata.tables)


def test_partial_indexes_and_constraints_are_those_declared(database_url: str) -> None:
    """What the comparison does not look at: WHERE clauses of indexes, and cascades."""
    upgrade(database_url)
    migrated = _read(database_url, _index_definitions)
    _recreate(database_url)
    assert migrated == _read(database_url, _index_definitions)


def _recreate(url: str) -> None:
    downgrade(url, "base")

    async def create() -> None:
        opened = open_store(url)
        await opened.write(lambda db: SQLModel.metadata.create_all(db))
        await opened.close()

    asyncio.run(create())


def _index_definitions(db: Connection) -> list[tuple[str, ...]]:
    if db.dialect.name == "sqlite":
        query = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
    else:
        query = (
            "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename != 'alembic_version' "
            "UNION ALL SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint "
            "WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text != 'alembic_version'"
        )
    return sorted(tuple(row) for row in db.execute(sa.text(query)))


def test_upgrade_downgrade_upgrade(database_url: str) -> None:
    upgrade(database_url)
    downgrade(database_url, "base")
    assert _tables(database_url) == set()
    upgrade(database_url)
    assert _differences(database_url) == []


def test_upgrade_twice_changes_nothing(database_url: str) -> None:
    upgrade(database_url)
    upgrade(database_url)
    assert _differences(database_url) == []


def test_two_upgrades_at_once(database_url: str) -> None:
    failures: list[BaseException] = []

    def run() -> None:
        try:
            upgrade(database_url)
        except (sa.exc.SQLAlchemyError, sqlite3.Error) as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert _differences(database_url) == []

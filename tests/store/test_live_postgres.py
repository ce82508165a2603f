import asyncio
import pathlib

import pytest
import sqlalchemy as sa

from store.engine import Store
from store.live import open_live
from store.live_postgres import APPLICATION_NAME, PostgresBus, connect_arguments


@pytest.fixture(autouse=True)
def _postgres_only(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--database") != "postgresql":
        pytest.skip("runs with --database postgresql")


async def test_broken_connection_is_made_again(db_store: Store, tmp_path: pathlib.Path) -> None:
    first, second = open_live(db_store, tmp_path), open_live(db_store, tmp_path)
    await first.start()
    await second.start()
    watch = second.watch("s1")
    watch.seq = 0
    for _ in range(3):
        kill = sa.text(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            f" WHERE application_name = '{APPLICATION_NAME}' AND datname = current_database()"
        )
        await db_store.write(lambda db, kill=kill: db.execute(kill))  # type: ignore[misc]
        await asyncio.sleep(1.0)
        watch.take()
        first.announce("s1", watch.seq + 1)
        assert await watch.wait(0.9)
        watch.take()
    await first.close()
    await second.close()


async def test_own_announcements_do_not_come_back(db_store: Store, tmp_path: pathlib.Path) -> None:
    bus = open_live(db_store, tmp_path)
    await bus.start()
    watch = bus.watch("s1")
    watch.flags = (0, 0)
    watch.seq = 0
    bus.announce("s1", 1)
    assert watch.take() == [1]
    assert not await watch.wait(0.5)
    await bus.close()


async def test_starts_while_the_database_is_away(db_store: Store, tmp_path: pathlib.Path) -> None:
    class Away(PostgresBus):
        tries = 0

        async def _connect(self) -> object:
            self.tries += 1
            if self.tries < 3:
                raise ConnectionRefusedError
            return await super()._connect()

    bus = Away(db_store)
    await bus.start()
    other = open_live(db_store, tmp_path)
    await other.start()
    watch = bus.watch("s1")
    watch.flags, watch.seq = (0, 0), 0
    async with asyncio.timeout(5):
        while bus.tries < 3:  # noqa: ASYNC110 - the double has no event
            await asyncio.sleep(0.05)
        while not watch.pending:
            other.announce("s1", 1)
            await watch.wait(0.2)
    await bus.close()
    await other.close()


def test_address_is_read_as_the_pool_reads_it() -> None:
    arguments = connect_arguments("postgresql://me:secret%40@db.example:5433/name?prepared_statement_cache_size=0")
    assert arguments == {"host": "db.example", "port": 5433, "user": "me", "password": "secret@", "database": "name"}

import asyncio
import pathlib
import stat
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa

from security.keys import hash_key
from settings import Settings
from store.bootstrap import DEFAULT_WORKSPACE, bootstrap
from store.engine import open_store
from store.tables import agent_versions, api_keys, environments, runtimes, workspaces

_TABLES = (workspaces, environments, api_keys, runtimes, agent_versions)


@pytest.fixture
def settings(tmp_path: pathlib.Path, database_url: str) -> Settings:
    return Settings(state_dir=tmp_path / "state", database_url=database_url, scripted_url="http://127.0.0.1:1")


def _rows(url: str) -> dict[str, list[Any]]:
    async def read() -> dict[str, list[Any]]:
        opened = open_store(url)
        try:
            return await opened.read(
                lambda db: {table.name: list(db.execute(sa.select(table)).mappings()) for table in _TABLES}
            )
        finally:
            await opened.close()

    return asyncio.run(read())


def test_first_start(settings: Settings) -> None:
    bootstrap(settings)
    rows = _rows(settings.database_url)
    assert [row["id"] for row in rows["workspaces"]] == [DEFAULT_WORKSPACE]
    assert [row["is_default"] for row in rows["environments"]] == [True]
    path = settings.state_dir / "admin.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    (key,) = rows["api_keys"]
    assert key["hash"] == hash_key(path.read_text().strip())
    assert key["scope"] == "admin"
    (runtime,) = rows["runtimes"]
    assert (runtime["alias"], runtime["kind"], runtime["options"]) == ("scripted", "scripted", {"mode": "key"})
    (agent,) = rows["agent_versions"]
    assert agent["definition"]["name"] == "demo"
    assert agent["definition"]["runtime"]["alias"] == "scripted"


def test_again_changes_nothing_but_the_address(settings: Settings) -> None:
    bootstrap(settings)
    before = _rows(settings.database_url)
    (settings.state_dir / "admin.key").unlink()
    bootstrap(settings)
    assert _rows(settings.database_url) == before
    assert not (settings.state_dir / "admin.key").exists()
    moved = settings.model_copy(update={"scripted_url": "http://127.0.0.1:2"})
    bootstrap(moved)
    (runtime,) = _rows(settings.database_url)["runtimes"]
    assert (runtime["base_url"], runtime["revision"]) == ("http://127.0.0.1:2", 2)


def test_three_at_once(settings: Settings) -> None:
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(bootstrap, [settings] * 3))
    assert {name: len(rows) for name, rows in _rows(settings.database_url).items()} == dict.fromkeys(
        [table.name for table in _TABLES], 1
    )

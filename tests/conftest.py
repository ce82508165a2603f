"""Fixtures of the whole suite: a database of the chosen kind, and what else every test may need."""

import getpass
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator

import pytest
import sqlalchemy as sa
from sqlmodel import SQLModel

import store.tables  # noqa: F401 - declares the tables
from store.engine import Store, open_store


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--database", choices=("sqlite", "postgresql"), default="sqlite", help="database of the suite")


def free_port() -> int:
    """Return a port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _postgres_bin() -> pathlib.Path:
    found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb")) or [
        pathlib.Path(path) for path in [shutil.which("initdb")] if path
    ]
    if not found:
        pytest.fail("no PostgreSQL server programs found: install the package `postgresql`")
    return found[-1].parent


class PostgresCluster:
    """A PostgreSQL server of the suite's own, on a free port; run as `postgres` where the suite runs as root."""

    def __init__(self) -> None:
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="waystation-pg-"))
        self.port = free_port()
        self._bin = _postgres_bin()
        self._as = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        self.user = "postgres" if self._as else getpass.getuser()
        if self._as:
            shutil.chown(self.folder, "postgres")
        self._run("initdb", "-D", str(self.folder / "data"), "-A", "trust", "-U", self.user)
        self._databases = 0

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [*self._as, str(self._bin / program), *arguments], check=True, capture_output=True, timeout=60, cwd="/tmp"
        )

    def start(self) -> None:
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c max_connections=300 -c fsync=off"
        self._run(
            "pg_ctl", "-D", str(self.folder / "data"), "-o", options, "-l", str(self.folder / "log"), "-w", "start"
        )

    def stop(self, mode: str = "fast") -> None:
        self._run("pg_ctl", "-D", str(self.folder / "data"), "-m", mode, "-w", "stop")

    def create_database(self) -> str:
        """Return the address of a new, empty database."""
        self._databases += 1
        name = f"w{self._databases}"
        self._run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", self.user, name)
        return f"postgresql://{self.user}@127.0.0.1:{self.port}/{name}"

    def remove(self) -> None:
        self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresCluster]:
    cluster = PostgresCluster()
    cluster.start()
    yield cluster
    cluster.remove()


@pytest.fixture
def database_url(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> str:
    """Address of an empty database of the kind the suite runs on."""
    if request.config.getoption("--database") == "sqlite":
        return f"sqlite:///{tmp_path}/waystation.db"
    cluster: PostgresCluster = request.getfixturevalue("postgres")
    return cluster.create_database()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A SQLite file with every table: copied, as making them anew takes a tenth of a second."""
    path = tmp_path_factory.mktemp("template") / "waystation.db"
    engine = sa.create_engine(f"sqlite:///{path}")
    SQLModel.metadata.create_all(engine)
    engine.dispose()
    return path


@pytest.fixture
async def db_store(database_url: str, sqlite_template: pathlib.Path) -> AsyncIterator[Store]:
    """An open database with every table."""
    url = sa.make_url(database_url)
    if url.get_backend_name() == "sqlite":
        shutil.copyfile(sqlite_template, url.database or "")
    store_ = open_store(database_url)
    if url.get_backend_name() == "postgresql":
        await store_.write(lambda db: SQLModel.metadata.create_all(db))
    yield store_
    await store_.close()

"""First start, and every later one: `python -m store.bootstrap` brings the database to where the product can serve.

It migrates, makes the default workspace with its environment and admin key, and registers the scripted runtime if the
settings name one. What is there already stays; two that run at once do no harm.
"""

import asyncio
import os
import secrets
import sys
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import Connection

from protocol.agents import AgentCreateParams
from protocol.definition import new_definition
from protocol.ids import new_id
from protocol.runtimes import RUNTIME_PREFIX
from security.keys import PREFIX, new_key
from settings import Settings
from store.clock import now_us
from store.engine import open_store
from store.migrate import upgrade
from store.repositories.access import create_api_key
from store.repositories.agents import create_agent
from store.repositories.environments import insert_default_environment
from store.repositories.runtimes import create_runtime, find_runtime, update_runtime
from store.tables import api_keys, workspaces

DEFAULT_WORKSPACE: Final = "wrkspc_default"
SCRIPTED: Final = "scripted"
_LOCK: Final = 7_926_441_018  # any number, the same in every process that boots
_DEMO: Final = {
    "name": "demo",
    "model": "scripted",
    "description": "Answers by script, without a model behind it.",
    "runtime": SCRIPTED,
}


def bootstrap(settings: Settings) -> None:
    """Bring the database to where the product can serve. Not to be called in an event loop."""
    upgrade(settings.database_url)
    asyncio.run(_fill(settings))


async def _fill(settings: Settings) -> None:
    opened = open_store(settings.database_url)
    try:
        await opened.write(lambda db: fill(db, settings))
    finally:
        await opened.close()


def fill(db: Connection, settings: Settings) -> None:
    """Make what the product needs to serve, in one transaction that others wait for."""
    if db.dialect.name == "postgresql":
        db.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
    _fill_workspace(db)
    _fill_admin_key(db, settings.state_dir / "admin.key")
    if settings.scripted_url:
        _fill_scripted(db, settings.scripted_url)


def _fill_workspace(db: Connection) -> None:
    known = db.execute(sa.select(workspaces.c.id).where(workspaces.c.id == DEFAULT_WORKSPACE)).first()
    if known is None:
        db.execute(sa.insert(workspaces).values(id=DEFAULT_WORKSPACE, name="default", created_at=now_us()))
        insert_default_environment(db, DEFAULT_WORKSPACE)


def _fill_admin_key(db: Connection, path: Path) -> None:
    """Make the first key. Its file comes before the commit, so that no key is ever stored that nobody knows."""
    if db.execute(sa.select(api_keys.c.id).where(api_keys.c.scope == "admin").limit(1)).first() is None:
        key = _key_in(path)
        create_api_key(db, workspace_id=DEFAULT_WORKSPACE, name="admin", scope="admin", key=key)


def _key_in(path: Path) -> str:
    """Return the key in the file, which is made whole or not at all if it is missing."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(new_key() + "\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    key = path.read_text().strip()
    if not key.startswith(PREFIX):
        raise ValueError(f"{path} does not hold an API key: remove it, and start again")
    return key


def _fill_scripted(db: Connection, base_url: str) -> None:
    runtime = find_runtime(db, DEFAULT_WORKSPACE, SCRIPTED)
    if runtime is not None:
        if runtime["kind"] == SCRIPTED and runtime["base_url"] != base_url:
            update_runtime(db, DEFAULT_WORKSPACE, runtime["id"], {"base_url": base_url})
        return
    values: dict[str, Any] = {
        "alias": SCRIPTED,
        "kind": SCRIPTED,
        "base_url": base_url,
        "credential": None,
        "options": {"mode": "key"},
    }
    create_runtime(db, DEFAULT_WORKSPACE, new_id(RUNTIME_PREFIX), values)
    create_agent(db, DEFAULT_WORKSPACE, new_definition(AgentCreateParams.model_validate(_DEMO)))


def main() -> int:
    """Run the command line and return its exit code."""
    settings = Settings()
    bootstrap(settings)
    sys.stderr.write(f"ready: {settings.state_dir}/admin.key holds the first admin key\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

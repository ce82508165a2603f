"""Every list is served by an index that has its order: a page costs the same however long the list is."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from store.engine import Store
from tests.api.test_tenancy import objects
from tests.openapi_document import openapi_document

pytestmark = pytest.mark.usefixtures("stub_runtime")

Statement = tuple[str, Any]
SLOW = {"sqlite": ("SCAN ", "USE TEMP B-TREE FOR ORDER BY"), "postgresql": ("Seq Scan", "Sort")}
ALLOWED = ("USING INDEX", "USING COVERING INDEX", "CONSTANT ROW", "SCAN (subquery", "Sort Key")


@contextmanager
def statements() -> Iterator[list[Statement]]:
    """Collect what is executed on any database meanwhile."""
    seen: list[Statement] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        if statement.startswith("SELECT"):
            seen.append((statement, parameters))

    sa.event.listen(sa.engine.Engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        sa.event.remove(sa.engine.Engine, "before_cursor_execute", note)


def plan(db: Connection, statement: Statement) -> list[str]:
    text, parameters = statement
    if db.dialect.name == "sqlite":
        return [str(row[3]) for row in db.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", parameters).all()]
    # Small tables are read whole otherwise, whatever indexes there are.
    for setting in ("enable_seqscan", "enable_sort", "enable_bitmapscan"):
        db.exec_driver_sql(f"SET LOCAL {setting} = off")
    return [str(row[0]) for row in db.exec_driver_sql(f"EXPLAIN {text}", parameters).all()]


def lists() -> list[str]:
    """Return the paths that answer pages."""
    found = []
    for path, methods in openapi_document()["paths"].items():
        parameters = methods.get("get", {}).get("parameters", ())
        if {"limit", "page"} <= {parameter["name"] for parameter in parameters}:
            found.append(path)
    return found


async def test_pages_are_read_through_an_index(http: httpx2.AsyncClient, db_store: Store) -> None:
    ids = await objects(http)
    paths = lists()
    assert len(paths) > 6
    slow = []
    for path in paths:
        with statements() as seen:
            answer = await http.get(path.format_map(ids), params={"limit": 2})
        assert answer.status_code == 200, (path, answer.text)
        assert seen
        for statement in seen:
            steps = await db_store.read(lambda db, one=statement: plan(db, one))
            slow += [
                (path, step, statement[0])
                for step in steps
                if any(word in step for word in SLOW[db_store.dialect]) and not any(word in step for word in ALLOWED)
            ]
    assert [step[:2] for step in slow] == []

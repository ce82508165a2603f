"""What the tests of sessions share: an agent of the stub runtime, a session of it, and a waker that remembers."""

from typing import Any

import httpx2

from store.engine import Store
from store.tables import events, inputs, sessions, stored_answers

Json = dict[str, Any]


class RecordedWaker:
    """Notes what it was told to wake."""

    def __init__(self) -> None:
        self.woken: list[tuple[str, bool]] = []

    def wake(self, session_id: str, *, signal: bool = False) -> None:
        self.woken.append((session_id, signal))


async def create_agent(http: httpx2.AsyncClient, **fields: Any) -> Json:
    answer = await http.post("/v1/agents", json={"name": "a", "model": "m", **fields})
    assert answer.status_code == 200, answer.text
    agent: Json = answer.json()
    return agent


async def create_session(http: httpx2.AsyncClient, agent: Any, **fields: Any) -> Json:
    answer = await http.post("/v1/sessions", json={"agent": agent, **fields})
    assert answer.status_code == 200, answer.text
    session: Json = answer.json()
    return session


def message(text: str) -> Any:
    return {"type": "user.message", "content": [{"type": "text", "text": text}]}


async def counts(store: Store) -> dict[str, int]:
    """Return how many rows each table has that a request about a session may add to."""
    tables = (sessions, events, inputs, stored_answers)
    return await store.read(
        lambda db: {t.name: len(db.execute(t.select().with_only_columns(*t.primary_key)).all()) for t in tables}
    )

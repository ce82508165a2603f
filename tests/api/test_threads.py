"""Threads of a session: its primary one, with the session's own figures and events."""

from typing import Any

import anthropic
import httpx2
import pytest
import sqlalchemy as sa

from runtimes.capabilities import Capabilities
from store.tables import intents
from tests.api.conftest import RunningApi
from tests.api.sessions import create_agent, create_session, message
from tests.api.stub_runtime import StubRuntime

Json = dict[str, Any]

pytestmark = pytest.mark.timeout(30)


@pytest.fixture(autouse=True)
def able(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stub runtime can interrupt."""
    able = Capabilities(agents="none", resume="none", reconcile="none", interrupt="native")
    monkeypatch.setattr(StubRuntime, "capabilities", able)


@pytest.fixture
async def session(http: httpx2.AsyncClient, stub_runtime: Json) -> Json:
    return await create_session(http, (await create_agent(http, system="s"))["id"])


@pytest.fixture
async def thread_id(sdk: anthropic.AsyncAnthropic, session: Json) -> str:
    [thread] = [item async for item in sdk.beta.sessions.threads.list(session["id"])]
    return thread.id


async def test_a_session_has_its_primary_thread(sdk: anthropic.AsyncAnthropic, session: Json, thread_id: str) -> None:
    thread = await sdk.beta.sessions.threads.retrieve(thread_id, session_id=session["id"])
    assert (thread.id[:5], thread.session_id, thread.parent_thread_id) == ("sthr_", session["id"], None)
    assert (thread.status, thread.archived_at, thread.stats, thread.usage) == ("idle", None, None, None)
    assert thread.agent.type == "agent"
    assert (thread.agent.id, thread.agent.system) == (session["agent"]["id"], "s")


async def test_it_ends_with_its_session(sdk: anthropic.AsyncAnthropic, session: Json, thread_id: str) -> None:
    with pytest.raises(anthropic.BadRequestError, match="archive the session"):
        await sdk.beta.sessions.threads.archive(thread_id, session_id=session["id"])
    await sdk.beta.sessions.archive(session["id"])
    thread = await sdk.beta.sessions.threads.retrieve(thread_id, session_id=session["id"])
    assert thread.status == "terminated"
    assert thread.archived_at is not None


@pytest.mark.parametrize(("statuses", "found"), [(["idle"], 1), (["running", "terminated"], 0), ([], 1)])
async def test_the_list_is_filtered_by_status(
    sdk: anthropic.AsyncAnthropic, session: Json, statuses: Any, found: int
) -> None:
    page = await sdk.beta.sessions.threads.list(session["id"], statuses=statuses, limit=1)
    assert (len(page.data), page.next_page) == (found, None)


async def test_its_events_are_the_sessions(sdk: anthropic.AsyncAnthropic, session: Json, thread_id: str) -> None:
    await sdk.beta.sessions.events.send(session["id"], events=[message(str(number)) for number in range(3)])
    listed = [event.id async for event in sdk.beta.sessions.events.list(session["id"])]
    pages = sdk.beta.sessions.threads.events.list(thread_id, session_id=session["id"], limit=2)
    assert [event.id async for event in pages] == listed
    assert len(listed) == 3


async def test_unknown_threads_and_other_tenants(
    http: httpx2.AsyncClient, stranger: httpx2.AsyncClient, api: RunningApi, session: Json, thread_id: str
) -> None:
    base = f"/v1/sessions/{session['id']}/threads"
    for path in ("", "/events", "/stream"):
        assert (await http.get(f"{base}/sthr_other{path}")).status_code == 404
        async with httpx2.AsyncClient(base_url=api.url) as nobody:
            assert (await nobody.get(f"{base}/sthr_other{path}")).status_code == 401
    for path in ("", f"/{thread_id}", f"/{thread_id}/events"):
        assert (await stranger.get(base + path)).status_code == 404
    assert (await stranger.post(f"{base}/{thread_id}/archive")).status_code == 404
    assert (await http.post(f"{base}/sthr_other/archive")).status_code == 404


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "page=x", "statuses[]=tired"])
async def test_refused_lists(http: httpx2.AsyncClient, session: Json, query: str) -> None:
    answer = await http.get(f"/v1/sessions/{session['id']}/threads?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


async def test_an_interrupt_may_name_it(
    sdk: anthropic.AsyncAnthropic,
    api: RunningApi,
    session: Json,
    thread_id: str,
) -> None:
    with pytest.raises(anthropic.BadRequestError, match="no thread of this session"):
        await sdk.beta.sessions.events.send(
            session["id"], events=[{"type": "user.interrupt", "session_thread_id": "sthr_other"}]
        )
    sent = await sdk.beta.sessions.events.send(
        session["id"], events=[{"type": "user.interrupt", "session_thread_id": thread_id}]
    )
    assert [event.session_thread_id for event in sent.data or []] == [thread_id]  # type: ignore[union-attr]
    rows = await api.state.store.read(lambda db: db.execute(sa.select(intents.c.kind)).scalars().all())
    assert rows == ["interrupt"]

"""From the API to the folder: what a client mounts is what an adapter is given, once, with its token and its bytes."""

import pathlib
from collections.abc import Sequence
from typing import Any

import httpx2
import pytest

from activities.laying import Layer
from runtimes.base import Agent, ContentError, Resource, Session
from runtimes.opencode.workspace import Workspace
from tests.api.conftest import RunningApi
from tests.api.sessions import Json, create_agent, create_session
from tests.api.stub_runtime import StubRuntime
from tests.api.test_session_resources import REPOSITORY, TOKEN, a_skill, file, repository, uploaded

pytestmark = pytest.mark.timeout(60)
LAYS: Json = {"lays": True}


class LayingRuntime(StubRuntime):
    """Lays files and skills into a folder, and notes what it was given."""

    def __init__(self, folder: pathlib.Path) -> None:
        super().__init__(type("Connection", (), {"base_url": "http://x", "options": LAYS})())
        self.folder = folder
        self.given: list[list[Resource]] = []

    async def lay(self, session: Session, resources: Sequence[Resource]) -> None:
        self.given.append(list(resources))
        await Workspace(self.folder).lay([one for one in resources if one.type != "github_repository"])


@pytest.fixture
def runtime(tmp_path: pathlib.Path) -> LayingRuntime:
    (tmp_path / "workspace").mkdir()
    return LayingRuntime(tmp_path / "workspace")


@pytest.fixture
async def agent(http: httpx2.AsyncClient) -> Json:
    body = {"alias": "lays", "kind": "stub", "base_url": "http://127.0.0.1:9", "options": LAYS}
    assert (await http.post("/v1/runtimes", json=body)).status_code == 200
    skill = await a_skill(http)
    return await create_agent(http, runtime="lays", skills=[{"type": "custom", "skill_id": skill["id"]}])


async def lay(api: RunningApi, runtime: Any, session: Json) -> Sequence[str]:
    layer = Layer(api.state.store, api.state.blobs, api.state.adapters.vault)
    return await layer.lay(runtime, Session(session["id"], Agent("a", 1, {}), {}), api.workspace_id)


async def test_what_is_mounted_is_laid_once(
    api: RunningApi, http: httpx2.AsyncClient, agent: Json, runtime: LayingRuntime
) -> None:
    first = await uploaded(http)
    mounted = [file(first, mount_path="/in/a.csv"), repository(authorization_token=TOKEN)]
    session = await create_session(http, agent["id"], resources=mounted)
    assert await lay(api, runtime, session) == ["/in/a.csv", "/workspace/name"]
    assert (runtime.folder / "in/a.csv").read_text() == "a,b"
    assert "name: my-skill" in (runtime.folder / ".agents/skills/my-skill/SKILL.md").read_text()
    (given,) = runtime.given
    cloned = next(one for one in given if one.type == "github_repository")
    assert cloned.detail == {"url": REPOSITORY, "checkout": None}
    assert cloned.token is not None
    assert cloned.token.get_secret_value() == TOKEN
    assert TOKEN not in repr(given)
    assert await lay(api, runtime, session) == ["/in/a.csv", "/workspace/name"]
    assert len(runtime.given) == 1


async def test_changes_are_laid_before_the_next_turn(
    api: RunningApi, http: httpx2.AsyncClient, agent: Json, runtime: LayingRuntime
) -> None:
    session = await create_session(http, agent["id"], resources=[file(await uploaded(http), mount_path="/in/a.csv")])
    await lay(api, runtime, session)
    path = f"/v1/sessions/{session['id']}/resources"
    assert (await http.delete(f"{path}/{session['resources'][0]['id']}")).status_code == 200
    assert (await http.post(path, json=file(await uploaded(http), mount_path="/in/b.csv"))).status_code == 200
    assert await lay(api, runtime, session) == ["/in/b.csv"]
    assert [one.removed for one in runtime.given[-1]] == [True, False]
    assert [found.name for found in (runtime.folder / "in").iterdir()] == ["b.csv"]


async def test_what_was_not_laid_stays_due(
    api: RunningApi, http: httpx2.AsyncClient, agent: Json, runtime: LayingRuntime
) -> None:
    session = await create_session(http, agent["id"], resources=[file(await uploaded(http), mount_path="/in/a.csv")])
    kept = [path for path in (api.state.settings.state_dir / "blobs").rglob("blob_*") if path.is_file()]
    moved = [path.rename(path.with_name("away-" + path.name)) for path in kept]
    with pytest.raises(ContentError):
        await lay(api, runtime, session)
    for path, away in zip(kept, moved, strict=True):
        away.rename(path)
    await lay(api, runtime, session)
    assert (runtime.folder / "in/a.csv").read_text() == "a,b"


async def test_a_runtime_that_takes_nothing_is_not_bothered(
    api: RunningApi, http: httpx2.AsyncClient, agent: Json, runtime: LayingRuntime
) -> None:
    session = await create_session(http, agent["id"])
    runtime.capabilities = StubRuntime.capabilities
    assert await lay(api, runtime, session) == ()
    assert runtime.given == []

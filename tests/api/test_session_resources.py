from typing import Any

import anthropic
import httpx2
import pytest

from activities.blob_sweep import BlobSweep
from store import endings
from store.tables import session_resources, sessions
from tests.api.conftest import RunningApi
from tests.api.sessions import Json, create_agent, create_session

pytestmark = pytest.mark.timeout(60)
REPOSITORY = "https://github.com/owner/name.git"
TOKEN = "ghp_very-secret"


@pytest.fixture
async def agent(http: httpx2.AsyncClient) -> Json:
    body = {"alias": "lays", "kind": "stub", "base_url": "http://127.0.0.1:9", "options": {"lays": True}}
    assert (await http.post("/v1/runtimes", json=body)).status_code == 200
    return await create_agent(http, runtime="lays")


@pytest.fixture
async def file_id(http: httpx2.AsyncClient) -> str:
    return await uploaded(http)


async def uploaded(http: httpx2.AsyncClient, name: str = "data.csv") -> str:
    answer = await http.post("/v1/files", files={"file": (name, b"a,b", "text/csv")})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


async def a_skill(http: httpx2.AsyncClient, name: str = "my-skill") -> Json:
    manifest = f"---\nname: {name}\ndescription: d\n---\n".encode()
    answer = await http.post("/v1/skills", files=[("files[]", ("x/SKILL.md", manifest))])
    assert answer.status_code == 200, answer.text
    skill: Json = answer.json()
    return skill


def file(file_id: str, **more: Any) -> Any:
    return {"type": "file", "file_id": file_id, **more}


def repository(**more: Any) -> Any:
    return {"type": "github_repository", "url": REPOSITORY, **more}


async def test_resources_come_with_the_session(
    sdk: anthropic.AsyncAnthropic, http: httpx2.AsyncClient, api: RunningApi, agent: Json, file_id: str
) -> None:
    environment = (await sdk.beta.environments.list()).data[0]
    checkout = {"type": "branch", "name": "feature/x"}
    session = await sdk.beta.sessions.create(
        agent=agent["id"],
        environment_id=environment.id,
        resources=[file(file_id), repository(authorization_token=TOKEN, checkout=checkout)],
    )
    mounted, cloned = session.resources
    assert mounted.type == "file"
    assert (mounted.file_id, mounted.mount_path) == (file_id, f"/mnt/session/uploads/{file_id}")
    assert cloned.type == "github_repository"
    assert (cloned.url, cloned.mount_path) == (REPOSITORY, "/workspace/name")
    assert cloned.checkout is not None
    assert cloned.checkout.type == "branch"
    assert (await sdk.beta.sessions.retrieve(session.id)).resources == session.resources
    assert (await sdk.beta.sessions.list()).data[0].resources == session.resources
    assert [item async for item in sdk.beta.sessions.resources.list(session.id)] == session.resources
    assert await sdk.beta.sessions.resources.retrieve(mounted.id, session_id=session.id) == mounted
    for answer in (await http.get(f"/v1/sessions/{session.id}"), await http.get("/v1/sessions")):
        assert TOKEN not in answer.text
    tokens = await api.state.store.read(lambda db: db.execute(session_resources.select()).mappings().all())
    assert all(TOKEN.encode() not in (row["token"] or b"") for row in tokens)


async def test_files_come_and_go_later(sdk: anthropic.AsyncAnthropic, http: httpx2.AsyncClient, agent: Json) -> None:
    session = await create_session(http, agent["id"])
    made = []
    for number in range(3):
        path = f"/data/{number}.csv"
        made.append(
            await sdk.beta.sessions.resources.add(
                session["id"], type="file", file_id=await uploaded(http), mount_path=path
            )
        )
        assert made[-1].mount_path == path
    assert [item async for item in sdk.beta.sessions.resources.list(session["id"], limit=2)] == made
    gone = await sdk.beta.sessions.resources.delete(made[0].id, session_id=session["id"])
    assert (gone.id, gone.type) == (made[0].id, "session_resource_deleted")
    assert (await sdk.beta.sessions.retrieve(session["id"])).resources == made[1:]
    with pytest.raises(anthropic.NotFoundError):
        await sdk.beta.sessions.resources.retrieve(made[0].id, session_id=session["id"])
    again = {"x-stainless-retry-count": "1"}
    path = f"/v1/sessions/{session['id']}/resources/{made[0].id}"
    assert (await http.delete(path, headers=again)).json()["id"] == made[0].id
    assert (await http.delete(path)).status_code == 404
    readded = await sdk.beta.sessions.resources.add(
        session["id"], type="file", file_id=made[0].file_id, mount_path="/data/0.csv"
    )
    assert readded.id != made[0].id


async def test_a_token_is_replaced_and_never_shown(
    sdk: anthropic.AsyncAnthropic, http: httpx2.AsyncClient, api: RunningApi, agent: Json, file_id: str
) -> None:
    session = await create_session(http, agent["id"], resources=[repository(), file(file_id)])
    cloned, mounted = session["resources"]
    updated = await sdk.beta.sessions.resources.update(
        cloned["id"], session_id=session["id"], authorization_token=TOKEN
    )
    assert TOKEN not in updated.to_json()
    row = await api.state.store.read(
        lambda db: db.execute(session_resources.select().where(session_resources.c.id == cloned["id"])).mappings().one()
    )
    assert api.state.adapters.vault.open(row["token"], api.workspace_id, cloned["id"]) == TOKEN
    with pytest.raises(anthropic.BadRequestError, match="github_repository"):
        await sdk.beta.sessions.resources.update(mounted["id"], session_id=session["id"], authorization_token=TOKEN)
    answer = await http.post(
        f"/v1/sessions/{session['id']}/resources/{cloned['id']}", json={"authorization_token": "two words"}
    )
    assert answer.status_code == 400
    assert "two words" not in answer.text


async def test_a_new_token_lets_a_held_session_go_on(http: httpx2.AsyncClient, api: RunningApi, agent: Json) -> None:
    session = await create_session(http, agent["id"], resources=[repository()])
    await api.state.store.write(lambda db: db.execute(sessions.update().values(held="no access")))
    path = f"/v1/sessions/{session['id']}/resources/{session['resources'][0]['id']}"
    assert (await http.post(path, json={"authorization_token": TOKEN})).status_code == 200
    assert (await http.get(f"/v1/sessions/{session['id']}")).json()["held"] is None


REFUSED: list[tuple[Any, str]] = [
    ([file("F", mount_path="relative")], "absolute"),
    ([file("F", mount_path="/a/../b")], "empty parts"),
    ([file("F", mount_path="/a//b")], "empty parts"),
    ([file("F", mount_path="/a/")], "empty parts"),
    ([file("F", mount_path="/a\nb")], "control"),
    ([file("F", mount_path="/a\\b")], "backslash"),
    ([file("F", mount_path="/.opencode/x")], ".opencode"),
    ([file("F", mount_path="/" + "a" * 256)], "255"),
    ([file("F", mount_path="/a"), file("F", mount_path="/a")], "meets"),
    ([file("F", mount_path="/a"), file("F", mount_path="/a/b")], "meets"),
    ([file("F", mount_path="/a/b"), repository(mount_path="/a")], "meets"),
    ([file("F", mount_path=f"/{number}") for number in range(101)], "100"),
    ([repository(url="https://user:pass@github.com/a/b")], "without a user"),
    ([repository(url="git@github.com:a/b")], "https://"),
    ([repository(url="file:///etc")], "https://"),
    ([repository(url="https://github.com/a/b/../c")], "https://"),
    ([repository(url="https://evil.test/a/b")], "github.com only"),
    ([repository(url="https://169.254.169.254/a/b")], "github.com only"),
    ([repository(checkout={"type": "branch", "name": "--upload-pack=x"})], "pattern"),
    ([repository(checkout={"type": "commit", "sha": "main"})], "pattern"),
    ([repository(authorization_token="a b")], "pattern"),
    ([{"type": "memory_store", "memory_store_id": "m"}], "memory stores are not offered"),
    ([{"type": "volume"}], "file"),
    ([file("F", readonly=True)], "unknown field"),
]


@pytest.mark.parametrize(("resources", "told"), REFUSED, ids=[f"{n}-{case[1]}" for n, case in enumerate(REFUSED)])
async def test_what_cannot_be_mounted_is_refused(
    http: httpx2.AsyncClient, agent: Json, file_id: str, resources: Any, told: str
) -> None:
    sent = [{**item, "file_id": file_id} if item.get("file_id") == "F" else item for item in resources]
    answer = await http.post("/v1/sessions", json={"agent": agent["id"], "resources": sent})
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error"), answer.text
    assert told in answer.json()["error"]["message"]
    assert (await http.get("/v1/sessions")).json()["data"] == []


async def test_what_the_runtime_cannot_is_refused(http: httpx2.AsyncClient, stub_runtime: Json, file_id: str) -> None:
    agent = await create_agent(http, runtime="stub")
    for resource, capability in ((file(file_id), "files"), (repository(), "repositories")):
        answer = await http.post("/v1/sessions", json={"agent": agent["id"], "resources": [resource]})
        assert answer.json()["error"]["details"]["error_code"] == "unsupported_capability"
        assert f"`{capability}`" in answer.json()["error"]["message"]
    session = await create_session(http, agent["id"])
    answer = await http.post(f"/v1/sessions/{session['id']}/resources", json=file(file_id))
    assert answer.json()["error"]["details"]["error_code"] == "unsupported_capability"


async def test_only_files_are_added_later(http: httpx2.AsyncClient, agent: Json) -> None:
    session = await create_session(http, agent["id"])
    answer = await http.post(f"/v1/sessions/{session['id']}/resources", json=repository())
    assert answer.status_code == 400


async def test_a_stopped_session_keeps_its_resources(http: httpx2.AsyncClient, agent: Json, file_id: str) -> None:
    session = await create_session(http, agent["id"], resources=[file(file_id)])
    path = f"/v1/sessions/{session['id']}"
    assert (await http.post(f"{path}/archive")).status_code == 200
    answer = await http.post(f"{path}/resources", json=file(file_id, mount_path="/x"))
    assert (answer.status_code, "ended" in answer.text) == (400, True)
    assert (await http.delete(f"{path}/resources/{session['resources'][0]['id']}")).status_code == 400
    assert (await http.get(path)).json()["resources"] == session["resources"]


async def test_others_do_not_see_it(
    http: httpx2.AsyncClient, stranger: httpx2.AsyncClient, agent: Json, file_id: str
) -> None:
    session = await create_session(http, agent["id"], resources=[file(file_id)])
    path = f"/v1/sessions/{session['id']}/resources"
    one = f"{path}/{session['resources'][0]['id']}"
    for method, address, body in (
        ("GET", path, None),
        ("POST", path, file(file_id)),
        ("GET", one, None),
        ("POST", one, {"authorization_token": "x"}),
        ("DELETE", one, None),
    ):
        answer = await stranger.request(method, address, json=body)
        assert answer.status_code == 404, (method, address)
    theirs = (await stranger.post("/v1/files", files={"file": ("a", b"x")})).json()["id"]
    answer = await http.post("/v1/sessions", json={"agent": agent["id"], "resources": [file(theirs)]})
    assert answer.status_code == 404


async def test_a_resend_adds_a_file_once(http: httpx2.AsyncClient, agent: Json, file_id: str) -> None:
    session = await create_session(http, agent["id"])
    path = f"/v1/sessions/{session['id']}/resources"
    first = await http.post(path, json=file(file_id), headers={"idempotency-key": "k"})
    again = await http.post(path, json=file(file_id), headers={"idempotency-key": "k"})
    assert (first.status_code, again.json()) == (200, first.json())
    assert len((await http.get(path)).json()["data"]) == 1


async def test_a_mounted_file_outlives_its_deletion_but_not_the_session(
    http: httpx2.AsyncClient, api: RunningApi, agent: Json, file_id: str
) -> None:
    session = await create_session(http, agent["id"], resources=[file(file_id)])
    sweep = BlobSweep(api.state.store, api.state.blobs)
    assert (await http.delete(f"/v1/files/{file_id}")).status_code == 200
    assert await sweep.sweep() == 0
    await http.delete(f"/v1/sessions/{session['id']}")
    await api.state.store.write(lambda db: endings.erase(db, session["id"]))
    assert await sweep.sweep() == 1


async def test_skills_are_those_of_the_workspace(
    http: httpx2.AsyncClient, stranger: httpx2.AsyncClient, agent: Json
) -> None:
    skill, theirs = await a_skill(http), await a_skill(stranger)
    own = {"type": "custom", "skill_id": skill["id"]}
    made = await create_agent(http, runtime="lays", skills=[own])
    assert made["skills"] == [{**own, "version": "latest"}]
    session = await create_session(http, made["id"])
    assert session["agent"]["skills"] == [{**own, "version": skill["latest_version_id"]}]
    assert session["resources"] == []
    refused: list[tuple[Any, int, str]] = [
        ([{"type": "custom", "skill_id": theirs["id"]}], 404, "no skill"),
        ([{**own, "version": "skillver_no"}], 404, "version"),
        ([{"type": "anthropic", "skill_id": "xlsx"}], 400, "`skills`"),
    ]
    for skills, status, told in refused:
        answer = await http.post("/v1/agents", json={"name": "a", "model": "m", "runtime": "lays", "skills": skills})
        assert (answer.status_code, told in answer.text) == (status, True), answer.text


async def test_skills_need_a_runtime_that_takes_them(http: httpx2.AsyncClient, agent: Json) -> None:
    body = {"alias": "bare", "kind": "stub", "base_url": "http://127.0.0.1:9"}
    assert (await http.post("/v1/runtimes", json=body)).status_code == 200
    skills = [{"type": "custom", "skill_id": "skill_1"}]
    answer = await http.post("/v1/agents", json={"name": "a", "model": "m", "runtime": "bare", "skills": skills})
    assert answer.json()["error"]["details"]["error_code"] == "unsupported_capability"


async def test_a_session_keeps_its_version_of_a_skill(http: httpx2.AsyncClient, api: RunningApi, agent: Json) -> None:
    skill = await a_skill(http)
    made = await create_agent(http, runtime="lays", skills=[{"type": "custom", "skill_id": skill["id"]}])
    session = await create_session(http, made["id"])
    assert (await http.delete(f"/v1/skills/{skill['id']}")).status_code == 200
    assert await BlobSweep(api.state.store, api.state.blobs).sweep() == 0
    assert (await http.get(f"/v1/sessions/{session['id']}")).json()["agent"]["skills"] == session["agent"]["skills"]
    answer = await http.post("/v1/sessions", json={"agent": made["id"]})
    assert answer.status_code == 404

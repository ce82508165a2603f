import io
import pathlib
import zipfile
from typing import Any

import anthropic
import httpx2
import pytest

from activities.blob_sweep import BlobSweep
from tests.api.conftest import RunningApi

pytestmark = pytest.mark.timeout(60)
OLD = {"anthropic-beta": "skills-2025-10-02"}


def manifest(name: str = "my-skill", description: str = "What it does.") -> bytes:
    return f"---\nname: {name}\ndescription: {description}\n---\n".encode()


def folder(name: str = "my-skill", **more: bytes) -> Any:
    return [("top/SKILL.md", manifest(name)), *((f"top/{path}", data) for path, data in more.items())]


def parts(files: Any) -> Any:
    return [("files[]", (path, data, "text/plain")) for path, data in files]


def stored_blobs(api: RunningApi) -> list[pathlib.Path]:
    return [path for path in (api.state.settings.state_dir / "blobs").rglob("*") if path.is_file()]


async def created(http: httpx2.AsyncClient, name: str = "my-skill", **headers: str) -> dict[str, Any]:
    answer = await http.post("/v1/skills", files=parts(folder(name)), headers=headers)
    assert answer.status_code == 200, answer.text
    skill: dict[str, Any] = answer.json()
    return skill


async def test_create_retrieve_list_delete(sdk: anthropic.AsyncAnthropic) -> None:
    skill = await sdk.beta.skills.create(files=folder(extra=b"x"), display_name="Mine")
    assert (skill.display_name, skill.source.type) == ("Mine", "custom")
    assert await sdk.beta.skills.retrieve(skill.id) == skill
    version = await sdk.beta.skills.versions.retrieve(skill.latest_version_id, skill_id=skill.id)
    assert (version.name, version.description, version.skill_id) == ("my-skill", "What it does.", skill.id)
    plain = await sdk.beta.skills.create(files=folder("other"))
    assert plain.display_name == "other"
    assert [item.id async for item in sdk.beta.skills.list(limit=1)] == [plain.id, skill.id]
    assert [item.id async for item in sdk.beta.skills.list(source="custom")] == [plain.id, skill.id]
    assert [item.id async for item in sdk.beta.skills.list(source="anthropic")] == []
    deleted = await sdk.beta.skills.delete(skill.id)
    assert (deleted.id, deleted.type) == (skill.id, "skill_deleted")
    with pytest.raises(anthropic.NotFoundError):
        await sdk.beta.skills.retrieve(skill.id)
    with pytest.raises(anthropic.NotFoundError):
        await sdk.beta.skills.versions.retrieve(version.id, skill_id=skill.id)
    assert [item.id async for item in sdk.skills.list()] == [plain.id]


async def test_versions(sdk: anthropic.AsyncAnthropic) -> None:
    skill = await sdk.beta.skills.create(files=folder())
    made = [skill.latest_version_id]
    for number in range(3):
        text = manifest(description=f"Version {number}.")
        made.append((await sdk.beta.skills.versions.create(skill.id, files=[("other-top/SKILL.md", text)])).id)
    assert [item.id async for item in sdk.beta.skills.versions.list(skill.id, limit=2)] == made[::-1]
    assert (await sdk.beta.skills.retrieve(skill.id)).latest_version_id == made[-1]
    assert (await sdk.beta.skills.versions.retrieve("latest", skill_id=skill.id)).description == "Version 2."
    deleted = await sdk.beta.skills.versions.delete(made[-1], skill_id=skill.id)
    assert (deleted.id, deleted.type) == (made[-1], "skill_version_deleted")
    assert (await sdk.beta.skills.retrieve(skill.id)).latest_version_id == made[-2]
    for version in made[:2]:
        await sdk.beta.skills.versions.delete(version, skill_id=skill.id)
    with pytest.raises(anthropic.BadRequestError, match="at least one version"):
        await sdk.beta.skills.versions.delete(made[2], skill_id=skill.id)


async def test_a_version_keeps_the_name(sdk: anthropic.AsyncAnthropic) -> None:
    skill = await sdk.beta.skills.create(files=folder())
    with pytest.raises(anthropic.BadRequestError, match="for good"):
        await sdk.beta.skills.versions.create(skill.id, files=folder("another"))
    assert len((await sdk.beta.skills.versions.list(skill.id)).data) == 1


async def test_a_version_is_downloaded_as_an_archive(sdk: anthropic.AsyncAnthropic) -> None:
    skill = await sdk.beta.skills.create(files=folder(**{"sub/a.bin": b"\0\1" * 1000}))
    answer = await sdk.beta.skills.versions.with_raw_response.download(skill.latest_version_id, skill_id=skill.id)
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["content-disposition"] == 'attachment; filename="my-skill.zip"'
    data = await answer.read()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.namelist() == ["my-skill/SKILL.md", "my-skill/sub/a.bin"]
        assert archive.read("my-skill/sub/a.bin") == b"\0\1" * 1000
    again = await sdk.beta.skills.versions.create(skill.id, files=[("my-skill.zip", data)])
    assert again.name == "my-skill"


async def test_older_clients_see_older_shapes(http: httpx2.AsyncClient) -> None:
    answer = await http.post("/v1/skills", files=parts(folder()), data={"display_title": "Mine"}, headers=OLD)
    skill = answer.json()
    assert (skill["display_title"], skill["source"]) == ("Mine", "custom")
    assert skill["latest_version"].isdigit()
    assert "display_name" not in skill
    listed = (await http.get("/v1/skills", headers=OLD)).json()
    assert (listed["data"], listed["has_more"], listed["next_page"]) == ([skill], False, None)
    path = f"/v1/skills/{skill['id']}/versions"
    added = (await http.post(path, files=parts(folder()), headers=OLD)).json()
    assert (added["version"].isdigit(), added["directory"]) == (True, "my-skill")
    assert (await http.get(f"{path}/{added['version']}", headers=OLD)).json() == added
    assert [item["version"] for item in (await http.get(path, headers=OLD)).json()["data"]] == [
        added["version"],
        skill["latest_version"],
    ]
    gone = (await http.delete(f"{path}/{added['version']}", headers=OLD)).json()
    assert gone == {"id": added["version"], "type": "skill_version_deleted"}


async def test_others_do_not_see_it(http: httpx2.AsyncClient, stranger: httpx2.AsyncClient) -> None:
    skill = await created(http)
    path, version = f"/v1/skills/{skill['id']}", f"/versions/{skill['latest_version_id']}"
    for method, more in (("GET", ""), ("DELETE", ""), ("GET", "/versions"), ("GET", version), ("DELETE", version)):
        assert (await stranger.request(method, path + more)).status_code == 404, more
    assert (await stranger.get(f"{path}{version}/content")).status_code == 404
    assert (await stranger.post(f"{path}/versions", files=parts(folder()))).status_code == 404
    assert (await stranger.get("/v1/skills")).json()["data"] == []
    other = await created(http, "other")
    assert (await http.get(f"/v1/skills/{other['id']}{version}")).status_code == 404


async def test_a_key_makes_a_skill_once(http: httpx2.AsyncClient) -> None:
    first = await created(http, **{"idempotency-key": "k"})
    assert await created(http, **{"idempotency-key": "k"}) == first
    other = await http.post("/v1/skills", files=parts(folder("other")), headers={"idempotency-key": "k"})
    assert other.status_code == 409
    assert len((await http.get("/v1/skills")).json()["data"]) == 1


async def test_deletes_that_are_sent_again_are_answered_alike(http: httpx2.AsyncClient) -> None:
    skill = await created(http)
    path = f"/v1/skills/{skill['id']}"
    added = (await http.post(f"{path}/versions", files=parts(folder()))).json()
    again = {"x-stainless-retry-count": "1"}
    for address in (f"{path}/versions/{added['id']}", path):
        first = await http.delete(address)
        assert first.status_code == 200
        assert (await http.delete(address, headers=again)).json() == first.json()
        assert (await http.delete(address)).status_code == 404


async def test_what_is_deleted_frees_its_bytes(api: RunningApi, http: httpx2.AsyncClient) -> None:
    skill = await created(http)
    await http.post(f"/v1/skills/{skill['id']}/versions", files=parts(folder()))
    assert len(stored_blobs(api)) == 2
    await http.delete(f"/v1/skills/{skill['id']}")
    assert await BlobSweep(api.state.store, api.state.blobs).sweep() == 2
    assert stored_blobs(api) == []


async def refused(http: httpx2.AsyncClient, told: str, **sent: Any) -> None:
    answer = await http.post("/v1/skills", **sent)
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error"), answer.text
    assert told in answer.json()["error"]["message"]


async def test_uploads_that_would_do_harm_write_nothing(
    api: RunningApi, http: httpx2.AsyncClient, tmp_path: pathlib.Path
) -> None:
    before = sorted(tmp_path.parent.rglob("*.txt"))
    await refused(http, "must not climb", files=parts([*folder(), ("top/../../escaped.txt", b"x")]))
    await refused(http, "must be relative", files=parts([*folder(), ("/tmp/escaped.txt", b"x")]))
    await refused(http, "one top folder", files=parts([*folder(), ("b/escaped.txt", b"x")]))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("top/SKILL.md", manifest())
        archive.writestr("../escaped.txt", b"x")
    await refused(http, "must not climb", files=parts([("skill.zip", packed.getvalue())]))
    await refused(http, "damaged", files=parts([("skill.zip", manifest())]))
    assert sorted(tmp_path.parent.rglob("*.txt")) == before
    assert stored_blobs(api) == []
    assert (await http.get("/v1/skills")).json()["data"] == []


async def test_forms_that_are_none_are_refused(http: httpx2.AsyncClient) -> None:
    await refused(http, "multipart/form-data", json={})
    await refused(http, "`files[]`: required", files=[("other", ("a", b"x"))])
    await refused(http, "unknown field", files=parts(folder()), data={"other": "x"})
    await refused(http, "255", files=parts(folder()), data={"display_name": "x" * 256})
    await refused(http, "control", files=parts(folder()), data={"display_name": "a\nb"})
    await refused(http, "Too many files", files=parts([(f"top/{number}", b"") for number in range(1500)]))
    answer = await http.get("/v1/skills", params={"source": "moon"})
    assert answer.status_code == 400


async def test_a_skill_over_its_limit_is_refused(api: RunningApi, http: httpx2.AsyncClient) -> None:
    await refused(http, "100000 bytes", files=parts(folder(big=b"x" * 100_001)))
    answer = await http.post("/v1/skills", files=parts(folder(big=b"x" * 400_000)))
    assert (answer.status_code, stored_blobs(api)) == (413, [])

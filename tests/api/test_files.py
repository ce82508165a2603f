import asyncio
import hashlib
import io
import os
import pathlib
from typing import Any

import anthropic
import httpx2
import pytest

from store.repositories.blobs import begin_blob
from store.repositories.files import create_file
from store.tables import blobs, files
from tests.api.conftest import RunningApi

pytestmark = pytest.mark.timeout(60)
OLD = {"anthropic-beta": "x,files-api-2025-04-14"}


async def upload(http: httpx2.AsyncClient, name: str = "a.txt", data: bytes = b"hello", **headers: str) -> Any:
    return await http.post("/v1/files", files={"file": (name, data, "text/plain")}, headers=headers)


async def uploaded(http: httpx2.AsyncClient, name: str = "a.txt", data: bytes = b"hello") -> dict[str, Any]:
    answer = await upload(http, name, data)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def made_by_a_session(api: RunningApi, name: str, data: bytes, **values: Any) -> str:
    blob_id = await api.state.store.write(begin_blob)
    stored = await api.state.blobs.put(blob_id, io.BytesIO(data))
    named = {"filename": name, "mime_type": "text/csv", "downloadable": True, **values}
    row = await api.state.store.write(lambda db: create_file(db, api.workspace_id, blob_id, stored, named))
    return str(row["id"])


def stored_blobs(api: RunningApi) -> list[pathlib.Path]:
    return [path for path in (api.state.settings.state_dir / "blobs").rglob("*") if path.is_file()]


async def test_upload_retrieve_list_delete(sdk: anthropic.AsyncAnthropic, api: RunningApi) -> None:
    data = os.urandom(700_000)
    file = await sdk.beta.files.upload(file=("data.bin", data, "application/x-thing"), expires_in_seconds=3600)
    assert (file.filename, file.mime_type, file.size_bytes) == ("data.bin", "application/x-thing", len(data))
    assert file.downloadable is False
    assert file.scope is None
    assert file.expires_at is not None
    assert (file.expires_at - file.created_at).total_seconds() == 3600
    assert await sdk.beta.files.retrieve_metadata(file.id) == file
    assert [item async for item in sdk.beta.files.list()] == [file]
    (blob,) = stored_blobs(api)
    assert hashlib.sha256(blob.read_bytes()).digest() == hashlib.sha256(data).digest()
    assert "data.bin" not in str(blob)
    deleted = await sdk.beta.files.delete(file.id)
    assert (deleted.id, deleted.type) == (file.id, "file_deleted")
    with pytest.raises(anthropic.NotFoundError):
        await sdk.beta.files.retrieve_metadata(file.id)
    assert [item async for item in sdk.beta.files.list()] == []


async def test_the_paths_without_beta_are_the_same(sdk: anthropic.AsyncAnthropic) -> None:
    file = await sdk.files.upload(file=("a.txt", b"x"))
    assert file.mime_type == "text/plain"
    assert [item.id async for item in sdk.files.list()] == [file.id]
    assert (await sdk.files.delete(file.id)).id == file.id


async def test_pages_lead_through_the_list(sdk: anthropic.AsyncAnthropic) -> None:
    made = [(await sdk.beta.files.upload(file=(f"{number}.txt", b"x"))).id for number in range(5)]
    assert [item.id async for item in sdk.beta.files.list(limit=2)] == made[::-1]


async def test_ids_select(sdk: anthropic.AsyncAnthropic, http: httpx2.AsyncClient) -> None:
    first, _, third = [(await sdk.beta.files.upload(file=(f"{number}.txt", b"x"))).id for number in range(3)]
    page = await sdk.beta.files.list(ids=[first, third, "file_gone"])
    assert [item.id for item in page.data] == [third, first]
    assert page.next_page is None
    answer = await http.get("/v1/files", params={"ids[]": first, "limit": 1})
    assert answer.status_code == 400
    answer = await http.get("/v1/files", params=[("ids[]", f"file_{number}") for number in range(101)])
    assert (answer.status_code, "100" in answer.text) == (400, True)


async def test_older_clients_page_by_id(http: httpx2.AsyncClient) -> None:
    made = [(await uploaded(http, f"{number}.txt"))["id"] for number in range(5)][::-1]

    async def page(**params: Any) -> Any:
        answer = await http.get("/v1/files", params={"limit": 2, **params}, headers=OLD)
        assert answer.status_code == 200, answer.text
        found = answer.json()
        assert "next_page" not in found
        return [item["id"] for item in found["data"]], found["has_more"], found["first_id"], found["last_id"]

    assert await page() == (made[:2], True, made[0], made[1])
    assert await page(after_id=made[1]) == (made[2:4], True, made[2], made[3])
    assert await page(after_id=made[3]) == (made[4:], False, made[4], made[4])
    assert await page(before_id=made[3]) == (made[1:3], True, made[1], made[2])
    assert await page(before_id=made[1]) == (made[:1], False, made[0], made[0])
    assert await page(after_id=made[4]) == ([], False, None, None)
    assert (await http.get("/v1/files", params={"after_id": made[0]})).status_code == 400
    both = {"after_id": made[0], "before_id": made[1]}
    assert (await http.get("/v1/files", params=both, headers=OLD)).status_code == 400
    assert (await http.get("/v1/files", params={"after_id": "file_no"}, headers=OLD)).status_code == 404


async def test_only_what_a_session_made_is_downloaded(api: RunningApi, sdk: anthropic.AsyncAnthropic) -> None:
    own = await sdk.beta.files.upload(file=("a.txt", b"x"))
    with pytest.raises(anthropic.BadRequestError) as refused:
        await sdk.beta.files.download(own.id)
    assert refused.value.body["error"]["details"] == {"error_code": "file_not_downloadable"}  # type: ignore[index]
    file_id = await made_by_a_session(api, 'Übersicht".csv', b"a,b\n" * 600_000, scope_id="sesn_1")
    answer = await sdk.beta.files.with_raw_response.download(file_id)
    content = await answer.read()
    assert content == b"a,b\n" * 600_000
    assert answer.headers["content-length"] == str(len(content))
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''%C3%9Cbersicht%22.csv"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert [item.id async for item in sdk.beta.files.list(scope_id="sesn_1")] == [file_id]


async def test_an_expired_file_says_so(api: RunningApi, sdk: anthropic.AsyncAnthropic) -> None:
    file_id = await made_by_a_session(api, "a.csv", b"x")
    await api.state.store.write(lambda db: db.execute(files.update().values(expires_at=1)))
    with pytest.raises(anthropic.NotFoundError) as refused:
        await sdk.beta.files.download(file_id)
    assert refused.value.body["error"]["details"] == {"error_code": "file_expired"}  # type: ignore[index]
    assert (await sdk.beta.files.retrieve_metadata(file_id)).expires_at is not None


async def test_others_do_not_see_it(http: httpx2.AsyncClient, stranger: httpx2.AsyncClient) -> None:
    file_id = (await uploaded(http))["id"]
    for method, path in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
        assert (await stranger.request(method, f"/v1/files/{file_id}{path}")).status_code == 404
    assert (await stranger.get("/v1/files", params={"ids[]": file_id})).json()["data"] == []
    assert (await stranger.get("/v1/files", params={"after_id": file_id}, headers=OLD)).status_code == 404
    assert (await http.get(f"/v1/files/{file_id}")).status_code == 200


NAMES = [
    ("dir/sub/a.txt", "a.txt"),
    ("C:\\dir\\a.txt", "a.txt"),
    ("../../etc/passwd", "passwd"),
    ("", "unnamed.txt"),
    ("Ünï côdé.txt", "Ünï côdé.txt"),
]


@pytest.mark.parametrize(("sent", "kept"), NAMES, ids=[name for name, _ in NAMES])
async def test_the_last_part_of_the_name_is_kept(http: httpx2.AsyncClient, sent: str, kept: str) -> None:
    body = _form([(f'form-data; name="file"; filename="{sent}"', "text/plain", b"x")])
    answer = await http.post("/v1/files", content=body, headers=FORM)
    assert (answer.status_code, answer.json().get("filename")) == (200, kept)


FORM = {"content-type": "multipart/form-data; boundary=b"}


def _form(parts: list[tuple[str, str | None, bytes]]) -> bytes:
    lines = b""
    for disposition, kind, data in parts:
        typed = f"content-type: {kind}\r\n" if kind else ""
        lines += f"--b\r\ncontent-disposition: {disposition}\r\n{typed}\r\n".encode() + data + b"\r\n"
    return lines + b"--b--\r\n"


async def test_plain_bytes_get_a_name(sdk: anthropic.AsyncAnthropic) -> None:
    file = await sdk.beta.files.upload(file=b"\xff\x00\xe9")
    assert (file.filename.startswith("unnamed"), file.size_bytes) == (True, 3)


_FILE = ('form-data; name="file"; filename="a.txt"', "text/plain", b"x")
REFUSED: list[tuple[str, list[tuple[str, str | None, bytes]], str]] = [
    ("no file", [('form-data; name="other"', None, b"x")], "`file`: required"),
    ("two files", [_FILE, _FILE], "one file"),
    ("unknown field", [_FILE, ('form-data; name="purpose"', None, b"x")], "unknown field"),
    ("NUL in the name", [('form-data; name="file"; filename="a\0b"', "text/plain", b"x")], "control"),
    ("control in the name", [('form-data; name="file"; filename="a\x1bb"', "text/plain", b"x")], "control"),
    ("forbidden in the name", [('form-data; name="file"; filename="a|b"', "text/plain", b"x")], "must not contain"),
    ("dots", [('form-data; name="file"; filename=".."', "text/plain", b"x")], "must not contain"),
    ("long name", [(f'form-data; name="file"; filename="{"a" * 256}"', "text/plain", b"x")], "255"),
    ("short life", [_FILE, ('form-data; name="expires_in_seconds"', None, b"3599")], "3600"),
    ("long life", [_FILE, ('form-data; name="expires_in_seconds"', None, b"7776001")], "7776000"),
    ("no number", [_FILE, ('form-data; name="expires_in_seconds"', None, b"1e4")], "whole number"),
    ("huge number", [_FILE, ('form-data; name="expires_in_seconds"', None, b"9" * 4000)], "whole number"),
    ("life twice", [_FILE, *[('form-data; name="expires_in_seconds"', None, b"3600")] * 2], "once"),
    ("huge field", [_FILE, ('form-data; name="expires_in_seconds"', None, b"9" * 5000)], "maximum size"),
    ("many parts", [_FILE] * 5, "Too many files"),
]


@pytest.mark.parametrize(("parts", "told"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
async def test_bad_forms_are_refused(
    api: RunningApi, http: httpx2.AsyncClient, parts: list[tuple[str, str | None, bytes]], told: str
) -> None:
    answer = await http.post("/v1/files", content=_form(parts), headers=FORM)
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error"), answer.text
    assert told in answer.json()["error"]["message"]
    assert (await http.get("/v1/files")).json()["data"] == []
    assert stored_blobs(api) == []


BODIES: list[tuple[str, dict[str, str], bytes]] = [
    ("json", {"content-type": "application/json"}, b"{}"),
    ("no type", {}, b"x"),
    ("urlencoded", {"content-type": "application/x-www-form-urlencoded"}, b"file=x"),
    ("no boundary", {"content-type": "multipart/form-data"}, b"x"),
    ("no form", FORM, b"garbage"),
    ("cut off", FORM, _form([_FILE])[:-20]),
    ("empty", FORM, b""),
]


@pytest.mark.parametrize(("headers", "body"), [case[1:] for case in BODIES], ids=[case[0] for case in BODIES])
async def test_what_is_no_form_is_refused(http: httpx2.AsyncClient, headers: dict[str, str], body: bytes) -> None:
    answer = await http.post("/v1/files", content=body, headers=headers)
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error"), answer.text
    assert (await http.get("/v1/files")).json()["data"] == []


async def test_a_file_over_its_limit_is_refused(api: RunningApi, http: httpx2.AsyncClient) -> None:
    assert (await upload(http, data=b"x" * 1_000_000)).status_code == 200
    for size in (1_000_001, 1_100_000):
        answer = await upload(http, data=b"x" * size)
        assert (answer.status_code, answer.json()["error"]["details"]["error_code"]) == (413, "request_too_large")

    async def chunks() -> Any:
        yield b'--b\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n'
        for _ in range(30):
            yield b"x" * 50_000

    answer = await http.post("/v1/files", content=chunks(), headers=FORM)
    assert answer.status_code == 413
    assert len(stored_blobs(api)) == 1


async def test_other_bodies_keep_their_limit(http: httpx2.AsyncClient) -> None:
    answer = await http.post("/v1/agents", json={"name": "x" * 300_000})
    assert answer.status_code == 413


async def test_an_upload_needs_a_key_first(api: RunningApi) -> None:
    async with httpx2.AsyncClient(base_url=api.url) as nobody:
        assert (await upload(nobody)).status_code == 401


async def test_a_key_makes_an_upload_happen_once(api: RunningApi, http: httpx2.AsyncClient) -> None:
    first = await upload(http, **{"idempotency-key": "k"})
    again = await upload(http, **{"idempotency-key": "k"})
    assert first.json() == again.json()
    other = await upload(http, data=b"other", **{"idempotency-key": "k"})
    assert (other.status_code, other.json()["error"]["details"]["error_code"]) == (409, "idempotency_key_reused")
    renamed = await upload(http, "b.txt", **{"idempotency-key": "k"})
    assert renamed.status_code == 409
    assert len((await http.get("/v1/files")).json()["data"]) == 1
    unclaimed = await api.state.store.read(
        lambda db: db.execute(blobs.select().where(blobs.c.removable_at.is_not(None))).all()
    )
    assert len(unclaimed) == 3


async def test_a_resend_of_an_sdk_makes_no_second_file(http: httpx2.AsyncClient) -> None:
    first = await upload(http, **{"x-stainless-retry-count": "0"})
    again = await upload(http, **{"x-stainless-retry-count": "1"})
    assert first.json() == again.json()
    assert (await upload(http)).json()["id"] != first.json()["id"]


async def test_a_delete_that_is_sent_again_is_answered_alike(http: httpx2.AsyncClient) -> None:
    file_id = (await uploaded(http))["id"]
    first = await http.delete(f"/v1/files/{file_id}")
    again = await http.delete(f"/v1/files/{file_id}", headers={"x-stainless-retry-count": "1"})
    assert (first.json(), again.json()) == ({"id": file_id, "type": "file_deleted"},) * 2
    assert (await http.delete(f"/v1/files/{file_id}")).status_code == 404


async def test_uploads_at_once_do_not_disturb_each_other(http: httpx2.AsyncClient) -> None:
    made = await asyncio.gather(*(uploaded(http, f"{number}.txt", b"x" * number) for number in range(12)))
    assert sorted(file["size_bytes"] for file in made) == list(range(12))
    assert len({file["id"] for file in made}) == 12

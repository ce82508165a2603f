from typing import Any

import httpx2
import pytest

import api.runtime_check
from store.tables import runtimes, sessions
from tests.api.conftest import RunningApi
from tests.api.test_environments import session_row

STUB = {"alias": "lab", "kind": "stub", "base_url": "http://127.0.0.1:9/"}


class Woken:
    def __init__(self) -> None:
        self.ids: list[str] = []

    def wake(self, session_id: str, *, signal: bool = False) -> None:
        self.ids.append(session_id)


async def _create(http: httpx2.AsyncClient, **more: Any) -> dict[str, Any]:
    answer = await http.post("/v1/runtimes", json={**STUB, **more})
    assert answer.status_code == 200, answer.text
    created: dict[str, Any] = answer.json()
    return created


async def test_create_and_retrieve_by_id_or_alias(http: httpx2.AsyncClient) -> None:
    created = await _create(http, credential="secret-credential", options={"capable": True})
    assert created["type"] == "runtime"
    assert created["has_credential"] is True
    assert created["health"] is None
    assert created["capabilities"]["custom_tools"] is True
    assert "secret-credential" not in str(created)
    for name in (created["id"], "lab"):
        assert (await http.get(f"/v1/runtimes/{name}")).json() == created
    listed = (await http.get("/v1/runtimes")).json()
    assert listed == {"data": [created], "next_page": None}


async def test_credential_is_sealed_at_rest(api: RunningApi, http: httpx2.AsyncClient) -> None:
    await _create(http, credential="secret-credential")
    row = await api.state.store.read(lambda db: db.execute(runtimes.select()).mappings().one())
    assert b"secret" not in row["credential"]
    vault = api.state.adapters.vault
    assert vault.open(row["credential"], api.workspace_id, row["id"]) == "secret-credential"


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"kind": "none"}, "opencode"),
    ({"options": {"what": 1}}, "options of 'stub' are: answer, capable"),
    ({"options": {"answer": "no"}}, "options.answer"),
    ({"base_url": "ftp://x"}, "`base_url`"),
    ({"base_url": "not an address"}, "`base_url`"),
    ({"base_url": "http://x:99999999"}, "must be an address"),
    ({"base_url": "http://refused"}, "cannot be used with this `base_url`"),
    ({"credential": "pässwörd"}, "printable ASCII"),
    ({"base_url": "http://user:pw@x"}, "user or password"),
    ({"base_url": "http://x/?token=1"}, "query"),
    ({"alias": "Upper"}, "`alias`"),
    ({"alias": "runtime_x"}, "must not begin"),
    ({"credential": ""}, "`credential`"),
    ({"credentials": "x"}, "unknown field"),
]


@pytest.mark.parametrize(("change", "told"), REFUSED, ids=[str(change) for change, _ in REFUSED])
async def test_create_refused(http: httpx2.AsyncClient, change: dict[str, Any], told: str) -> None:
    answer = await http.post("/v1/runtimes", json={**STUB, **change})
    assert answer.status_code == 400, answer.text
    assert told in answer.json()["error"]["message"]
    assert "user:pw" not in answer.text


async def test_alias_is_unique_in_its_workspace(http: httpx2.AsyncClient, stranger: httpx2.AsyncClient) -> None:
    await _create(http)
    answer = await http.post("/v1/runtimes", json=STUB)
    assert answer.status_code == 409
    assert answer.headers["x-should-retry"] == "false"
    await _create(stranger)


async def test_update(http: httpx2.AsyncClient) -> None:
    created = await _create(http, credential="c")
    same_host = {"base_url": "http://127.0.0.1:9/v2", "options": {"capable": True}}
    updated = (await http.post("/v1/runtimes/lab", json=same_host)).json()
    assert updated["base_url"] == "http://127.0.0.1:9/v2"
    assert updated["capabilities"]["approvals"] is True
    assert updated["has_credential"] is True
    cleared = (await http.post(f"/v1/runtimes/{created['id']}", json={"credential": None})).json()
    assert cleared["has_credential"] is False
    assert cleared["options"] == {"capable": True}


async def test_update_refused(http: httpx2.AsyncClient) -> None:
    created = await _create(http)
    for change in ({"options": {"what": 1}}, {"base_url": "http://refused"}, {"alias": "new"}, {"kind": "scripted"}):
        assert (await http.post("/v1/runtimes/lab", json=change)).status_code == 400
    assert (await http.get("/v1/runtimes/lab")).json() == created


async def test_update_without_change_keeps_health(http: httpx2.AsyncClient) -> None:
    await _create(http)
    checked = (await http.post("/v1/runtimes/lab/check")).json()
    assert (await http.post("/v1/runtimes/lab", json={"base_url": STUB["base_url"]})).json() == checked
    changed = (await http.post("/v1/runtimes/lab", json={"credential": "x"})).json()
    assert (changed["health"], changed["checked_at"]) == (None, None)


async def test_credential_never_follows_to_another_host(http: httpx2.AsyncClient) -> None:
    await _create(http, credential="c")
    moved = {"base_url": "http://elsewhere.example"}
    answer = await http.post("/v1/runtimes/lab", json=moved)
    assert answer.status_code == 400
    assert "needs the credential again" in answer.json()["error"]["message"]
    assert (await http.post("/v1/runtimes/lab", json={**moved, "credential": "d"})).status_code == 200


@pytest.mark.parametrize(
    ("answer", "ok", "detail"),
    [
        ("ok", True, "credential of 6 characters"),
        ("refused", False, "credential of 6 characters"),
        ("raises", False, "unreachable: ConnectionRefusedError"),
        ("hangs", False, "no answer from http://127.0.0.1:9/ within"),
    ],
)
async def test_check(
    http: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch, answer: str, ok: bool, detail: str
) -> None:
    monkeypatch.setattr(api.runtime_check, "_LIMIT_S", 0.5)
    await _create(http, credential="secret", options={"answer": answer})
    checked = (await http.post("/v1/runtimes/lab/check")).json()
    assert checked["health"]["ok"] is ok
    assert detail in checked["health"]["detail"]
    assert checked["checked_at"] is not None
    assert (await http.get("/v1/runtimes/lab")).json() == checked


async def test_check_with_another_master_key_names_the_remedy(api: RunningApi, http: httpx2.AsyncClient) -> None:
    await _create(http, credential="secret")
    api.state.adapters.vault = type(api.state.adapters.vault)(b"x" * 32)
    checked = (await http.post("/v1/runtimes/lab/check")).json()
    assert "WAYSTATION_MASTER_KEY" in checked["health"]["detail"]


@pytest.mark.parametrize(("answer", "released"), [("ok", ["sesn_1"]), ("refused", [])])
async def test_passing_check_releases_held_sessions(
    api: RunningApi, http: httpx2.AsyncClient, answer: str, released: list[str]
) -> None:
    created = await _create(http, options={"answer": answer})
    api.state.waker = woken = Woken()
    rows = [
        session_row(api.workspace_id, created["id"], id="sesn_1", held="needs a person"),
        session_row(api.workspace_id, created["id"], id="sesn_2", held=None),
    ]
    await api.state.store.write(lambda db: db.execute(sessions.insert(), rows))
    await http.post("/v1/runtimes/lab/check")
    assert woken.ids == released
    held = await api.state.store.read(lambda db: db.execute(sessions.select()).mappings().all())
    assert [row["id"] for row in held if row["held"]] == ([] if released else ["sesn_1"])


async def test_delete(http: httpx2.AsyncClient) -> None:
    created = await _create(http)
    deleted = (await http.delete("/v1/runtimes/lab")).json()
    assert deleted == {"id": created["id"], "type": "runtime_deleted"}
    assert (await http.get("/v1/runtimes/lab")).status_code == 404


async def test_delete_refused_while_used(api: RunningApi, http: httpx2.AsyncClient) -> None:
    created = await _create(http)
    agent = (await http.post("/v1/agents", json={"name": "n", "model": "m", "runtime": "lab"})).json()
    refused = await http.delete("/v1/runtimes/lab")
    assert refused.status_code == 400
    assert agent["id"] in refused.json()["error"]["message"]
    await http.post(f"/v1/agents/{agent['id']}/archive")
    row = session_row(api.workspace_id, created["id"])
    await api.state.store.write(lambda db: db.execute(sessions.insert().values(row)))
    assert "sesn_1" in (await http.delete("/v1/runtimes/lab")).json()["error"]["message"]


async def test_other_workspace_sees_nothing(stranger: httpx2.AsyncClient, http: httpx2.AsyncClient) -> None:
    created = await _create(http)
    for name in (created["id"], "lab"):
        path = f"/v1/runtimes/{name}"
        answers = [
            await stranger.get(path),
            await stranger.post(path, json={}),
            await stranger.post(f"{path}/check"),
            await stranger.delete(path),
        ]
        assert [answer.status_code for answer in answers] == [404] * 4


async def test_kinds_are_listed(http: httpx2.AsyncClient) -> None:
    listed = (await http.get("/v1/runtime_kinds")).json()["data"]
    kinds = {item["kind"]: item for item in listed}
    assert list(kinds) == sorted(kinds)
    assert kinds["stub"]["capabilities"]["custom_tools"] is False
    assert kinds["stub"]["hint"] == "only for tests"
    assert kinds["stub"]["options"]["properties"].keys() == {"answer", "capable", "lays"}

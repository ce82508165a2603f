"""User profiles over HTTP, with both faces of the official client and with a plain one."""

from datetime import UTC, datetime, timedelta
from typing import Any

import anthropic
import httpx2
import pytest

Json = dict[str, Any]

pytestmark = pytest.mark.timeout(60)

PATH = "/v1/user_profiles"
ONBOARDED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


async def create(http: httpx2.AsyncClient, **fields: Any) -> Json:
    answer = await http.post(PATH, json=fields)
    assert answer.status_code == 200, answer.text
    made: Json = answer.json()
    return made


async def test_both_faces_read_the_same_profile(sdk: anthropic.AsyncAnthropic) -> None:
    made = await sdk.user_profiles.create(
        name="Ada",
        metadata={"k": "v"},
        external_user_details={
            "account_status": "active",
            "country": "DE",
            "email_hash": "e",
            "entity_type": "individual",
            "name_hash": "n",
            "onboarded_at": ONBOARDED,
            "reference_id": "r",
        },
    )
    assert made.id.startswith("uprof_")
    assert (made.name, made.access_type, made.metadata) == ("Ada", "application", {"k": "v"})
    details = made.external_user_details
    assert (details.country, details.onboarded_at, details.reference_id) == ("DE", ONBOARDED, "r")
    assert (made.enforcement_status, made.enforcement_actions) == ("unrestricted", [])
    assert (made.programs.cyber, made.programs.efs) == (None, None)
    assert await sdk.user_profiles.retrieve(made.id) == made
    beta = await sdk.beta.user_profiles.retrieve(made.id)
    assert (beta.external_id, beta.external_user_onboarded_at, beta.trust_grants) == ("r", ONBOARDED, {})
    assert beta.external_user_details is not None
    assert beta.external_user_details.email_hash == "e"


async def test_older_names_of_fields(sdk: anthropic.AsyncAnthropic, http: httpx2.AsyncClient) -> None:
    made = await sdk.beta.user_profiles.create(
        external_id="old", external_user_onboarded_at=ONBOARDED, access_type="passthrough"
    )
    details = (await sdk.user_profiles.retrieve(made.id)).external_user_details
    assert (details.reference_id, details.onboarded_at, made.name) == ("old", ONBOARDED, None)
    both = await http.post(PATH, json={"external_id": "a", "external_user_details": {"reference_id": "a"}})
    assert both.status_code == 400
    assert "not both" in both.json()["error"]["message"]
    cleared = await http.post(f"{PATH}/{made.id}", json={"external_id": None})
    assert cleared.json()["external_user_details"]["reference_id"] is None


async def test_update_keeps_what_is_left_out(sdk: anthropic.AsyncAnthropic) -> None:
    made = await sdk.user_profiles.create(
        name="n", metadata={"a": "1", "b": "2"}, external_user_details={"country": "DE", "name_hash": "h"}
    )
    updated = await sdk.user_profiles.update(
        made.id, access_type="passthrough", metadata={"a": "", "c": "3"}, external_user_details={"country": "FR"}
    )
    assert (updated.name, updated.access_type, updated.metadata) == ("n", "passthrough", {"b": "2", "c": "3"})
    assert (updated.external_user_details.country, updated.external_user_details.name_hash) == ("FR", "h")
    assert (await sdk.user_profiles.update(made.id, access_type="passthrough")) == updated
    assert (await sdk.user_profiles.update(made.id, name=None)).name is None


async def test_delete(sdk: anthropic.AsyncAnthropic, http: httpx2.AsyncClient) -> None:
    made = await create(http)
    deleted = await sdk.user_profiles.delete(made["id"])
    assert (deleted.id, deleted.type) == (made["id"], "user_profile_deleted")
    with pytest.raises(anthropic.NotFoundError):
        await sdk.user_profiles.retrieve(made["id"])
    with pytest.raises(anthropic.NotFoundError):
        await sdk.beta.user_profiles.delete(made["id"])


async def test_list_by_age(sdk: anthropic.AsyncAnthropic, http: httpx2.AsyncClient) -> None:
    made = [(await create(http))["id"] for _ in range(5)]
    assert [item.id async for item in sdk.user_profiles.list(limit=2)] == made[::-1]
    assert [item.id async for item in sdk.beta.user_profiles.list(limit=2, order="asc")] == made


async def test_list_by_name(sdk: anthropic.AsyncAnthropic, http: httpx2.AsyncClient) -> None:
    for name in ("b", None, "A", "Z", "ä", "a", None, "x" * 255, "😀" * 255):
        await create(http, name=name)
    up = [item.name async for item in sdk.user_profiles.list(limit=1, order_by="name", order="asc")]
    assert [name and name[:1].lower() for name in up] == ["a", "a", "b", "x", "z", "ä", "😀", None, None]
    down = [item.name async for item in sdk.user_profiles.list(limit=2, order_by="name", order="desc")]
    assert [name and name[:1].lower() for name in down] == ["😀", "ä", "z", "x", "b", "a", "a", None, None]
    ids = [item.id async for item in sdk.user_profiles.list(limit=1, order_by="name", order="asc")]
    assert len(set(ids)) == 9
    await http.post(f"{PATH}/{ids[0]}", json={"name": "zz"})
    again = [item.id async for item in sdk.user_profiles.list(order_by="name", order="asc")]
    assert again.index(ids[0]) == 4


async def test_list_by_enforcement(sdk: anthropic.AsyncAnthropic, http: httpx2.AsyncClient) -> None:
    made = await create(http)
    free = [item.id async for item in sdk.user_profiles.list(enforcement_status=["unrestricted", "banned"])]
    assert free == [made["id"]]
    assert [item.id async for item in sdk.user_profiles.list(enforcement_status=["banned"])] == []


async def test_a_cursor_belongs_to_its_order(http: httpx2.AsyncClient) -> None:
    for _ in range(2):
        await create(http)
    page = (await http.get(PATH, params={"limit": 1})).json()["next_page"]
    assert (await http.get(PATH, params={"limit": 1, "page": page, "order": "asc"})).status_code == 400


REFUSED: list[tuple[Json, str]] = [
    ({"name": ""}, "at least 1"),
    ({"name": "x" * 256}, "255"),
    ({"access_type": "owner"}, "application"),
    ({"metadata": {"k": ""}}, "at least 1"),
    ({"metadata": {str(n): "v" for n in range(17)}}, "16"),
    ({"external_user_details": {"country": "de"}}, "country"),
    ({"external_user_details": {"country": "DEU"}}, "country"),
    ({"external_user_details": {"reference_id": "x" * 256}}, "255"),
    ({"external_user_details": {"shoe_size": 4}}, "unknown field"),
    ({"external_user_details": {"onboarded_at": "yesterday"}}, "RFC 3339"),
    (
        {"external_user_details": {"onboarded_at": (datetime.now(UTC) + timedelta(hours=1)).isoformat()}},
        "in the future",
    ),
    ({"external_user_onboarded_at": None}, "external_user_onboarded_at"),
]


@pytest.mark.parametrize(("body", "told"), REFUSED, ids=[str(number) for number in range(len(REFUSED))])
async def test_create_refused(http: httpx2.AsyncClient, body: Json, told: str) -> None:
    answer = await http.post(PATH, json=body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert told in answer.json()["error"]["message"]
    assert (await http.get(PATH)).json()["data"] == []


async def test_update_refuses_to_clear_details(http: httpx2.AsyncClient) -> None:
    made = await create(http, external_user_details={"country": "DE"}, metadata={str(n): "v" for n in range(16)})
    cleared = await http.post(f"{PATH}/{made['id']}", json={"external_user_details": {"country": None}})
    assert cleared.status_code == 400
    assert "cannot be cleared" in cleared.json()["error"]["message"]
    crowded = await http.post(f"{PATH}/{made['id']}", json={"metadata": {"more": "x"}})
    assert crowded.json()["error"]["details"]["error_code"] == "invalid_metadata"
    assert (await http.get(f"{PATH}/{made['id']}")).json() == made


async def test_addresses_are_not_invented(sdk: anthropic.AsyncAnthropic, http: httpx2.AsyncClient) -> None:
    made = await create(http)
    with pytest.raises(anthropic.BadRequestError, match="makes no addresses"):
        await sdk.beta.user_profiles.create_enrollment_url(made["id"])
    with pytest.raises(anthropic.BadRequestError, match="makes no addresses"):
        await sdk.user_profiles.action_urls.create(made["id"], action={"type": "enroll_end_user"})
    with pytest.raises(anthropic.NotFoundError):
        await sdk.beta.user_profiles.create_enrollment_url("uprof_none")
    assert (await http.post(f"{PATH}/{made['id']}/action_urls", json={"action": {"type": "dance"}})).status_code == 400


async def test_other_workspace_sees_nothing(http: httpx2.AsyncClient, stranger: httpx2.AsyncClient) -> None:
    path = f"{PATH}/{(await create(http, name='n'))['id']}"
    answers = [
        await stranger.get(path),
        await stranger.post(path, json={"name": "x"}),
        await stranger.delete(path),
        await stranger.post(f"{path}/enrollment_url"),
        await stranger.post(f"{path}/action_urls", json={"action": {"type": "enroll_end_user"}}),
    ]
    assert [answer.status_code for answer in answers] == [404] * 5
    assert (await stranger.get(PATH)).json()["data"] == []
    assert (await stranger.get(f"{PATH}?order_by=name")).json()["data"] == []

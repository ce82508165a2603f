from typing import Any

import httpx2
import pytest

from api.pages import decode_cursor, encode_cursor
from protocol.errors import InvalidRequestError

FILTERS = ("things", None, True)


def test_cursor_round_trip() -> None:
    cursor = encode_cursor(FILTERS, (2**53, "id_1"))
    assert decode_cursor(cursor, FILTERS, (int, str)) == (2**53, "id_1")


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "é",
        "a" * 5000,
        encode_cursor(("others",), (1, "id_1")),
        encode_cursor(FILTERS, (1,)),
        encode_cursor(FILTERS, ("id_1", 1)),
        encode_cursor(FILTERS, (True, "id_1")),
        encode_cursor(FILTERS, (2**63, "id_1")),
        encode_cursor(FILTERS, (1, "a\x00b")),
    ],
)
def test_odd_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidRequestError, match="next_page"):
        decode_cursor(cursor, FILTERS, (int, str))


async def test_cursor_is_bound_to_its_filters(http: httpx2.AsyncClient, stub_runtime: dict[str, Any]) -> None:
    for name in "abc":
        await http.post("/v1/agents", json={"name": name, "model": "m"})
    page = (await http.get("/v1/agents", params={"limit": 1})).json()["next_page"]
    assert (await http.get("/v1/agents", params={"limit": 2, "page": page})).status_code == 200
    refused = [{"page": page, "include_archived": "true"}, {"page": page + "x"}, {"page": "null"}]
    for params in refused:
        assert (await http.get("/v1/agents", params=params)).status_code == 400
    assert (await http.get("/v1/environments", params={"page": page})).status_code == 400


async def test_page_stays_put_while_the_list_grows(http: httpx2.AsyncClient, stub_runtime: dict[str, Any]) -> None:
    for name in "abcd":
        await http.post("/v1/agents", json={"name": name, "model": "m"})
    first = (await http.get("/v1/agents", params={"limit": 2})).json()
    await http.post("/v1/agents", json={"name": "e", "model": "m"})
    second = (await http.get("/v1/agents", params={"limit": 2, "page": first["next_page"]})).json()
    assert [item["name"] for item in first["data"] + second["data"]] == ["d", "c", "b", "a"]
    assert second["next_page"] is None

"""Every operation of dreams and tunnels says that it is not offered, to clients that may ask at all."""

from collections.abc import Awaitable, Callable

import anthropic
import httpx2
import pytest

pytestmark = pytest.mark.timeout(60)

Call = Callable[[anthropic.AsyncAnthropic], Awaitable[object]]

DREAMS: list[Call] = [
    lambda sdk: sdk.beta.dreams.create(inputs=[{"type": "sessions", "session_ids": ["s"]}], model="m"),
    lambda sdk: sdk.beta.dreams.retrieve("d"),
    lambda sdk: sdk.beta.dreams.list().__aiter__().__anext__(),
    lambda sdk: sdk.beta.dreams.archive("d"),
    lambda sdk: sdk.beta.dreams.cancel("d"),
]
TUNNELS: list[Call] = [
    lambda sdk: sdk.beta.tunnels.create(display_name="t"),
    lambda sdk: sdk.beta.tunnels.retrieve("t"),
    lambda sdk: sdk.beta.tunnels.list().__aiter__().__anext__(),
    lambda sdk: sdk.beta.tunnels.archive("t"),
    lambda sdk: sdk.beta.tunnels.reveal_token("t"),
    lambda sdk: sdk.beta.tunnels.rotate_token("t"),
    lambda sdk: sdk.beta.tunnels.certificates.create("t", ca_certificate_pem="p"),
    lambda sdk: sdk.beta.tunnels.certificates.retrieve("c", tunnel_id="t"),
    lambda sdk: sdk.beta.tunnels.certificates.list("t").__aiter__().__anext__(),
    lambda sdk: sdk.beta.tunnels.certificates.archive("c", tunnel_id="t"),
]


@pytest.mark.parametrize(("noun", "calls"), [("dreams", DREAMS), ("tunnels", TUNNELS)])
async def test_each_operation_is_refused(sdk: anthropic.AsyncAnthropic, noun: str, calls: list[Call]) -> None:
    for call in calls:
        with pytest.raises(anthropic.BadRequestError, match=f"{noun} are not offered") as caught:
            await call(sdk)
        assert caught.value.body["error"]["type"] == "invalid_request_error"  # type: ignore[index]


async def test_they_stand_in_the_api_document(http: httpx2.AsyncClient) -> None:
    document = (await http.get("/openapi.json")).json()
    told = [(path, verb) for path, verbs in document["paths"].items() for verb in verbs]
    ours = [(path, verb) for path, verb in told if path.startswith(("/v1/dreams", "/v1/tunnels"))]
    assert len(ours) == len(DREAMS) + len(TUNNELS)
    for path, verb in ours:
        operation = document["paths"][path][verb]
        assert "not offered" in operation["description"]
        assert not any(status.startswith("2") for status in operation["responses"])
        assert len(operation.get("parameters", ())) == path.count("{")


async def test_a_key_is_needed(http: httpx2.AsyncClient) -> None:
    assert (await http.get("/v1/dreams", headers={"authorization": "Bearer none"})).status_code == 401

import socket

import pytest
from pydantic import SecretStr

from runtimes.base import Connection, Failure, Session
from runtimes.claude_managed_agents.runtime import ClaudeManagedAgentsRuntime as Runtime
from tests.runtimes.claude_managed_agents.following import message
from tests.runtimes.claude_managed_agents.stand_in import KEY, StandIn

SECRET_TEXT = "the user's own words"


async def refused(
    runtime: Runtime, session: Session, stand_in: StandIn, status: int, code: str = "", **headers: str
) -> Failure:
    details = {"details": {"error_code": code}} if code else {}
    body = {"type": "error", "error": {"type": "some_error", "message": SECRET_TEXT, **details}}
    stand_in.faults.answers.append((status, body, {name.replace("_", "-"): value for name, value in headers.items()}))
    with pytest.raises(Exception, match=str(status)) as error:
        await runtime.start_turn(session, message("hello"))
    assert not stand_in.received
    return runtime.classify(error.value)


@pytest.mark.parametrize(
    ("status", "kind", "ambiguous", "error_type"),
    [
        (400, "terminal", False, "model_request_failed_error"),
        (401, "needs_person", False, "model_request_failed_error"),
        (402, "needs_person", False, "billing_error"),
        (403, "needs_person", False, "model_request_failed_error"),
        (404, "terminal", False, "model_request_failed_error"),
        (408, "retry", True, "model_request_failed_error"),
        (409, "retry", False, "model_request_failed_error"),
        (413, "terminal", False, "model_request_failed_error"),
        (429, "retry", False, "model_rate_limited_error"),
        (500, "retry", True, "model_request_failed_error"),
        (502, "retry", True, "model_request_failed_error"),
        (503, "retry", False, "model_overloaded_error"),
        (504, "retry", True, "model_request_failed_error"),
        (529, "retry", False, "model_overloaded_error"),
    ],
)
async def test_status_tells_the_kind(
    runtime: Runtime, session: Session, stand_in: StandIn, status: int, kind: str, ambiguous: bool, error_type: str
) -> None:
    failure = await refused(runtime, session, stand_in, status)
    assert (failure.kind, failure.ambiguous, failure.error_type) == (kind, ambiguous, error_type)
    assert SECRET_TEXT not in failure.message
    assert len(stand_in.asked("POST", "/events")) == 1


async def test_rate_limit_says_when_to_return(runtime: Runtime, session: Session, stand_in: StandIn) -> None:
    assert (await refused(runtime, session, stand_in, 429, retry_after="7")).retry_after_s == 7.0
    assert (await refused(runtime, session, stand_in, 429, retry_after_ms="250")).retry_after_s == 0.25


async def test_retry_after_as_a_date_is_left_to_the_engine(
    runtime: Runtime, session: Session, stand_in: StandIn
) -> None:
    failure = await refused(runtime, session, stand_in, 429, retry_after="Sun, 22 Nov 2026 14:00:00 GMT")
    assert failure.retry_after_s is None


async def test_spent_budget_needs_a_person(runtime: Runtime, session: Session, stand_in: StandIn) -> None:
    failure = await refused(runtime, session, stand_in, 429, code="enforced_spend_limit_reached")
    assert (failure.kind, failure.error_type) == ("needs_person", "billing_error")


async def test_server_decides_about_retries(runtime: Runtime, session: Session, stand_in: StandIn) -> None:
    assert (await refused(runtime, session, stand_in, 409, x_should_retry="false")).kind == "terminal"
    assert (await refused(runtime, session, stand_in, 400, x_should_retry="true")).kind == "retry"


async def test_check_of_a_good_key(runtime: Runtime, stand_in: StandIn) -> None:
    health = await runtime.check()
    assert health.ok
    assert stand_in.url in health.detail
    assert stand_in.asked("GET", "/agents") == [{"limit": "1"}]


async def test_check_of_a_bad_key_says_what_to_do(stand_in: StandIn) -> None:
    runtime = Runtime(Connection("runtime_2", stand_in.url, SecretStr("another"), {}))
    health = await runtime.check()
    assert not health.ok
    assert "check its API key" in health.detail
    assert "another" not in health.detail
    await runtime.close()


async def test_check_without_key_sends_none_of_the_environment(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    runtime = Runtime(Connection("runtime_2", stand_in.url, None, {}))
    assert not (await runtime.check()).ok
    await runtime.close()


async def test_unreachable_provider_accepted_nothing(session: Session) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    runtime = Runtime(Connection("runtime_2", f"http://127.0.0.1:{port}", SecretStr(KEY), {}))
    assert not (await runtime.check()).ok
    with pytest.raises(Exception, match="Connection") as error:
        await runtime.start_turn(session, message("hello"))
    failure = runtime.classify(error.value)
    assert (failure.kind, failure.ambiguous) == ("retry", False)
    await runtime.close()


async def test_address_of_something_else_needs_a_person(runtime: Runtime, stand_in: StandIn) -> None:
    stand_in.faults.answers.append((200, {"hello": "world"}, {}))
    health = await runtime.check()
    assert not health.ok
    assert "address" in health.detail


async def test_unknown_error_is_raised_again(runtime: Runtime) -> None:
    with pytest.raises(KeyError):
        runtime.classify(KeyError("x"))

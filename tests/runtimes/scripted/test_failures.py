import httpx2
import pytest

from runtimes.scripted.failures import classify

REQUEST = httpx2.Request("POST", "http://runtime/sessions/x/turns")


def refusal(status: int, code: str = "refused", headers: dict[str, str] | None = None) -> httpx2.HTTPStatusError:
    response = httpx2.Response(status, json={"error": {"code": code}}, headers=headers, request=REQUEST)
    return httpx2.HTTPStatusError("refused", request=REQUEST, response=response)


@pytest.mark.parametrize(
    ("error", "kind", "ambiguous"),
    [
        (httpx2.ConnectError("x"), "retry", False),
        (httpx2.ConnectTimeout("x"), "retry", False),
        (httpx2.ReadTimeout("x"), "retry", True),
        (httpx2.ReadError("x"), "retry", True),
        (httpx2.WriteError("x"), "retry", True),
        (httpx2.RemoteProtocolError("x"), "retry", True),
        (TimeoutError(), "retry", True),
        (httpx2.UnsupportedProtocol("x"), "needs_person", False),
        (refusal(429), "retry", False),
        (refusal(500), "retry", False),
        (refusal(503), "retry", False),
        (refusal(409, "busy"), "retry", False),
        (refusal(401), "needs_person", False),
        (refusal(403), "needs_person", False),
        (refusal(400), "terminal", False),
        (refusal(404, "no_session"), "terminal", False),
        (refusal(410, "closed"), "terminal", False),
    ],
)
def test_error_is_classified(error: Exception, kind: str, ambiguous: bool) -> None:
    failure = classify(error)
    assert (failure.kind, failure.ambiguous) == (kind, ambiguous)


def test_retry_after_is_honoured() -> None:
    assert classify(refusal(429, headers={"retry-after": "1.5"})).retry_after_s == 1.5
    assert classify(refusal(429, headers={"retry-after": "tomorrow"})).retry_after_s is None


def test_unknown_error_is_raised_again() -> None:
    with pytest.raises(ZeroDivisionError):
        classify(ZeroDivisionError())

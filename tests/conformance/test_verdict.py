from pathlib import Path

import pytest

from tests.conformance.front import Exchange
from tests.conformance.verdict import EXCEPTIONS, ExceptionEntry, judge, read_exceptions

TEST = "tests/api_resources/beta/test_dreams.py::TestDreams::test_method_list[strict]"
PASSED, FAILED = ("passed", ""), ("failed", "E   boom")
REFUSED = Exchange("GET /v1/dreams", 400, "invalid_request_error", "not offered")
ANSWERED = Exchange("GET /v1/dreams", 200)
ENTRY = ExceptionEntry("beta/test_dreams.py::*", "invalid_request_error", "not offered")


def test_counts_what_touches_the_server():
    outcomes = {TEST: PASSED, "other": FAILED, "local": PASSED}
    verdict = judge(outcomes, {TEST: [ANSWERED], "other": [REFUSED]}, [])
    assert str(verdict) == "passed 1 of 2 that touch the server, 0 excepted"
    assert verdict.untouched == 1
    assert verdict.failures == [("other", "GET /v1/dreams: 400 invalid_request_error: not offered")]
    assert not verdict.good


def test_an_exception_that_is_answered_as_it_says_is_counted():
    verdict = judge({TEST: FAILED, "other": PASSED}, {TEST: [REFUSED], "other": [ANSWERED]}, [ENTRY])
    assert str(verdict) == "passed 1 of 2 that touch the server, 1 excepted"
    assert verdict.good


@pytest.mark.parametrize(
    "exchange",
    [ANSWERED, Exchange("GET /v1/dreams", 404, "not_found_error"), Exchange("GET /v1/dreams", 500, "api_error")],
)
def test_an_exception_that_is_answered_otherwise_has_failed(exchange: Exchange):
    verdict = judge({TEST: FAILED}, {TEST: [exchange]}, [ENTRY])
    assert verdict.excepted == 0
    assert "excepted, but not answered with invalid_request_error" in verdict.failures[0][1]


def test_an_exception_that_passes_is_wrong():
    verdict = judge({TEST: PASSED}, {TEST: [ANSWERED]}, [ENTRY])
    assert "which passes" in verdict.complaints[0]
    assert not verdict.good


def test_an_exception_that_matches_nothing_is_wrong_when_all_tests_were_run():
    outcomes, seen = {"other": PASSED}, {"other": [ANSWERED]}
    assert judge(outcomes, seen, [ENTRY], whole=False).good
    assert "matches no test" in judge(outcomes, seen, [ENTRY]).complaints[0]


def test_a_test_without_the_server_may_not_fail_either():
    verdict = judge({"local": FAILED, TEST: PASSED}, {TEST: [ANSWERED]}, [])
    assert verdict.failures == [("local", "E   boom")]


def test_an_exception_is_only_of_tests_that_touch_the_server():
    local = TEST.replace("test_method_list", "test_path_params_retrieve")
    verdict = judge({TEST: FAILED, local: PASSED}, {TEST: [REFUSED]}, [ENTRY])
    assert verdict.good
    assert verdict.untouched == 1


def test_nothing_run_is_not_good():
    assert not judge({}, {}, []).good


def test_every_listed_exception_has_a_reason():
    entries = read_exceptions(Path(EXCEPTIONS))
    assert entries
    assert all(len(entry.why) > 15 for entry in entries)

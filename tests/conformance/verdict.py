"""What a run came to: which tests passed, failed, or may fail, and whether every exception is still one."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from tests.conformance.front import Exchange

EXCEPTIONS = Path(__file__).with_name("exceptions.toml")
PREFIX = "tests/api_resources/"


@dataclass(frozen=True, slots=True)
class ExceptionEntry:
    """Tests that touch the server and cannot pass.

    Attributes:
        tests: a pattern of names as pytest writes them, without `tests/api_resources/`; `*` stands for anything.
        answers: `error.type` of the server's answer, or its status where the server does what it is asked.
        why: why no server could make them pass, or why this one does not offer what they ask for.
    """

    tests: str
    answers: str
    why: str

    def covers(self, test: str) -> bool:
        """Whether the test is one of them."""
        return fnmatchcase(test.removeprefix(PREFIX), self.tests)

    def answered(self, exchanges: Sequence[Exchange]) -> bool:
        """Whether the server answered as the entry says."""
        return bool(exchanges) and self.answers in (exchanges[-1].error, str(exchanges[-1].status))


@dataclass(slots=True)
class Verdict:
    """Counts of the tests that touch the server, and all that is wrong."""

    passed: int = 0
    touched: int = 0
    excepted: int = 0
    untouched: int = 0
    failures: list[tuple[str, str]] = field(default_factory=list)
    """Test and reason."""
    complaints: list[str] = field(default_factory=list)
    """What is wrong with the lists."""

    @property
    def good(self) -> bool:
        """Whether nothing failed that may not, and the lists are true."""
        return bool(self.touched) and not self.failures and not self.complaints

    def __str__(self) -> str:
        return f"passed {self.passed} of {self.touched} that touch the server, {self.excepted} excepted"


def read_exceptions(path: Path = EXCEPTIONS) -> list[ExceptionEntry]:
    """Return the entries of the list."""
    return [ExceptionEntry(**entry) for entry in tomllib.loads(path.read_text()).get("exception", [])]


def judge(
    outcomes: Mapping[str, tuple[str, str]],
    seen: Mapping[str, Sequence[Exchange]],
    exceptions: Sequence[ExceptionEntry],
    *,
    whole: bool = True,
) -> Verdict:
    """Return the verdict on outcomes (of each test, with its text); `whole`: every test was run."""
    verdict = Verdict()
    of_use: set[ExceptionEntry] = set()
    for test, (outcome, text) in outcomes.items():
        exchanges = seen.get(test, ())
        verdict.touched += bool(exchanges)
        verdict.untouched += not exchanges
        entry = next((entry for entry in exceptions if exchanges and entry.covers(test)), None)
        if entry is not None:
            of_use.add(entry)
        _count(verdict, test, outcome, _reason(text, exchanges), entry, exchanges)
    for entry in exceptions:
        if whole and entry not in of_use:
            verdict.complaints.append(f"exceptions.toml: `{entry.tests}` matches no test: remove it")
    return verdict


def _count(
    verdict: Verdict,
    test: str,
    outcome: str,
    reason: str,
    entry: ExceptionEntry | None,
    exchanges: Sequence[Exchange],
) -> None:
    if outcome == "passed":
        verdict.passed += bool(exchanges)
        if entry is not None:
            verdict.complaints.append(f"exceptions.toml: `{entry.tests}` covers {test}, which passes: narrow it")
    elif entry is None:
        verdict.failures.append((test, reason))
    elif entry.answered(exchanges):
        verdict.excepted += 1
    else:
        verdict.failures.append((test, f"excepted, but not answered with {entry.answers}: {reason}"))


def _reason(text: str, exchanges: Sequence[Exchange]) -> str:
    if not exchanges:
        return text.strip().splitlines()[-1] if text.strip() else "no text"
    last = exchanges[-1]
    if last.unprepared:
        return f"{last.request}: cannot be prepared: {last.unprepared}"
    if last.status >= 400:
        return f"{last.request}: {last.status} {last.error}: {last.message}"
    lines = [line[1:].strip() for line in text.splitlines() if line.startswith("E ")] or text.strip().splitlines()[-1:]
    return f"{last.request}: {last.status}, but: {' '.join(lines)[:500]}"

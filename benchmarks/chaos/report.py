"""A run as tables for people and as results for programs."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.chaos.evidence import Evidence
from benchmarks.chaos.judge import CHECKS, Finding, provoked_turns
from benchmarks.chaos.messages import Mode
from benchmarks.chaos.plan import Plan, kinds_of
from benchmarks.results import Result, at_least, at_most, measured

_SHOWN_FINDINGS = 12
_DETAIL = 300


@dataclass(frozen=True, slots=True)
class Outcome:
    """A run that is over."""

    database: str
    plan: Plan
    evidence: Evidence
    findings: Mapping[str, Sequence[Finding]]
    kills: Mapping[str, int]
    others: Mapping[str, int]
    ended_alone: Sequence[str]
    counted: Mapping[str, int]
    """What is only told: take-overs, reconciled sends, seconds."""

    def found(self, check: str, mode: Mode) -> int:
        """Return how often a check found something in sessions of a mode."""
        return sum(self.evidence.notes.modes.get(finding.session_id) == mode for finding in self.findings[check])

    def elsewhere(self, check: str) -> int:
        """Return how often it found something that is of no session we know."""
        return sum(finding.session_id not in self.evidence.notes.modes for finding in self.findings[check])


@dataclass(frozen=True, slots=True)
class _Numbers:
    sessions: int
    acknowledged: int
    answers: int
    accepted: int
    told: int
    in_sending: int
    provoked: int


def _numbers(outcome: Outcome, mode: Mode) -> _Numbers:
    evidence = outcome.evidence
    of_mode = {session_id for session_id, its in evidence.notes.modes.items() if its == mode}
    notes = [note for session_id in of_mode for note in evidence.notes.sent[session_id]]
    provoked = provoked_turns(evidence)
    told = {turn_id for turn_id, session_id in evidence.told.items() if session_id in of_mode}
    sending = {
        turn_id
        for turn_id in evidence.in_sending - provoked
        if turn_id in evidence.log.turns and evidence.log.turns[turn_id]["session_id"] in of_mode
    }
    return _Numbers(
        sessions=len(of_mode),
        acknowledged=sum(note.acknowledged for note in notes),
        answers=sum(ask.session_id in of_mode for ask in evidence.notes.answered),
        accepted=sum(bool(evidence.deliveries.messages.get(note.message.token)) for note in notes),
        told=len(told - provoked),
        in_sending=len(sending),
        provoked=len(told & provoked),
    )


def results_of(outcome: Outcome) -> list[Result]:
    """Return every number of a run with its bound."""
    results = [at_least("kills", sum(outcome.kills.values()), "kill -9", outcome.plan.kills)]
    results += [measured(f"kills.{name}", count, "kill -9") for name, count in sorted(outcome.kills.items())]
    results += [measured(name, count, "times") for name, count in sorted(outcome.others.items())]
    results += [measured(name, count, "") for name, count in outcome.counted.items()]
    results.append(at_most("parts ended by themselves", len(outcome.ended_alone), "parts", 0))
    results.append(measured("seed", outcome.plan.seed, ""))
    for mode in outcome.plan.modes:
        results += _results_of_mode(outcome, mode)
    results += [at_most(f"elsewhere.{check}", outcome.elsewhere(check), "findings", 0) for check in CHECKS]
    return results


def _results_of_mode(outcome: Outcome, mode: Mode) -> list[Result]:
    numbers = _numbers(outcome, mode)
    bound = numbers.in_sending if mode == "none" else 0
    return [
        measured(f"{mode}.sessions", numbers.sessions, "sessions"),
        measured(f"{mode}.acknowledged", numbers.acknowledged, "messages"),
        measured(f"{mode}.answers", numbers.answers, "answers"),
        measured(f"{mode}.accepted", numbers.accepted, "messages"),
        measured(f"{mode}.ambiguous by script", numbers.provoked, "turns"),
        at_most(f"{mode}.ambiguous", numbers.told, "turns", bound),
        *(at_most(f"{mode}.{check}", outcome.found(check, mode), "findings", 0) for check in CHECKS),
    ]


def print_outcome(outcome: Outcome) -> None:
    """Print what was done, the table of modes, and what was found."""
    plan = outcome.plan
    kinds = ", ".join(f"{count} {kind}" for kind, count in kinds_of(plan).most_common())
    print(f"\n{outcome.database}: seed {plan.seed}, {len(plan.conversations)} sessions")
    print(f"  messages: {kinds}")
    print(f"  kill -9:  {sum(outcome.kills.values())} ({_listed(outcome.kills)})")
    print(f"  besides:  {_listed(outcome.others)}")
    print(f"  seen:     {_listed(outcome.counted)}\n")
    for line in table(outcome):
        print(f"  {line}")
    for ended in outcome.ended_alone:
        print(f"\n  ended by itself: {ended}")
    for reason, times in Counter(outcome.evidence.notes.unanswered).most_common(_SHOWN_FINDINGS):
        print(f"  given up by clients {times} times: {reason[:_DETAIL]}")
    for check, findings in outcome.findings.items():
        for finding in findings[:_SHOWN_FINDINGS]:
            mode = outcome.evidence.notes.modes.get(finding.session_id, "?")
            print(f"  {check} [{mode}] {finding.session_id}: {finding.detail[:_DETAIL]}")


def table(outcome: Outcome) -> list[str]:
    """Return a table with a column for each mode: what was counted, then every check, which must find nothing."""
    modes = outcome.plan.modes
    numbers = {mode: _numbers(outcome, mode) for mode in modes}
    rows: list[tuple[str, list[str]]] = [
        ("mode", list(modes)),
        ("sessions", [str(numbers[mode].sessions) for mode in modes]),
        ("messages acknowledged", [str(numbers[mode].acknowledged) for mode in modes]),
        ("answers acknowledged", [str(numbers[mode].answers) for mode in modes]),
        ("messages accepted by the runtime", [str(numbers[mode].accepted) for mode in modes]),
        ("told: ambiguous by script", [str(numbers[mode].provoked) for mode in modes]),
        ("told: ambiguous (most allowed)", [_told(numbers[mode], mode) for mode in modes]),
        *((check, [str(outcome.found(check, mode)) for mode in modes]) for check in CHECKS),
    ]
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:{width}}  " + "  ".join(f"{cell:>9}" for cell in cells) for name, cells in rows]
    return [lines[0], "-" * len(lines[0]), *lines[1:]]


def _told(numbers: _Numbers, mode: Mode) -> str:
    return f"{numbers.told} ({numbers.in_sending if mode == 'none' else 0})"


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "nothing"

"""Holds a run's evidence against what was promised. Each check yields what breaks it."""

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks.chaos.evidence import Evidence
from benchmarks.chaos.notes import Note

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Finding:
    """One broken promise."""

    session_id: str
    detail: str


def _notes(evidence: Evidence) -> Iterator[Note]:
    for notes in evidence.notes.sent.values():
        yield from notes


def lost(evidence: Evidence) -> Iterator[Finding]:
    """Find acknowledged messages and answers that neither reached the runtime nor were told of."""
    for note in _notes(evidence):
        token = note.message.token
        if not note.acknowledged:
            continue
        if token not in evidence.events:
            yield Finding(note.session_id, f"{token} ({note.message.kind}) was acknowledged and is not in the log")
        elif not evidence.deliveries.messages.get(token) and not evidence.was_told(token):
            yield Finding(note.session_id, f"{token} ({note.message.kind}) never reached the runtime")
    for ask in evidence.notes.answered:
        asking_turn = evidence.log.asks[ask.event_id]["native"]["ask_id"].rpartition(":")[0]
        if not evidence.deliveries.answers.get(asking_turn) and not evidence.was_told(ask.token):
            yield Finding(ask.session_id, f"the answer to {ask.event_id} ({ask.token}) never reached the runtime")


def twice(evidence: Evidence) -> Iterator[Finding]:
    """Find messages and answers that the runtime accepted more than once, and resends that were stored again."""
    sessions = {note.message.token: note.session_id for note in _notes(evidence)}
    for token, turns in evidence.deliveries.messages.items():
        if len(turns) > 1:
            yield Finding(sessions.get(token, "?"), f"{token} was accepted as {sorted(turns)}")
    for asking, turns in evidence.deliveries.answers.items():
        if len(turns) > 1:
            yield Finding("?", f"what {asking} asked was answered as {sorted(turns)}")
    for token, event_ids in evidence.events.items():
        if len(event_ids) > 1:
            yield Finding(sessions.get(token, "?"), f"{token} stands in the log as {event_ids}")


def order(evidence: Evidence) -> Iterator[Finding]:
    """Find sessions whose messages reached the runtime in another order than they were sent in."""
    for session_id, notes in evidence.notes.sent.items():
        arrived = evidence.deliveries.tokens(session_id)
        expected = [note.message.token for note in notes if note.message.token in arrived]
        if sorted(set(arrived), key=arrived.index) != expected:
            yield Finding(session_id, f"sent {expected}, accepted {arrived}")


def sequence(evidence: Evidence) -> Iterator[Finding]:
    """Find gaps in `seq`, and times of processing that do not grow with it."""
    for session_id, session in evidence.log.sessions.items():
        frames = evidence.log.frames.get(session_id, [])
        seqs = [frame["seq"] for frame in frames]
        if seqs != list(range(1, session["last_seq"] + 1)):
            yield Finding(session_id, f"last_seq is {session['last_seq']}, seq are {seqs}")
        times = [frame["processed_at"] for frame in frames if frame["processed_at"] is not None]
        if any(later <= earlier for earlier, later in itertools.pairwise(times)):
            yield Finding(session_id, "processed_at does not grow")


def duplicates(evidence: Evidence) -> Iterator[Finding]:
    """Find frames that stand in the log twice, by event id or by the native event they came from."""
    for session_id, frames in evidence.log.frames.items():
        identities = Counter((frame["event_id"], frame["processed_at"] is None) for frame in frames)
        natives = Counter((frame["native_key"], frame["ordinal"]) for frame in frames if frame["native_key"])
        for what, count in (*identities.items(), *natives.items()):
            if count > 1:
                yield Finding(session_id, f"{what} stands in the log {count} times")


def unanswered(evidence: Evidence) -> Iterator[Finding]:
    """Find replies of the agent that are missing in the log, though nothing was told of their turn."""
    for note in _notes(evidence):
        token = note.message.token
        if token in evidence.events and not evidence.was_told(token):
            missing = note.message.replies - evidence.replies[token]
            if missing:
                yield Finding(note.session_id, f"{token} ({note.message.kind}) lacks {dict(missing)}")


def repeated(evidence: Evidence) -> Iterator[Finding]:
    """Find replies of the agent that stand in the log more often than it gave them."""
    for note in _notes(evidence):
        extra = evidence.replies[note.message.token] - note.message.replies
        if extra:
            yield Finding(note.session_id, f"{note.message.token} ({note.message.kind}) has also {dict(extra)}")


def stuck(evidence: Evidence) -> Iterator[Finding]:
    """Find sessions that owe work and do not move, or that are not idle though they owe nothing."""
    for session_id, seen in evidence.stuck.items():
        yield Finding(session_id, f"did not move: {seen}")
    for session_id, session in evidence.log.sessions.items():
        if session_id not in evidence.stuck and session["status"] != "idle":
            yield Finding(session_id, f"is {session['status']} at rest")


def given_up(evidence: Evidence) -> Iterator[Finding]:
    """Find turns that ended with an error which no script asked for."""
    for turn_id, session_id in evidence.failed.items():
        turn = evidence.log.turns.get(turn_id)
        yield Finding(session_id, f"{turn_id}: {turn['error'] if turn else 'no such turn'}")


def shown_otherwise(evidence: Evidence) -> Iterator[Finding]:
    """Find sessions whose events the API lists otherwise than they stand in the log."""
    for session_id in evidence.notes.modes:
        frames = evidence.log.frames.get(session_id, [])
        expected = [frame["event_id"] for frame in frames if frame["processed_at"] is not None]
        expected += [frame["event_id"] for frame in frames if frame["waiting"]]
        if list(evidence.shown.get(session_id, ())) != expected:
            yield Finding(session_id, f"the API lists {len(evidence.shown.get(session_id, ()))} of {len(expected)}")


def unseen(evidence: Evidence) -> Iterator[Finding]:
    """Find sessions whose viewer, who came back after each break, saw other frames than the log holds."""
    for session_id, seen in evidence.watched.items():
        expected = [(frame["seq"], frame["event_id"]) for frame in evidence.log.frames.get(session_id, [])]
        if list(seen) != expected:
            yield Finding(session_id, f"the log has {len(expected)} frames, {len(seen)} were seen: {seen[:3]} ...")


def refused(evidence: Evidence) -> Iterator[Finding]:
    """Find requests that were right and were refused."""
    for session_id, reason in evidence.notes.refused:
        yield Finding(session_id, reason)


def untold(evidence: Evidence) -> Iterator[Finding]:
    """Find sends whose answer the script lost, at a runtime that cannot be asked, of which nothing was told."""
    for note in _notes(evidence):
        provoked = evidence.notes.modes[note.session_id] == "none" and note.message.provoked
        if provoked and note.acknowledged and not evidence.was_told(note.message.token):
            yield Finding(note.session_id, f"{note.message.token} ({note.message.kind})")


def unexplained(evidence: Evidence) -> Iterator[Finding]:
    """Find turns told to be ambiguous that no blow had met in `sending`, and no script had made so."""
    provoked = provoked_turns(evidence)
    for turn_id, session_id in evidence.told.items():
        mode = evidence.notes.modes.get(session_id)
        if mode != "none":
            yield Finding(session_id, f"{turn_id}: told as ambiguous in mode {mode}")
        elif turn_id not in provoked and turn_id not in evidence.in_sending:
            yield Finding(session_id, f"{turn_id}: told as ambiguous, though no blow met it in `sending`")


def provoked_turns(evidence: Evidence) -> set[str]:
    """Return the turns whose send a script makes ambiguous, at a runtime that cannot be asked."""
    return {
        turn_id
        for note in _notes(evidence)
        if note.message.provoked and evidence.notes.modes[note.session_id] == "none"
        for turn_id in evidence.turns[note.message.token]
    }


CHECKS: dict[str, Callable[[Evidence], Iterator[Finding]]] = {
    "lost": lost,
    "twice": twice,
    "reordered": order,
    "seq broken": sequence,
    "duplicates": duplicates,
    "replies missing": unanswered,
    "replies repeated": repeated,
    "stuck": stuck,
    "given up": given_up,
    "shown otherwise": shown_otherwise,
    "streamed otherwise": unseen,
    "refused": refused,
    "untold": untold,
    "unexplained": unexplained,
}
"""Every check must find nothing."""


def judge(evidence: Evidence) -> dict[str, list[Finding]]:
    """Return what each check finds."""
    return {name: list(check(evidence)) for name, check in CHECKS.items()}

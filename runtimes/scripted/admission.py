"""What the steps in front of a script do to the request that brings it."""

from dataclasses import dataclass
from typing import Any, Literal

from runtimes.scripted.player import Place
from runtimes.scripted.script import is_gate, name

Answer = Literal["stream", "lost", "empty", "crash"]


@dataclass(slots=True)
class Admission:
    """How a send is received: refused, left without an answer, or accepted, perhaps late, and answered somehow."""

    refuse: dict[str, Any] | None = None
    silent: bool = False
    late_s: float = 0.0
    answer: Answer = "stream"


def admit(place: Place) -> Admission:
    """Read the steps that act on the request, each while its `times` last; a refusal or silence decides."""
    admission = Admission()
    for at in range(place.at, len(place.script.steps)):
        place.at = at
        step = place.script.steps[at]
        if not is_gate(step) or admission.refuse is not None or admission.silent:
            break
        if place.once(step):
            apply(admission, name(step), step)
    return admission


def apply(admission: Admission, kind: str, step: dict[str, Any]) -> None:
    """Let one step act."""
    if kind == "refuse":
        admission.refuse = step["refuse"]
    elif kind == "hang_before_answer":
        admission.silent = True
    elif kind == "accept_late":
        admission.late_s += step["accept_late"]
    else:
        answers: dict[str, Answer] = {"lose_answer": "lost", "end_before_open": "empty", "crash": "crash"}
        admission.answer = answers[kind]

"""The messages of a chaos run: what each has the scripted runtime do, and what the log must hold of it in the end.

Every text begins with a token of its own, by which the ledger, the log and the client's notes are joined.
"""

import json
import random
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Json = dict[str, Any]
Mode = Literal["key", "history", "none"]

MODES: tuple[Mode, ...] = ("key", "history", "none")
SEND_TIMEOUT_S = 4.0
"""Of every chaos runtime: how long a send without an answer is waited for."""
ACCEPTANCE_DELAY_S = 3.0
"""Of the runtime that is asked for its history: how long after that it may still accept."""
_LATE_S = SEND_TIMEOUT_S + 1.0


@dataclass(frozen=True, slots=True)
class Message:
    """One planned message. `replies`: how often each text must stand in the log, by messages and tool results."""

    token: str
    kind: str
    text: str
    replies: Counter[str]
    provoked: bool
    """Whether the script itself loses the answer to the send."""


Build = Callable[[str, random.Random], list[Json]]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of message: how common it is, its script, and whether that makes the send ambiguous."""

    weight: int
    build: Build | None
    provokes: bool = False
    modes: tuple[Mode, ...] = MODES


def _long(token: str, rng: random.Random) -> list[Json]:
    first, second = round(rng.uniform(0.5, 3.0), 2), round(rng.uniform(0.5, 3.0), 2)
    return [_say(token, "begins"), {"sleep": first}, {"think": "hm"}, _say(token, "goes on"), {"sleep": second}]


def _tools(token: str, rng: random.Random) -> list[Json]:
    uses: list[Json] = [_tool(token, f"result {number}") for number in range(rng.randint(1, 4))]
    return [*uses, {"sleep": 0.2}, {"usage": {"input_tokens": 7, "output_tokens": 9}}]


def _ask(token: str, _rng: random.Random) -> list[Json]:
    return [_say(token, "asks"), {**_tool(token, "ran"), "ask": True}]


def _ask_all(token: str, _rng: random.Random) -> list[Json]:
    return [{"ask_all": [_tool(token, "ran"), _custom(token)]}, {"sleep": 0.3}]


def _custom_tool(token: str, _rng: random.Random) -> list[Json]:
    return [_custom(token)]


def _idless(token: str, _rng: random.Random) -> list[Json]:
    return [{"idless": 3, "say": f"{token} same"}, {"sleep": 0.8}, {"idless": 2, "say": f"{token} same"}]


def _duplicate(token: str, _rng: random.Random) -> list[Json]:
    return [{"duplicate": True}, _say(token, "once"), {"sleep": 0.3}, {"duplicate": True}, _tool(token, "once")]


def _cut(token: str, _rng: random.Random) -> list[Json]:
    return [_say(token, "a"), {"cut": True, "times": 2}, _say(token, "b"), {"sleep": 0.6}, {"cut": True}]


def _limited(token: str, rng: random.Random) -> list[Json]:
    return [{"refuse": {"status": 429, "retry_after": 0.8}, "times": rng.randint(1, 2)}, _say(token, "now")]


def _overloaded(_token: str, _rng: random.Random) -> list[Json]:
    return [{"refuse": {"status": 503}, "times": 2}]


def _slow_answer(_token: str, rng: random.Random) -> list[Json]:
    return [{"accept_late": round(rng.uniform(0.4, 1.4), 2)}]


def _empty_stream(token: str, _rng: random.Random) -> list[Json]:
    return [{"end_before_open": True}, _say(token, "unseen"), {"sleep": 0.5}]


def _lost_answer(token: str, _rng: random.Random) -> list[Json]:
    return [{"lose_answer": True}, _say(token, "accepted"), {"sleep": 0.4}]


def _unanswered(_token: str, _rng: random.Random) -> list[Json]:
    return [{"hang_before_answer": True}]


def _too_late(_token: str, _rng: random.Random) -> list[Json]:
    return [{"accept_late": _LATE_S}]


def _lost_after_ask(token: str, _rng: random.Random) -> list[Json]:
    return [_custom(token), {"lose_answer": True}, _say(token, "answered")]


KINDS: dict[str, Kind] = {
    "echo": Kind(20, None),
    "long": Kind(14, _long),
    "tools": Kind(9, _tools),
    "ask": Kind(7, _ask),
    "ask_all": Kind(6, _ask_all),
    "custom_tool": Kind(6, _custom_tool),
    "idless": Kind(7, _idless),
    "duplicate": Kind(5, _duplicate),
    "cut": Kind(7, _cut),
    "limited": Kind(5, _limited),
    "overloaded": Kind(2, _overloaded),
    "slow_answer": Kind(5, _slow_answer),
    "empty_stream": Kind(4, _empty_stream),
    "lost_answer": Kind(4, _lost_answer, provokes=True),
    "unanswered": Kind(2, _unanswered, provokes=True),
    "too_late": Kind(3, _too_late, provokes=True, modes=("key", "history")),
    "lost_after_ask": Kind(3, _lost_after_ask, provokes=True, modes=("key", "history")),
}
"""Beside the first four, everything a runtime can do to the one who calls it."""


def make_message(token: str, mode: Mode, rng: random.Random) -> Message:
    """Return a message of a random kind that the mode can take."""
    names = [name for name, kind in KINDS.items() if mode in kind.modes]
    name = rng.choices(names, [KINDS[name].weight for name in names])[0]
    kind = KINDS[name]
    if kind.build is None:
        text = f"{token} hello {rng.randint(0, 10**6)}"
        return Message(token, name, text, Counter({f"You said: {text}": 1}), provoked=False)
    steps = [*kind.build(token, rng), _say(token, "done")]
    text = f"{token} script: {json.dumps(steps)}"
    return Message(token, name, text, Counter(_replies(steps, token)), kind.provokes)


def allows(token: str) -> bool:
    """Tell how the client answers what a message has the agent ask for."""
    return zlib.crc32(token.encode()) % 4 != 0


def denial(token: str) -> str:
    """Return why the client denies a tool use."""
    return f"{token} denied"


def tool_answer(token: str) -> str:
    """Return the result that the client gives for a custom tool."""
    return f"{token} costs 3"


def _say(token: str, what: str) -> Json:
    return {"say": f"{token} {what}"}


def _tool(token: str, what: str) -> Json:
    return {"tool": "bash", "input": {"token": token}, "result": f"{token} {what}"}


def _custom(token: str) -> Json:
    return {"custom_tool": "price", "input": {"token": token}}


def _replies(steps: Sequence[Json], token: str) -> Iterator[str]:
    for step in steps:
        if "idless" in step:
            yield from [step["say"]] * step["idless"]
        elif "say" in step:
            yield step["say"]
        elif "custom_tool" in step:
            yield f"{step['custom_tool']} returned: {tool_answer(token)}"
        elif "tool" in step:
            asked = step.get("ask", False)
            yield step["result"] if not asked or allows(token) else denial(token)
        elif "ask_all" in step:
            yield from _replies([{**asked, "ask": True} for asked in step["ask_all"]], token)

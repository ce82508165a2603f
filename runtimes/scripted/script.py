"""The language of the scripts: from a message's text to the steps that a native turn performs. Pure."""

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

Step = dict[str, Any]

MARK = "script:"

GATES = ("refuse", "hang_before_answer", "lose_answer", "accept_late", "end_before_open")
"""Steps that act on the request itself, so only in front of everything else; so does `{"crash": "before_answer"}`."""

ACTIONS = (
    "idless",
    "ask_all",
    "say",
    "think",
    "tool",
    "custom_tool",
    "sleep",
    "usage",
    "refuse_model",
    "end_error",
    "hang",
    "cut",
    "cut_lost",
    "duplicate",
    "crash",
)
"""Steps performed by the turn. In this order: `{"idless": 3, "say": "x"}` is an `idless`."""


NUMBER = (int, float)

FIELDS: dict[str, type | tuple[type, ...]] = {
    "accept_late": NUMBER,
    "ask": bool,
    "ask_all": list,
    "chunk_ms": NUMBER,
    "crash": (bool, str),
    "custom_tool": str,
    "cut": bool,
    "cut_lost": bool,
    "duplicate": bool,
    "end_before_open": bool,
    "end_error": str,
    "error_type": str,
    "hang": bool,
    "hang_before_answer": bool,
    "idless": int,
    "input": dict,
    "is_error": bool,
    "lose_answer": bool,
    "pieces": int,
    "refuse": dict,
    "refuse_model": str,
    "result": str,
    "say": str,
    "sleep": NUMBER,
    "split": bool,
    "think": str,
    "times": int,
    "tool": str,
    "usage": dict,
}
"""Every key of every step, and the JSON type of its value."""


CLIENT_TOOLS = frozenset({"bash", "edit", "glob", "grep", "read", "write"})
"""Built-in tools that work on files and processes: in a self-hosted environment the client runs them."""


class ScriptError(Exception):
    """The text after `script:` is no list of known steps; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Script:
    """The steps of one message. `digest` identifies its text, for counting how often a failure has happened."""

    digest: str
    steps: tuple[Step, ...]


def digest(text: str) -> str:
    """Return the hash by which the ledger and the history know a text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def said(body: dict[str, Any]) -> str:
    """Return the text of what is sent to the server: a message's, or a set of answers as JSON."""
    if "answers" in body:
        return json.dumps(body["answers"], sort_keys=True)
    return str(body.get("text", ""))


def name(step: Step) -> str:
    """Return what a step does.

    Raises:
        ScriptError: it does nothing known.
    """
    for known in GATES + ACTIONS:
        if known in step:
            return known
    raise ScriptError(f"unknown step {json.dumps(step)[:100]}")


def is_gate(step: Step) -> bool:
    """Tell whether a step acts on the request instead of in the turn."""
    return name(step) in GATES or step.get("crash") == "before_answer"


def parse(text: str) -> Script:
    """Return the script of a message; any text that has none is echoed, and a wrong one ends its turn with an error."""
    found = text.find(MARK)
    if found < 0:
        return Script(digest(text), echo(text))
    try:
        steps = read(text[found + len(MARK) :].strip())
    except ScriptError as error:
        steps = ({"end_error": f"wrong script: {error}"},)
    return Script(digest(text), steps)


def read(source: str) -> tuple[Step, ...]:
    """Return the steps of a JSON array.

    Raises:
        ScriptError: it is none, or holds something that is no known step.
    """
    try:
        # The array may be followed by other text, as in a chat.
        steps, _ = json.JSONDecoder().raw_decode(source)
    except json.JSONDecodeError as error:
        raise ScriptError(f"not JSON: {error}") from error
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        raise ScriptError("not an array of objects")
    for step in steps:
        check(step)
    check_order(steps)
    return tuple(steps)


def check(step: Step) -> None:
    """Check that a step is known, and that each of its keys is, with a value of its type.

    Raises:
        ScriptError: something is not.
    """
    name(step)
    for key, value in step.items():
        if key not in FIELDS or not isinstance(value, FIELDS[key]):
            raise ScriptError(f"unknown key or wrong type: {key!r} in {json.dumps(step)[:100]}")
    for asked in step.get("ask_all", ()):
        if not isinstance(asked, dict) or name(asked) not in ("tool", "custom_tool"):
            raise ScriptError("`ask_all` takes tools and custom tools")
        check(asked)


def check_order(steps: list[Step]) -> None:
    """Check that what acts on a request stands first or right after an ask.

    Raises:
        ScriptError: it stands elsewhere.
    """
    may_gate = True
    for step in steps:
        if not is_gate(step):
            may_gate = asks(step)
        elif not may_gate:
            raise ScriptError(f"{name(step)!r} acts on the request: it must come first, or right after an ask")


def asks(step: Step) -> bool:
    """Tell whether the native turn ends at this step, to wait for answers."""
    return "ask_all" in step or "custom_tool" in step or bool(step.get("ask"))


def echo(text: str) -> tuple[Step, ...]:
    """Return the steps for a text without a script. The usage counts words: nothing here is a model."""
    reply = f"You said: {text}"
    usage = {"input_tokens": len(text.split()), "output_tokens": len(reply.split())}
    return ({"say": reply}, {"usage": usage})


def pieces(text: str, count: int | None) -> list[str]:
    """Cut a text into words with the space after them, or into `count` pieces of equal length."""
    if count is None:
        return re.findall(r"\s*\S+\s*", text) or [text]
    size = max(1, -(-len(text) // max(1, count)))
    return [text[start : start + size] for start in range(0, len(text), size)] or [text]

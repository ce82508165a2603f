"""What the fake model answers, decided from the last user's text alone.

Lines of that text which mean something:

* `RUN:<cmd>`: call the shell tool with it (several lines: several calls in one step); after the results, a final text.
* `SLOW:<n>`: n words at about four a second.
* `THINK:<text>`: think that text before anything else.
* `FAIL:<status>`: answer with this HTTP status.

Anything else is echoed: `You said: ...`. Without a shell tool among the request's tools, `RUN:` is echoed too.
"""

import re
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

WORDS_PER_SECOND = 4.0
INPUT_TOKENS, OUTPUT_TOKENS, CACHED_TOKENS = 160, 20, 50
"""Usage of every answer; `INPUT_TOKENS` counts the cached ones too."""

_SHELLS = ("bash", "shell", "local_shell", "shell_command", "exec_command", "terminal", "run_shell_command")
_DIRECTIVE = re.compile(r"^\s*(RUN|SLOW|THINK|FAIL):\s*(.*?)\s*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that the request offers; `schema` is the JSON schema of its input."""

    name: str
    schema: Json


@dataclass(frozen=True, slots=True)
class Conversation:
    """What matters of a request: the last user's text, the tool results after it, the tools on offer."""

    user_text: str
    results: tuple[str, ...] = ()
    tools: tuple[Tool, ...] = ()


@dataclass(frozen=True, slots=True)
class Call:
    """One tool call."""

    name: str
    arguments: Json


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model says: text, or tool calls; `status` other than 200 is an error answer."""

    chunks: tuple[str, ...] = ()
    calls: tuple[Call, ...] = ()
    thinking: str = ""
    pause_s: float = 0.0
    status: int = 200

    @property
    def text(self) -> str:
        return "".join(self.chunks)


def shell_call(tools: tuple[Tool, ...], command: str) -> Call | None:
    """Return the call of whatever shell tool is on offer, with what its schema wants; None if there is none."""
    tool = next((tool for tool in tools if tool.name.lower() in _SHELLS), None)
    if tool is None:
        return None
    properties = tool.schema.get("properties", {})
    name = "cmd" if "cmd" in properties else "command"
    as_list = properties.get(name, {}).get("type") == "array"
    arguments: Json = {name: ["bash", "-lc", command] if as_list else command}
    for required in tool.schema.get("required", []):
        if properties.get(required, {}).get("type") == "string":
            arguments.setdefault(required, "scripted")
    return Call(tool.name, arguments)


def _words(count: int) -> tuple[str, ...]:
    return tuple(f"word{number} " for number in range(1, count + 1))


def answer(conversation: Conversation) -> Answer:
    """Return what the script says to a conversation. The same conversation always gets the same answer."""
    directives: dict[str, list[str]] = {}
    for kind, value in _DIRECTIVE.findall(conversation.user_text):
        directives.setdefault(kind, []).append(value)
    thinking = " ".join(directives.get("THINK", [])) if not conversation.results else ""
    if "FAIL" in directives:
        return Answer(status=int(directives["FAIL"][0]))
    if conversation.results:
        return Answer(("Done: ", " | ".join(part.strip() for part in conversation.results)))
    calls = [shell_call(conversation.tools, command) for command in directives.get("RUN", [])]
    if calls and all(calls):
        return Answer(calls=tuple(call for call in calls if call), thinking=thinking)
    if "SLOW" in directives:
        words = _words(int(directives["SLOW"][0]))
        return Answer(words, thinking=thinking, pause_s=1 / WORDS_PER_SECOND)
    return Answer(("You said: ", conversation.user_text), thinking=thinking)


def error_type(status: int) -> str:
    """Return the type that providers give an error answer with this HTTP status."""
    known = {400: "invalid_request_error", 401: "authentication_error", 429: "rate_limit_error"}
    return known.get(status, "api_error")

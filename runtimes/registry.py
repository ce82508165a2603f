"""The one list of runtime kinds. Adapters are imported when first used, never before."""

import importlib
from dataclasses import dataclass
from functools import cache

from runtimes.base import Runtime


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a kind's adapter is, and what a person must do to use it."""

    path: str
    hint: str


KINDS: dict[str, Entry] = {
    "claude_managed_agents": Entry(
        "runtimes.claude_managed_agents.runtime:ClaudeManagedAgentsRuntime", "needs an API key of the provider"
    ),
    "opencode": Entry("runtimes.opencode.runtime:OpenCodeRuntime", "needs a running `opencode serve`"),
    "scripted": Entry("runtimes.scripted.runtime:ScriptedRuntime", "needs a running `python -m runtimes.scripted`"),
}


class UnknownKindError(Exception):
    """No adapter by that name."""

    def __init__(self, kind: str) -> None:
        super().__init__(f"unknown runtime kind {kind!r}; known are {', '.join(sorted(KINDS))}")


@cache
def adapter(kind: str) -> type[Runtime]:
    """Import and return the adapter class of a kind.

    Raises:
        UnknownKindError: the kind is not registered.
    """
    entry = KINDS.get(kind)
    if entry is None:
        raise UnknownKindError(kind)
    module, _, name = entry.path.partition(":")
    found: type[Runtime] = getattr(importlib.import_module(module), name)
    return found

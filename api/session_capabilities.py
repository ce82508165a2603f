"""Whether a session's runtime can take what a user sends: what it cannot do is refused before anything is stored."""

from collections.abc import Sequence
from functools import partial

from api.deps import AppState
from protocol.errors import InvalidRequestError
from protocol.fields import Request
from protocol.inputs import SystemMessage, UserInterrupt, content_kinds
from runtimes.capabilities import Capabilities
from store.repositories.sessions import find_session_runtime


async def check_session_takes(state: AppState, workspace_id: str, session_id: str, events: Sequence[Request]) -> None:
    """Refuse events that the session's runtime cannot take; a session that is unknown is left to the caller.

    Raises:
        InvalidRequestError: names the capability that is missing.
    """
    if all(_is_plain(event) for event in events):
        return
    runtime = await state.store.read(partial(find_session_runtime, workspace_id=workspace_id, session_id=session_id))
    if runtime is not None:
        check_takes(await state.adapters.capabilities(runtime), runtime["alias"], events)


def check_takes(capabilities: Capabilities, alias: str, events: Sequence[Request], field: str = "events") -> None:
    """Refuse events that a runtime cannot take.

    Raises:
        InvalidRequestError: names the capability that is missing.
    """
    for place, event in enumerate(events):
        missing = _missing(capabilities, event)
        if missing is not None:
            what, capability = missing
            raise InvalidRequestError(
                f"`{field}.{place}`: {what} needs the capability `{capability}`, "
                f"which the session's runtime {alias!r} does not have",
                error_code="unsupported_capability",
            )


def _missing(capabilities: Capabilities, event: Request) -> tuple[str, str] | None:
    """Return what the event asks for, and the capability that is missing for it."""
    for kind in content_kinds(event):
        if kind not in capabilities.content:
            return f"a block of type `{kind}`", f"content: {kind}"
    if isinstance(event, SystemMessage) and not capabilities.system_messages:
        return "a `system.message`", "system_messages"
    if isinstance(event, UserInterrupt) and capabilities.interrupt == "none":
        return "a `user.interrupt` (stop the session to end what runs)", "interrupt"
    return None


def _is_plain(event: Request) -> bool:
    """Whether every runtime takes it."""
    special = isinstance(event, SystemMessage | UserInterrupt)
    return not special and all(kind == "text" for kind in content_kinds(event))

"""The end of a provider's session. It refuses to close one that runs, so what runs is interrupted first."""

import asyncio
from typing import Literal

from anthropic import BadRequestError, NotFoundError

from runtimes.claude_managed_agents.failures import StillRunningError
from runtimes.claude_managed_agents.provider import Provider

_WAITS_S = (0.1, 0.2, 0.4, 0.8, 1.5, 2.0, 2.0)
"""Seconds between looks at the session: seven in all, as the status lags behind the events by up to two."""


async def close_session(provider: Provider, session_id: str, mode: Literal["stop", "archive", "delete"]) -> None:
    """Interrupt what runs, then archive or, with `delete`, erase the session; one that is gone already is closed.

    Raises:
        StillRunningError: it did not come to rest in time; the call may be repeated.
    """
    try:
        await _close(provider, session_id, mode)
    except NotFoundError:
        return


async def _close(provider: Provider, session_id: str, mode: Literal["stop", "archive", "delete"]) -> None:
    interrupted = False
    for wait_s in _WAITS_S:
        session = await provider.retrieve_session(session_id)
        status = session.get("status")
        if status in ("running", "rescheduling"):
            if not interrupted:
                interrupted = await _interrupt(provider, session_id)
        elif await _is_closed(provider, session_id, mode, status):
            return
        await asyncio.sleep(wait_s)
    raise StillRunningError("the provider's session still runs")


async def _interrupt(provider: Provider, session_id: str) -> bool:
    try:
        await provider.send(session_id, [{"type": "user.interrupt"}])
    except BadRequestError:
        # It came to rest, or was closed, in between; the next look tells.
        return False
    return True


async def _is_closed(provider: Provider, session_id: str, mode: str, status: object) -> bool:
    try:
        if mode == "delete":
            await provider.delete_session(session_id)
        elif status != "terminated":
            await provider.archive_session(session_id)
    except BadRequestError:
        return False
    return True

"""When one request is a resend of another: by what the official SDKs show of it.

They resend a request whose answer they did not get, without a key. Only the count of the attempt tells: so an answer is
given again only to a higher count of the same request (API key, method, path with query, body), which arrives when the
SDK's back-off says it must. An attempt that is overtaken by its own resend takes the resend's answer.
"""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

_FIRST_DELAY_S = 0.5
_LONGEST_DELAY_S = 8.0
_LARGEST_JITTER = 0.25
_CONNECT_S = 5.0
"""What an attempt may take that fails to connect."""
_SLACK_S = 4.0
"""For the network and a busy client. With the first delay it stays below the 5 s after which idle connections close, so
who sends an equal message into a connection that is just closing is not taken for one who lost the answer before."""
_LONGEST_WAIT_S = 30.0


@dataclass(frozen=True, slots=True)
class Attempt:
    """One arrival of a request that changes something."""

    api_key_id: str
    fingerprint: str
    """Hash of API key, method, path with query, and body."""
    idempotency_key: str | None = None
    retry_count: int = 0
    """How often the SDK has sent this before."""
    timeout_s: float | None = None
    """After how many seconds without an answer the client gives up."""
    arrived: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, slots=True)
class Given:
    """An answer that was given: to which attempt, and when by the database's clock."""

    retry_count: int
    received_at: int
    answered_at: int
    timeout_s: float | None


def fingerprint_of(*parts: str | bytes) -> str:
    """Return what two attempts of one request have in common."""
    encoded = (part.encode() if isinstance(part, str) else part for part in parts)
    return hashlib.sha256(b"\0".join(encoded)).hexdigest()


def repeats(retry_count: int, arrival: int, given: Given) -> bool:
    """Return whether an attempt that arrived at `arrival` is a resend by someone who did not get the answer `given`.

    The client missed it when it was made, or gave up waiting after its declared time-out; and so, perhaps, with
    attempts in between that never arrived. From each the next follows after the SDK's delay.
    """
    missed = retry_count - given.retry_count
    if missed < 1 or arrival < given.received_at:
        return False
    delays = sum(_delay_s(count) for count in range(given.retry_count + 1, retry_count + 1))
    shortest = delays * (1 - _LARGEST_JITTER) - _SLACK_S
    longest = delays + _CONNECT_S * (missed - 1) + _SLACK_S
    since_received, since_answered = (arrival - given.received_at) / 1e6, (arrival - given.answered_at) / 1e6
    if since_answered <= longest:
        return True
    waits = [count * given.timeout_s for count in range(1, missed + 1)] if given.timeout_s is not None else []
    return any(wait + shortest <= since_received and since_answered <= wait + longest for wait in waits)


def was_overtaken(retry_count: int, arrival: int, given: Given) -> bool:
    """Return whether a later attempt of the same request arrived after this one and was answered before it."""
    return given.retry_count > retry_count and given.received_at > arrival


def _delay_s(count: int) -> float:
    """Longest time the SDK waits before its `count`-th resend."""
    return min(_FIRST_DELAY_S * 2.0 ** min(count - 1, 10), _LONGEST_DELAY_S)


class RunningAttempts:
    """The attempts this process works on, so that a resend waits for the attempt it repeats instead of racing it."""

    def __init__(self) -> None:
        self._running: dict[str, dict[asyncio.Event, int]] = {}

    @asynccontextmanager
    async def turn_of(self, attempt: Attempt) -> AsyncIterator[None]:
        """Hold the attempt's place; entered once equal attempts of lower counts are through, or after 30 s."""
        equal = self._running.setdefault(attempt.fingerprint, {})
        earlier = [done for done, count in equal.items() if count < attempt.retry_count]
        done = asyncio.Event()
        equal[done] = attempt.retry_count
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LONGEST_WAIT_S):
                    for event in earlier:
                        await event.wait()
            yield
        finally:
            done.set()
            del equal[done]
            if not equal and self._running.get(attempt.fingerprint) is equal:
                del self._running[attempt.fingerprint]

"""One effect for each POST and DELETE, however often it is sent: see `store.stored_answers`."""

import base64
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Depends, Header, Request
from pydantic_core import from_json, to_json
from sqlalchemy import Connection

from api.adapters import CapabilitiesUnknownError
from api.auth import CallerDep
from api.deps import AppState
from api.request_log import request_info
from protocol.errors import InvalidRequestError
from store import stored_answers
from store.resends import Attempt, RunningAttempts, fingerprint_of

Json = dict[str, Any]
Effect = TypeVar("Effect", covariant=True)
Made = TypeVar("Made")

_MAX_KEY = 255
_MOST_RETRIES = 1000
_running = RunningAttempts()


IdempotencyKey = Annotated[
    str | None, Header(description="The same key with the same body gets the same answer, for 24 hours.")
]


async def attempt_of(request: Request, caller: CallerDep, idempotency_key: IdempotencyKey = None) -> Attempt:
    """Return what tells this request from, and joins it with, others that are equal."""
    attempt = await upload_attempt(request, caller, idempotency_key)
    return replace(attempt, fingerprint=fingerprint_of(attempt.fingerprint, await request.body()))


AttemptDep = Annotated[Attempt, Depends(attempt_of)]


async def upload_attempt(request: Request, caller: CallerDep, idempotency_key: IdempotencyKey = None) -> Attempt:
    """Return the same for an upload, whose body is not read yet: see `with_content`."""
    if idempotency_key is not None and not 1 <= len(idempotency_key) <= _MAX_KEY:
        raise InvalidRequestError(f"`Idempotency-Key` must have 1 to {_MAX_KEY} characters")
    headers = request.headers
    timeout = headers.get("x-stainless-read-timeout") or headers.get("x-stainless-timeout")
    return Attempt(
        api_key_id=caller.api_key_id,
        fingerprint=fingerprint_of(caller.api_key_id, request.method, f"{request.url.path}?{request.url.query}"),
        idempotency_key=idempotency_key,
        retry_count=await retry_count(request),
        timeout_s=_timeout_s(timeout or ""),
        arrived=request_info(request.scope).arrived,
    )


UploadAttemptDep = Annotated[Attempt, Depends(upload_attempt)]


def with_content(attempt: Attempt, content: Sequence[object]) -> Attempt:
    """Return the attempt of an upload, joined with others by what was uploaded.

    Not by its bytes: the boundary between the parts of a form is another in each attempt.
    """
    return replace(attempt, fingerprint=fingerprint_of(attempt.fingerprint, to_json(content)))


async def retry_count(request: Request) -> int:
    """Return how often the SDK says that it has sent this before."""
    text = request.headers.get("x-stainless-retry-count", "")
    return min(int(text), _MOST_RETRIES) if text.isascii() and text.isdigit() and len(text) <= 9 else 0


def _timeout_s(text: str) -> float | None:
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and seconds > 0 else None


@dataclass(frozen=True, slots=True)
class Done(Generic[Effect]):
    """What a creation came to: its answer, the session it is about, and what the caller does after the commit."""

    body: Json
    session_id: str | None = None
    """Or the memory version: what it tells of, with which it is erased."""
    effect: Effect | None = None
    secret: bool = False
    """Whether the answer shows a secret, and so is kept sealed."""


async def answer_once(
    state: AppState, attempt: Attempt, work: Callable[[Connection], Done[Made]]
) -> tuple[Json, Made | None]:
    """Run `work` and keep its answer in one transaction, or return the answer kept for the request this repeats.

    The effect is None for an answer that is given again. What `work` raises is not kept. It may ask for the known
    capabilities of a runtime: where they are not known yet, they are read, and it is run again.
    """

    def find_or_work(db: Connection) -> tuple[Json, Made | None]:
        kept = stored_answers.find(db, attempt)
        if kept is not None:
            return _opened(state, attempt, kept), None
        done = work(db)
        body = _sealed(state, attempt, done.body) if done.secret else done.body
        stored_answers.keep(db, attempt, body, session_id=done.session_id)
        return done.body, done.effect

    async with _running.turn_of(attempt):
        while True:
            try:
                return await state.store.write(find_or_work)
            except CapabilitiesUnknownError as error:
                await state.adapters.capabilities(error.runtime)


async def answer_repeatable(state: AppState, attempt: Attempt, work: Callable[[], Awaitable[Json]]) -> Json:
    """Return the answer kept for the request this repeats, or run `work` and keep its answer.

    For what does no harm twice, and cannot be one transaction: of equal requests at once, each may run it.
    """
    async with _running.turn_of(attempt):
        kept = await state.store.write(partial(stored_answers.find, attempt=attempt))
        if kept is not None:
            return kept
        body = await work()
        return (await answer_once(state, attempt, lambda _db: Done(body)))[0]


_SEALED = "$sealed"


def _sealed(state: AppState, attempt: Attempt, body: Json) -> Json:
    sealed = state.adapters.vault.seal(to_json(body).decode(), attempt.api_key_id, attempt.fingerprint)
    return {_SEALED: base64.b64encode(sealed).decode()}


def _opened(state: AppState, attempt: Attempt, kept: Json) -> Json:
    if kept.keys() != {_SEALED}:
        return kept
    opened: Json = from_json(
        state.adapters.vault.open(base64.b64decode(kept[_SEALED]), attempt.api_key_id, attempt.fingerprint)
    )
    return opened

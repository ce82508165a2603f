"""The two kinds of client: the stock SDK with its own resends, and a plain one with an `Idempotency-Key`."""

import abc
import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import anthropic
import httpx2

Json = dict[str, Any]

SDK_RETRIES = 20
"""Resends of the SDK before a call is given up: the API is away for seconds at a time."""
_PATIENCE_S = 180.0
_RETRY_S = 0.4


class RefusedError(Exception):
    """The API refused something that is right."""


class UnansweredError(Exception):
    """The API was not there for minutes: nobody knows whether it took what was sent."""


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session to create.

    The title is its own, because a stock SDK's resend cannot be told from another client's equal request.
    """

    agent_id: str
    environment_id: str
    title: str
    initial: Sequence[Json]


class Sender(abc.ABC):
    """Creates sessions and sends events; what returns is acknowledged."""

    @abc.abstractmethod
    async def create(self, created: NewSession) -> str:
        """Create a session and return its id.

        Raises:
            RefusedError: it was refused.
            UnansweredError: it was given up.
        """

    @abc.abstractmethod
    async def send(self, session_id: str, events: Sequence[Json]) -> None:
        """Send events.

        Raises:
            RefusedError: they were refused.
            UnansweredError: they were given up.
        """


class SdkSender(Sender):
    """The official SDK, strict about what it is answered with."""

    def __init__(self, client: anthropic.AsyncAnthropic) -> None:
        self._client = client

    async def create(self, created: NewSession) -> str:
        given: Any = {"initial_events": created.initial} if created.initial else {}
        try:
            made = await self._client.beta.sessions.create(
                agent=created.agent_id, environment_id=created.environment_id, title=created.title, **given
            )
        except anthropic.AnthropicError as error:
            raise _raised("create", error) from error
        return made.id

    async def send(self, session_id: str, events: Sequence[Json]) -> None:
        sent: Any = events
        try:
            await self._client.beta.sessions.events.send(session_id, events=sent)
        except anthropic.AnthropicError as error:
            raise _raised("send", error) from error


def _raised(what: str, error: anthropic.AnthropicError) -> Exception:
    told = f"{what}: {type(error).__name__}: {error} ({error.__cause__!r})"[:300]
    away = isinstance(error, anthropic.APIConnectionError | anthropic.InternalServerError)
    return UnansweredError(told) if away else RefusedError(told)


class KeyedSender(Sender):
    """Sends the same request with the same key until it is answered."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self._client = client

    async def create(self, created: NewSession) -> str:
        body: Json = {"agent": created.agent_id, "environment_id": created.environment_id, "title": created.title}
        if created.initial:
            body["initial_events"] = list(created.initial)
        made = await self._post("/v1/sessions", body)
        return str(made["id"])

    async def send(self, session_id: str, events: Sequence[Json]) -> None:
        await self._post(f"/v1/sessions/{session_id}/events", {"events": list(events)})

    async def _post(self, path: str, body: Json) -> Json:
        headers = {"idempotency-key": str(uuid.uuid4())}
        give_up = asyncio.get_running_loop().time() + _PATIENCE_S
        told = "no answer"
        while asyncio.get_running_loop().time() < give_up:
            try:
                response = await self._client.post(path, json=body, headers=headers)
            except httpx2.TransportError as error:
                told = type(error).__name__
            else:
                if response.is_success:
                    answer: Json = response.json()
                    return answer
                told = f"{response.status_code} {response.text[:300]}"
                if response.status_code < 500 and response.status_code != 429:
                    raise RefusedError(f"POST {path}: {told}")
            await asyncio.sleep(_RETRY_S)
        raise UnansweredError(f"POST {path}: {told}")

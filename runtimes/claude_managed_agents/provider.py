"""The provider's API through the official SDK, giving JSON as it came.

The SDK's own models would re-format times, which the provider compares with, and turn unknown event types into known
classes; its own stream swallows the pings that tell a slow turn from a dead connection. So the answers are taken raw.
Nothing is resent here: a resend would double what was accepted and whose answer was lost.
"""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any, Literal, cast

import httpx2
from anthropic import AsyncAnthropic, AsyncStream, omit

from runtimes.base import HEARTBEAT, Connection, Json

DEFAULT_BASE_URL = "https://api.anthropic.com"
_READ_TIMEOUT_S = 30.0
_STREAM_TIMEOUT = httpx2.Timeout(10.0, read=120.0)


class UnexpectedAnswerError(Exception):
    """The answer was a success, but not in the shape of this API."""


class StreamRefusedError(Exception):
    """The provider broke its stream off with an error of its own."""

    def __init__(self, error_type: str) -> None:
        super().__init__(f"the provider broke off its event stream: {error_type}")
        self.error_type = error_type


class Provider:
    """The operations that the adapter uses; events and objects are the API's JSON."""

    def __init__(self, connection: Connection) -> None:
        self.base_url = connection.base_url or DEFAULT_BASE_URL
        # Without a key of its own the SDK would send one that it finds in the process's environment, to any address.
        secret = connection.credential.get_secret_value() if connection.credential else "no-key"
        client = AsyncAnthropic(base_url=self.base_url, api_key=secret, max_retries=0, timeout=_READ_TIMEOUT_S)
        self._client = client
        self._agents = client.beta.agents.with_raw_response
        self._environments = client.beta.environments.with_raw_response
        self._sessions = client.beta.sessions.with_raw_response
        self._events = client.beta.sessions.events

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def list_agents(self, limit: int, page: str | None = None) -> Json:
        """Return a page `{data, next_page}` of agents."""
        return await _page(await self._agents.list(limit=limit, page=page or omit))

    async def create_agent(self, body: Json) -> Json:
        """Make an agent; `body` is the API's."""
        known = {"name": body["name"], "model": body["model"]}
        return await _identified(await self._agents.create(**known, extra_body=body))

    async def list_environments(self, limit: int, page: str | None = None) -> Json:
        """Return a page `{data, next_page}` of environments."""
        return await _page(await self._environments.list(limit=limit, page=page or omit))

    async def create_environment(self, body: Json) -> Json:
        """Make an environment; `body` is the API's."""
        return await _identified(await self._environments.create(name=body["name"], extra_body=body))

    async def create_session(self, body: Json) -> Json:
        """Open a session; `body` is the API's."""
        known = {"agent": body["agent"], "environment_id": body["environment_id"]}
        return await _identified(await self._sessions.create(**known, extra_body=body))

    async def retrieve_session(self, session_id: str) -> Json:
        """Return the session object."""
        return await _identified(await self._sessions.retrieve(session_id))

    async def archive_session(self, session_id: str) -> None:
        """Make the session read-only; the provider refuses while it runs."""
        await self._sessions.archive(session_id)

    async def delete_session(self, session_id: str) -> None:
        """Erase the session; the provider refuses while it runs."""
        await self._sessions.delete(session_id)

    async def send(self, session_id: str, events: Sequence[Json], timeout_s: float = _READ_TIMEOUT_S) -> list[Json]:
        """Send events in one request; return them with their ids, as the provider accepted them."""
        raw = self._events.with_raw_response
        body = await _object(await raw.send(session_id, events=cast(Any, events), timeout=timeout_s))
        return _data(body)

    async def list_events(
        self,
        session_id: str,
        *,
        since: str | None = None,
        order: Literal["asc", "desc"] = "asc",
        types: Sequence[str] = (),
        limit: int | None = None,
    ) -> AsyncGenerator[Json]:
        """Yield the history's events, page by page; `since` is the `processed_at` to start at, inclusive."""
        page: str | None = None
        raw = self._events.with_raw_response
        while True:
            answer = await _page(
                await raw.list(
                    session_id,
                    created_at_gte=since or omit,
                    order=order,
                    types=cast(Any, list(types)) or omit,
                    limit=limit or omit,
                    page=page or omit,
                )
            )
            for event in answer["data"]:
                yield event
            page = answer.get("next_page")
            if not page:
                return

    @asynccontextmanager
    async def stream_events(self, session_id: str) -> AsyncIterator[AsyncIterator[Json]]:
        """Open the stream; inside, iterate over its events from now on, pings as `{"type": "heartbeat"}`.

        The iteration raises `StreamRefusedError` for an error frame, `httpx2.TransportError` when the stream breaks.
        """
        opening = self._events.with_streaming_response.stream(
            session_id, event_deltas=["agent.message", "agent.thinking"], timeout=_STREAM_TIMEOUT
        )
        async with opening as answer, aclosing(_frames(answer.http_response)) as frames:
            yield frames


async def _frames(response: httpx2.Response) -> AsyncGenerator[Json]:
    async for frame in AsyncStream.raw_events(response):
        event = _frame(frame.event, frame.data)
        if event is not None:
            yield event


def _frame(name: str | None, data: str) -> Json | None:
    if not data or name == "ping":
        return {"type": HEARTBEAT}
    try:
        event = json.loads(data)
    except json.JSONDecodeError:
        # Cut off by a drop in the middle; the history has it whole.
        return None
    if not isinstance(event, dict):
        return None
    if event.get("type") == "ping":
        return {"type": HEARTBEAT}
    if name == "error":
        error = event.get("error")
        raise StreamRefusedError(str(error.get("type")) if isinstance(error, dict) else "unknown_error")
    return event


async def _object(answer: Any) -> Json:
    try:
        body = await answer.json()
    except json.JSONDecodeError as error:
        raise UnexpectedAnswerError("the provider's answer is not JSON; is its address right?") from error
    if not isinstance(body, dict):
        raise UnexpectedAnswerError("the provider's answer is not an object of this API; is its address right?")
    return body


async def _identified(answer: Any) -> Json:
    body = await _object(answer)
    if not isinstance(body.get("id"), str):
        raise UnexpectedAnswerError("the provider's answer has no id; is its address right?")
    return body


async def _page(answer: Any) -> Json:
    body = await _object(answer)
    _data(body)
    return body


def _data(body: Json) -> list[Json]:
    data = body.get("data")
    if not isinstance(data, list) or not all(isinstance(item, dict) for item in data):
        raise UnexpectedAnswerError("the provider's answer has no list of data; is its address right?")
    return data

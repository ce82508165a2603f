"""What is sent to the provider, and how a send without an answer is recognised in its history."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import aclosing
from typing import Any

from runtimes.base import Absent, Answer, Found, Json, Message, Send, Unknown
from runtimes.claude_managed_agents.provider import Provider, UnexpectedAnswerError
from runtimes.claude_managed_agents.scope import Position

_ANSWER_TYPES = ("user.tool_confirmation", "user.custom_tool_result")


def message_events(message: Message) -> list[Json]:
    """Return the events of a message. The API wants the system's right after the user's that it accompanies."""
    events: list[Json] = [{"type": "user.message", "content": list(message.content)}]
    if message.system:
        events.append({"type": "system.message", "content": list(message.system)})
    return events


def answer_event(answer: Answer) -> Json:
    """Return the event that answers one ask."""
    if answer.kind == "custom_tool_result":
        result = {"type": "user.custom_tool_result", "custom_tool_use_id": answer.native["id"]}
        return {**result, "content": list(answer.content), "is_error": answer.is_error}
    verdict: Json = {"type": "user.tool_confirmation", "tool_use_id": answer.native["id"]}
    if answer.allow:
        return {**verdict, "result": "allow"}
    reason = {"deny_message": answer.deny_message} if answer.deny_message else {}
    return {**verdict, "result": "deny", **reason}


def native_turn(accepted: Iterable[Json], since: str | None) -> Json:
    """Return the native turn: ids of the user's events that start it, and the position before them.

    Raises:
        UnexpectedAnswerError: the provider did not say which events it accepted.
    """
    ids = [event["id"] for event in accepted if str(event.get("type")).startswith("user.") and event.get("id")]
    if not ids:
        raise UnexpectedAnswerError("the provider did not say which events it accepted")
    return {"events": ids, "since": since}


def answered_id(event: Json) -> str | None:
    """Return the id of the tool use that an answer of the history is for."""
    key = event.get("tool_use_id") or event.get("custom_tool_use_id")
    return key if isinstance(key, str) else None


async def find_send(provider: Provider, session_id: str, send: Send) -> Found | Absent | Unknown:
    """Look for a send in the history."""
    if send.message:
        return await _find_message(provider, session_id, send, send.message)
    return await _find_answers(provider, session_id, send)


async def _find_message(provider: Provider, session_id: str, send: Send, message: Message) -> Found | Absent | Unknown:
    if send.native_before is None:
        return Unknown("the position before the send was not recorded")
    position = Position.load(send.native_before)
    wanted = _signature(message.content)
    # Not narrowed to later times: an event that is queued has no time, and would be left out.
    history = provider.list_events(session_id, types=["user.message"])
    async with aclosing(_of_types(history, ("user.message",))) as messages:
        async for event in messages:
            if position.is_before(event) and _signature(event.get("content")) == wanted:
                return Found(native_turn([event], send.native_before))
    return Absent()


async def _find_answers(provider: Provider, session_id: str, send: Send) -> Found | Absent | Unknown:
    wanted = {answer.native["id"] for answer in send.answers}
    history = provider.list_events(session_id, types=_ANSWER_TYPES)
    answers = {key: event async for event in _of_types(history, _ANSWER_TYPES) if (key := answered_id(event)) in wanted}
    if not answers:
        return Absent()
    if len(answers) < len(wanted):
        return Unknown("the provider has some of the answers, not all")
    return Found(native_turn(answers.values(), send.native_before))


async def _of_types(history: AsyncIterator[Json], types: Sequence[str]) -> AsyncGenerator[Json]:
    # A provider that does not know the filter gives all.
    async for event in history:
        if event.get("type") in types:
            yield event


def _signature(content: Any) -> list[tuple[str, str]]:
    """Return what survives a provider's storing of blocks: their types and texts, not the form of an image."""
    blocks = [block for block in content or () if isinstance(block, dict)]
    return [(str(block.get("type")), str(block.get("text") or "")) for block in blocks]


async def are_pending(provider: Provider, session_id: str, answers: Sequence[Answer]) -> bool:
    """Whether the provider's session still waits for all that is answered."""
    session = await provider.retrieve_session(session_id)
    if session.get("status") != "idle":
        return False
    newest = provider.list_events(session_id, order="desc", types=["session.status_idle"], limit=20)
    async for event in _of_types(newest, ("session.status_idle",)):
        reason = event.get("stop_reason") or {}
        return {answer.native["id"] for answer in answers} <= set(reason.get("event_ids") or ())
    return False

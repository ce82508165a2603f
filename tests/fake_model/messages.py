"""Anthropic Messages: `POST /v1/messages`."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

from tests.fake_model.script import (
    CACHED_TOKENS,
    INPUT_TOKENS,
    OUTPUT_TOKENS,
    Answer,
    Conversation,
    Json,
    Tool,
    error_type,
)

Frame = tuple[str | None, Json | str]
"""Name and data of one server-sent event."""


def _usage(output: int) -> Json:
    return {
        "input_tokens": INPUT_TOKENS - CACHED_TOKENS,
        "output_tokens": output,
        "cache_read_input_tokens": CACHED_TOKENS,
        "cache_creation_input_tokens": 0,
    }


def _blocks(content: Any) -> list[Json]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content or [])


def _text(content: Any) -> str:
    return "\n".join(block.get("text", "") for block in _blocks(content) if block.get("type") == "text")


def read(body: Json) -> Conversation:
    """Return what matters of a request's body."""
    user_text, results = "", list[str]()
    for message in body.get("messages", []):
        blocks = _blocks(message.get("content"))
        found = [_text(block.get("content")) for block in blocks if block.get("type") == "tool_result"]
        if message.get("role") == "user" and not found:
            user_text, results = _text(blocks), []
        results += found
    tools = tuple(Tool(tool["name"], tool.get("input_schema", {})) for tool in body.get("tools", []))
    return Conversation(user_text, tuple(results), tools)


def _content(answer: Answer) -> list[Json]:
    blocks: list[Json] = []
    if answer.thinking:
        blocks.append({"type": "thinking", "thinking": answer.thinking, "signature": "none"})
    if answer.text:
        blocks.append({"type": "text", "text": answer.text})
    for call in answer.calls:
        blocks.append({"type": "tool_use", "id": f"toolu_{uuid4().hex}", "name": call.name, "input": call.arguments})
    return blocks


def _reason(answer: Answer) -> str:
    return "tool_use" if answer.calls else "end_turn"


def whole(body: Json, answer: Answer) -> Json:
    """Return the answer to a request that does not stream."""
    return {
        "id": f"msg_{uuid4().hex}",
        "type": "message",
        "role": "assistant",
        "model": body.get("model", ""),
        "content": _content(answer),
        "stop_reason": _reason(answer),
        "stop_sequence": None,
        "usage": _usage(OUTPUT_TOKENS),
    }


def _deltas(block: Json, answer: Answer) -> list[Json]:
    if block["type"] == "thinking":
        return [
            {"type": "thinking_delta", "thinking": block["thinking"]},
            {"type": "signature_delta", "signature": "none"},
        ]
    if block["type"] == "text":
        return [{"type": "text_delta", "text": chunk} for chunk in answer.chunks]
    return [{"type": "input_json_delta", "partial_json": json.dumps(block["input"])}]


_EMPTY: dict[str, Json] = {
    "thinking": {"thinking": "", "signature": ""},
    "text": {"text": ""},
    "tool_use": {"input": {}},
}


def stream(body: Json, answer: Answer) -> Iterator[Frame]:
    """Yield the answer to a request that streams."""
    message = {**whole(body, answer), "content": [], "stop_reason": None, "usage": _usage(1)}
    yield "message_start", {"type": "message_start", "message": message}
    for index, block in enumerate(_content(answer)):
        start = {**block, **_EMPTY[block["type"]]}
        yield "content_block_start", {"type": "content_block_start", "index": index, "content_block": start}
        for delta in _deltas(block, answer):
            yield "content_block_delta", {"type": "content_block_delta", "index": index, "delta": delta}
        yield "content_block_stop", {"type": "content_block_stop", "index": index}
    ending = {"stop_reason": _reason(answer), "stop_sequence": None}
    yield "message_delta", {"type": "message_delta", "delta": ending, "usage": _usage(OUTPUT_TOKENS)}
    yield "message_stop", {"type": "message_stop"}


def error(status: int) -> Json:
    """Return the body of an error answer."""
    return {"type": "error", "error": {"type": error_type(status), "message": f"scripted failure {status}"}}

"""OpenAI Chat Completions: `POST /v1/chat/completions`."""

import json
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

from tests.fake_model.messages import Frame
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


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "\n".join(part.get("text", "") for part in content if part.get("type") == "text")
    return content or ""


def read(body: Json) -> Conversation:
    """Return what matters of a request's body."""
    user_text, results = "", list[str]()
    for message in body.get("messages", []):
        if message.get("role") == "user":
            user_text, results = _text(message.get("content")), []
        elif message.get("role") == "tool":
            results.append(_text(message.get("content")))
    functions = [tool["function"] for tool in body.get("tools") or [] if tool.get("type") == "function"]
    tools = tuple(Tool(function["name"], function.get("parameters", {})) for function in functions)
    return Conversation(user_text, tuple(results), tools)


def _usage() -> Json:
    return {
        "prompt_tokens": INPUT_TOKENS,
        "completion_tokens": OUTPUT_TOKENS,
        "total_tokens": INPUT_TOKENS + OUTPUT_TOKENS,
        "prompt_tokens_details": {"cached_tokens": CACHED_TOKENS},
    }


def _calls(answer: Answer) -> list[Json]:
    return [
        {
            "id": f"call_{uuid4().hex[:16]}",
            "type": "function",
            "function": {"name": call.name, "arguments": json.dumps(call.arguments)},
        }
        for call in answer.calls
    ]


def _head(body: Json, kind: str) -> Json:
    identity = {"id": f"chatcmpl-{uuid4().hex}", "object": kind, "created": int(time.time())}
    return {**identity, "model": body.get("model", "")}


def _reason(answer: Answer) -> str:
    return "tool_calls" if answer.calls else "stop"


def whole(body: Json, answer: Answer) -> Json:
    """Return the answer to a request that does not stream."""
    message: Json = {"role": "assistant", "content": answer.text or None}
    if answer.thinking:
        message["reasoning_content"] = answer.thinking
    if answer.calls:
        message["tool_calls"] = _calls(answer)
    choice = {"index": 0, "message": message, "finish_reason": _reason(answer)}
    return {**_head(body, "chat.completion"), "choices": [choice], "usage": _usage()}


def _deltas(answer: Answer) -> Iterator[Json]:
    yield {"role": "assistant", "content": ""}
    if answer.thinking:
        yield {"reasoning_content": answer.thinking}
    for chunk in answer.chunks:
        yield {"content": chunk}
    for index, call in enumerate(_calls(answer)):
        yield {"tool_calls": [{"index": index, **call}]}


def stream(body: Json, answer: Answer) -> Iterator[Frame]:
    """Yield the answer to a request that streams; usage comes last, whether it was asked for or not."""
    head = _head(body, "chat.completion.chunk")
    for delta in _deltas(answer):
        yield None, {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    yield None, {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": _reason(answer)}]}
    yield None, {**head, "choices": [], "usage": _usage()}
    yield None, "[DONE]"


def error(status: int) -> Json:
    """Return the body of an error answer."""
    return {"error": {"message": f"scripted failure {status}", "type": error_type(status), "code": None}}

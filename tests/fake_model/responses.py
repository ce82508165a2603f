"""OpenAI Responses: `POST /v1/responses`, as far as agent programs use it."""

import json
import time
from collections.abc import Iterator
from itertools import count
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
        return "\n".join(part.get("text", "") for part in content)
    return content or ""


def read(body: Json) -> Conversation:
    """Return what matters of a request's body."""
    given = body.get("input", [])
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given
    user_text, results = "", list[str]()
    for item in items:
        if item.get("role") == "user":
            user_text, results = _text(item.get("content")), []
        elif item.get("type") == "function_call_output":
            results.append(_text(item.get("output")))
    functions = [tool for tool in body.get("tools") or [] if tool.get("type") == "function"]
    tools = tuple(Tool(tool["name"], tool.get("parameters", {})) for tool in functions)
    return Conversation(user_text, tuple(results), tools)


def _output(answer: Answer) -> list[Json]:
    items: list[Json] = []
    if answer.thinking:
        summary = [{"type": "summary_text", "text": answer.thinking}]
        items.append({"id": f"rs_{uuid4().hex}", "type": "reasoning", "summary": summary})
    if answer.text:
        part = {"type": "output_text", "text": answer.text, "annotations": []}
        items.append({"id": f"msg_{uuid4().hex}", "type": "message", "role": "assistant", "content": [part]})
    for call in answer.calls:
        identity = {"id": f"fc_{uuid4().hex}", "call_id": f"call_{uuid4().hex[:16]}"}
        called = {"name": call.name, "arguments": json.dumps(call.arguments)}
        items.append({**identity, "type": "function_call", **called})
    return [{**item, "status": "completed"} for item in items]


def _response(body: Json, output: list[Json], status: str) -> Json:
    usage = {
        "input_tokens": INPUT_TOKENS,
        "input_tokens_details": {"cached_tokens": CACHED_TOKENS},
        "output_tokens": OUTPUT_TOKENS,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": INPUT_TOKENS + OUTPUT_TOKENS,
    }
    return {
        "id": f"resp_{uuid4().hex}",
        "object": "response",
        "created_at": int(time.time()),
        "status": status,
        "model": body.get("model", ""),
        "output": output,
        "usage": usage if status == "completed" else None,
    }


def whole(body: Json, answer: Answer) -> Json:
    """Return the answer to a request that does not stream."""
    return _response(body, _output(answer), "completed")


def _text_frames(item: Json, index: int, answer: Answer) -> Iterator[Json]:
    place = {"item_id": item["id"], "output_index": index, "content_index": 0}
    part = item["content"][0]
    yield {"type": "response.content_part.added", **place, "part": {**part, "text": ""}}
    for chunk in answer.chunks:
        yield {"type": "response.output_text.delta", **place, "delta": chunk}
    yield {"type": "response.output_text.done", **place, "text": part["text"]}
    yield {"type": "response.content_part.done", **place, "part": part}


def _call_frames(item: Json, index: int) -> Iterator[Json]:
    place = {"item_id": item["id"], "output_index": index}
    yield {"type": "response.function_call_arguments.delta", **place, "delta": item["arguments"]}
    yield {"type": "response.function_call_arguments.done", **place, "arguments": item["arguments"]}


def _frames(body: Json, answer: Answer) -> Iterator[Json]:
    done = whole(body, answer)
    started = {**done, "status": "in_progress", "output": [], "usage": None}
    yield {"type": "response.created", "response": started}
    for index, item in enumerate(done["output"]):
        empty: dict[str, Json] = {
            "message": {"content": []},
            "function_call": {"arguments": ""},
            "reasoning": {"summary": []},
        }
        added = {**item, **empty[item["type"]], "status": "in_progress"}
        yield {"type": "response.output_item.added", "output_index": index, "item": added}
        if item["type"] == "message":
            yield from _text_frames(item, index, answer)
        elif item["type"] == "function_call":
            yield from _call_frames(item, index)
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
    yield {"type": "response.completed", "response": done}


def stream(body: Json, answer: Answer) -> Iterator[Frame]:
    """Yield the answer to a request that streams."""
    numbers = count()
    for frame in _frames(body, answer):
        yield frame["type"], {**frame, "sequence_number": next(numbers)}


def error(status: int) -> Json:
    """Return the body of an error answer."""
    return {"error": {"message": f"scripted failure {status}", "type": error_type(status), "code": None}}

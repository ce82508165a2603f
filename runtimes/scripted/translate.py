"""What each native event of the scripted runtime becomes. Pure, and without memory: the state is never used."""

from collections.abc import Callable

from runtimes.base import (
    HEARTBEAT,
    Ask,
    Delta,
    End,
    Event,
    Json,
    NativeEvent,
    Reference,
    Translated,
    Translation,
    Vendor,
)

ENDS: dict[str, End] = {
    "done": End("end_turn"),
    "asks": End("requires_action"),
    "refusal": End("refusal"),
    "interrupted": End("end_turn", interrupted=True),
}


def translate(state: Json, native: NativeEvent) -> Translation:
    """Return what a native event becomes; a type that is not known is kept for those who debug."""
    if native.type == HEARTBEAT:
        return Translation(state)
    become = BECOME.get(native.type)
    if become is None:
        return Translation(state, (Vendor(native.type, native.data),))
    return Translation(state, become(native))


def message(native: NativeEvent) -> tuple[Translated, ...]:
    return (Event("agent.message", {"content": text_content(native.data["text"])}),)


def thinking(native: NativeEvent) -> tuple[Translated, ...]:
    return (Event("agent.thinking", {}),)


def delta(native: NativeEvent) -> tuple[Translated, ...]:
    data = native.data
    kind = "agent.thinking" if data["kind"] == "thinking" else "agent.message"
    return (Delta(kind, data["of"], 0, data["text"]),)  # type: ignore[arg-type]


def tool_use(native: NativeEvent) -> tuple[Translated, ...]:
    data = native.data
    return (Event("agent.tool_use", {"name": data["tool"], "input": data["input"], "evaluated_permission": "allow"}),)


def tool_result(native: NativeEvent) -> tuple[Translated, ...]:
    data = native.data
    payload = {
        "tool_use_id": Reference(data["tool_use"]),
        "content": text_content(data["text"]),
        "is_error": data["is_error"],
    }
    return (Event("agent.tool_result", payload),)


def ask(native: NativeEvent) -> tuple[Translated, ...]:
    data = native.data
    payload = {"name": data["tool"], "input": data["input"]}
    answerable = {"ask_id": data["id"]}
    if data["custom"]:
        return (Ask("agent.custom_tool_use", payload, answerable),)
    client = data.get("client", False)
    permission = "allow" if client and not data["confirm"] else "ask"
    return (Ask("agent.tool_use", payload | {"evaluated_permission": permission}, answerable, client_tool=client),)


def usage(native: NativeEvent) -> tuple[Translated, ...]:
    payload = {
        "model_request_start_id": Reference(native.data["id"], 0),
        "is_error": False,
        "model_usage": {field: native.data.get(field, 0) for field in USAGE_FIELDS},
    }
    return (Event("span.model_request_start", {}), Event("span.model_request_end", payload))


def end(native: NativeEvent) -> tuple[Translated, ...]:
    data = native.data
    known = ENDS.get(data["reason"])
    if known is not None:
        return (known,)
    error = data.get("error") or f"the runtime ended the turn: {data['reason']}"
    return (End("retries_exhausted", error=error, error_type=data.get("error_type", "unknown_error")),)


def text_content(text: str) -> list[Json]:
    """Return a text as the API's content blocks."""
    return [{"type": "text", "text": text}]


USAGE_FIELDS = ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")

BECOME: dict[str, Callable[[NativeEvent], tuple[Translated, ...]]] = {
    "ask": ask,
    "delta": delta,
    "end": end,
    "message": message,
    "thinking": thinking,
    "tool_result": tool_result,
    "tool_use": tool_use,
    "usage": usage,
}

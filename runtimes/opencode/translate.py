"""What OpenCode's native events become. Pure: no clock, no I/O; `natives` says which events there are."""

from collections.abc import Callable

from runtimes.base import Ask, Delta, End, Event, Json, NativeEvent, Reference, Translated, Translation

Items = list[Translated]

_NAMES = {"webfetch": "web_fetch", "websearch": "web_search"}
_BY_STATUS = {429: "model_rate_limited_error", 402: "billing_error", 503: "model_overloaded_error"}
_BY_STATUS[529] = "model_overloaded_error"
_MODEL_ERRORS = ("APIError", "ProviderAuthError", "ContextOverflowError", "MessageOutputLengthError")


def _text(text: str) -> list[Json]:
    return [{"type": "text", "text": text}] if text else []


def _usage(tokens: Json | None) -> Json:
    tokens = tokens or {}
    cache = tokens.get("cache") or {}
    return {
        "input_tokens": int(tokens.get("input") or 0),
        # OpenCode counts reasoning apart; it is output, and billed as such.
        "output_tokens": int(tokens.get("output") or 0) + int(tokens.get("reasoning") or 0),
        "cache_read_input_tokens": int(cache.get("read") or 0),
        "cache_creation_input_tokens": int(cache.get("write") or 0),
    }


def _span_end(start: str, tokens: Json | None, is_error: bool, cost: float | None = None) -> Event:
    payload = {"model_request_start_id": Reference(start), "model_usage": _usage(tokens), "is_error": is_error}
    # OpenCode says 0 of a model whose price it does not know.
    return Event("span.model_request_end", payload, cost_usd=cost or None)


def _call(part: Json) -> Json:
    return {"name": _NAMES.get(part["tool"], part["tool"]), "input": part["state"].get("input") or {}}


def _step_start(state: Json, native: NativeEvent) -> Items:
    state.setdefault("steps", {})[native.data["part"]["messageID"]] = native.key
    return [Event("span.model_request_start", {})]


def _step_finish(state: Json, native: NativeEvent) -> Items:
    part = native.data["part"]
    start = state.get("steps", {}).pop(part["messageID"], None)
    return [_span_end(start, part["tokens"], False, part.get("cost"))] if start else []


def _broken(state: Json, native: NativeEvent) -> Items:
    start = state.get("steps", {}).pop(native.data["message_id"], None)
    return [_span_end(start, native.data["tokens"], True)] if start else []


def _message(state: Json, native: NativeEvent) -> Items:
    return [Event("agent.message", {"content": _text(native.data["part"]["text"])})]


def _thinking(state: Json, native: NativeEvent) -> Items:
    return [Event("agent.thinking", {})]


def _delta(state: Json, native: NativeEvent) -> Items:
    key = f"{native.data['part_id']}:end"
    text = native.data["text"]
    if native.data["kind"] == "reasoning":
        return [Delta("agent.thinking", key, 0, text)]
    return [Delta("agent.message", key, 0, text)]


def _tool_use(state: Json, native: NativeEvent) -> Items:
    part = native.data["part"]
    if part["id"] in state.get("asked", {}):
        return []
    return [Event("agent.tool_use", {**_call(part), "evaluated_permission": "allow"})]


def _tool_result(state: Json, native: NativeEvent) -> Items:
    part = native.data["part"]
    asked = state.get("asked", {}).get(part["id"])
    failed = part["state"]["status"] == "error"
    if asked and not failed:
        state["open"] = [ask for ask in state.get("open", []) if ask != asked]
    output = part["state"].get("error" if failed else "output") or ""
    use = Reference(asked or f"{part['id']}:use")
    return [Event("agent.tool_result", {"tool_use_id": use, "content": _text(output), "is_error": failed})]


def _permission(state: Json, native: NativeEvent) -> Items:
    part, request = native.data["part"], native.data["permission"]
    state.setdefault("asked", {})[part["id"]] = native.key
    state["open"] = [*(ask for ask in state.get("open", []) if ask != request["id"]), request["id"]]
    payload = {**_call(part), "evaluated_permission": "ask"}
    return [Ask("agent.tool_use", payload, {"permission_id": request["id"], "message_id": native.data["turn"]})]


def _asks(state: Json, native: NativeEvent) -> Items:
    state["open"] = native.data["pending"]
    return [End("requires_action")]


def _compacted(state: Json, native: NativeEvent) -> Items:
    return [Event("agent.thread_context_compacted", {})]


def _retry(state: Json, native: NativeEvent) -> Items:
    status = native.data["status"]
    error = {
        "type": "model_request_failed_error",
        "message": f"OpenCode tries the model again (attempt {status['attempt']}): {status['message']}",
        "retry_status": {"type": "retrying"},
    }
    return [Event("session.error", {"error": error})]


def _idle(state: Json, native: NativeEvent) -> Items:
    data = native.data
    lost = any(ask != data["answered"] for ask in state.get("open", []))
    if data["aborted"]:
        return [End("end_turn", interrupted=True, lost_asks=lost)]
    if data["error"]:
        return [_failed(data["error"], lost)]
    if data["finish"] == "content-filter":
        return [End("refusal", lost_asks=lost)]
    return [End("end_turn", lost_asks=lost)]


def _failed(error: Json, lost: bool) -> End:
    name, data = error["name"], error.get("data") or {}
    if name == "ContentFilterError":
        return End("refusal", lost_asks=lost)
    fallback = "model_request_failed_error" if name in _MODEL_ERRORS else "unknown_error"
    kind = _BY_STATUS.get(data.get("statusCode") or 0, fallback)
    # Below the first line OpenCode may put a stack trace.
    detail = (str(data.get("message") or "").splitlines() or ["no detail"])[0]
    return End("retries_exhausted", f"OpenCode: {name}: {detail}", kind, lost_asks=lost)


_BY_TYPE: dict[str, Callable[[Json, NativeEvent], Items]] = {
    "step-start": _step_start,
    "step-finish": _step_finish,
    "message.broken": _broken,
    "text": _message,
    "reasoning": _thinking,
    "delta": _delta,
    "tool.use": _tool_use,
    "tool.result": _tool_result,
    "permission": _permission,
    "asks": _asks,
    "compacted": _compacted,
    "retry": _retry,
    "idle": _idle,
}


def _copy(state: Json) -> Json:
    return {key: value.copy() for key, value in state.items()}


def translate(state: Json, native: NativeEvent) -> Translation:
    """Return what a native event becomes, as `Runtime.translate` has it.

    The state, all of it plain: `steps` (message id to the key of its open model request), `asked` (tool part to the
    key of the request for permission that stands for its use), `open` (requests not known to be settled).
    """
    handler = _BY_TYPE.get(native.type)
    if handler is None:
        return Translation(state)
    after = _copy(state)
    return Translation(after, tuple(handler(after, native)))

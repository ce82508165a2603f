"""The fake model, over HTTP, in each of its three languages."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx2
import pytest

from tests.fake_model import FakeModel
from tests.fake_model.script import Conversation, Tool, answer, shell_call

Json = dict[str, Any]


@pytest.fixture(scope="module")
def model() -> Iterator[FakeModel]:
    with FakeModel() as running:
        yield running


def post(model: FakeModel, path: str, body: Json) -> httpx2.Response:
    return httpx2.post(f"{model.url}/v1/{path}", json={"model": "m", **body}, timeout=30)


def frames(response: httpx2.Response) -> list[Json]:
    assert response.headers["content-type"] == "text/event-stream"
    data = [line[6:] for line in response.text.splitlines() if line.startswith("data: ")]
    return [json.loads(item) for item in data if item != "[DONE]"]


BASH: dict[str, object] = {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}


def test_messages_through_the_sdk_without_stream(model: FakeModel) -> None:
    with anthropic.Anthropic(base_url=model.url, api_key="k") as client:
        said = client.messages.create(model="m", max_tokens=9, messages=[{"role": "user", "content": "hi"}])
    assert said.content[0].type == "text"
    assert said.content[0].text == "You said: hi"
    assert (said.usage.input_tokens, said.usage.cache_read_input_tokens, said.usage.output_tokens) == (110, 50, 20)


def test_messages_through_the_sdk_call_the_shell(model: FakeModel) -> None:
    with (
        anthropic.Anthropic(base_url=model.url, api_key="k") as client,
        client.messages.stream(
            model="m",
            max_tokens=9,
            messages=[{"role": "user", "content": "RUN:ls -l"}],
            tools=[{"name": "bash", "input_schema": BASH}],
        ) as stream,
    ):
        said = stream.get_final_message()
    assert said.stop_reason == "tool_use"
    assert said.content[0].type == "tool_use"
    assert said.content[0].input == {"command": "ls -l"}


def test_messages_end_with_the_tool_result(model: FakeModel) -> None:
    talk = [
        {"role": "user", "content": "RUN:ls"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "bash", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "a.txt"}]},
    ]
    said = post(model, "messages", {"messages": talk, "tools": [{"name": "bash", "input_schema": BASH}]}).json()
    assert said["content"] == [{"type": "text", "text": "Done: a.txt"}]


def test_chat_completions_stream_text_and_usage(model: FakeModel) -> None:
    body = {"stream": True, "messages": [{"role": "user", "content": "THINK:hm\nhi"}]}
    chunks = frames(post(model, "chat/completions", body))
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]
    assert "".join(delta.get("content") or "" for delta in deltas) == "You said: THINK:hm\nhi"
    assert "".join(delta.get("reasoning_content") or "" for delta in deltas) == "hm"
    assert chunks[-1]["usage"]["prompt_tokens"] == 160


def test_chat_completions_call_and_finish(model: FakeModel) -> None:
    tools = [{"type": "function", "function": {"name": "shell", "parameters": BASH}}]
    talk: list[Json] = [{"role": "user", "content": "RUN:ls"}]
    said = post(model, "chat/completions", {"messages": talk, "tools": tools}).json()["choices"][0]
    assert said["finish_reason"] == "tool_calls"
    assert json.loads(said["message"]["tool_calls"][0]["function"]["arguments"]) == {"command": "ls"}
    talk += [said["message"], {"role": "tool", "tool_call_id": "x", "content": "a.txt"}]
    said = post(model, "chat/completions", {"messages": talk, "tools": tools}).json()["choices"][0]
    assert said["message"]["content"] == "Done: a.txt"


def test_responses_stream_and_call(model: FakeModel) -> None:
    tools = [{"type": "function", "name": "shell", "parameters": BASH}]
    seen = frames(post(model, "responses", {"stream": True, "input": "RUN:ls", "tools": tools}))
    assert [frame["sequence_number"] for frame in seen] == list(range(len(seen)))
    call = seen[-1]["response"]["output"][0]
    assert (call["type"], json.loads(call["arguments"])) == ("function_call", {"command": "ls"})
    talk = [{"role": "user", "content": [{"type": "input_text", "text": "RUN:ls"}]}, call]
    talk.append({"type": "function_call_output", "call_id": call["call_id"], "output": "a.txt"})
    said = post(model, "responses", {"input": talk, "tools": tools}).json()
    assert said["output"][0]["content"][0]["text"] == "Done: a.txt"
    assert said["usage"]["output_tokens"] == 20


@pytest.mark.parametrize("path", ["messages", "chat/completions", "responses"])
def test_failure_has_the_status_asked_for(model: FakeModel, path: str) -> None:
    said = post(model, path, {"messages": [{"role": "user", "content": "FAIL:429"}], "input": "FAIL:429"})
    assert said.status_code == 429
    assert said.json()["error"]["type"] == "rate_limit_error"


def test_slow_is_slow(model: FakeModel) -> None:
    began = time.monotonic()
    body = {"stream": True, "messages": [{"role": "user", "content": "SLOW:4"}]}
    chunks = frames(post(model, "chat/completions", body))
    assert time.monotonic() - began >= 0.9
    text = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk["choices"])
    assert text == "word1 word2 word3 word4 "


def test_log_keeps_every_request(model: FakeModel) -> None:
    before = len(model.requests)
    post(model, "messages", {"messages": [{"role": "user", "content": "keep me"}]})
    (logged,) = model.requests[before:]
    assert (logged.path, logged.user_text) == ("/v1/messages", "keep me")


def test_shell_call_fits_the_schema() -> None:
    listed = Tool("shell", {"properties": {"command": {"type": "array"}}})
    assert shell_call((listed,), "ls").arguments == {"command": ["bash", "-lc", "ls"]}  # type: ignore[union-attr]
    described = Tool("Bash", {"properties": {"cmd": {}, "why": {"type": "string"}}, "required": ["cmd", "why"]})
    assert shell_call((described,), "ls").arguments == {"cmd": "ls", "why": "scripted"}  # type: ignore[union-attr]
    assert answer(Conversation("RUN:ls")).text == "You said: RUN:ls"


def test_runs_as_a_program() -> None:
    command = [sys.executable, "-m", "tests.fake_model", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        said = httpx2.post(f"{url}/v1/messages", json={"messages": [{"role": "user", "content": "hi"}]}, timeout=30)
        assert said.json()["content"][0]["text"] == "You said: hi"
        process.terminate()

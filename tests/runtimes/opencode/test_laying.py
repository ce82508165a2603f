"""What OpenCode itself makes of what was laid into a session's folder."""

import io
import zipfile
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial

import pytest

from runtimes.base import Resource
from runtimes.opencode.runtime import OpenCodeRuntime
from tests.fake_model import FakeModel
from tests.runtimes.opencode.driver import an_agent, converse

pytestmark = [pytest.mark.opencode, pytest.mark.timeout(180)]


async def content(data: bytes) -> AsyncIterator[bytes]:
    yield data


def a_skill(name: str, description: str) -> Resource:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        text = f"---\nname: {name}\ndescription: {description}\n---\nSing like a blackbird.\n"
        archive.writestr(f"{name}/SKILL.md", text)
    return Resource("sesrsc_1", "skill", f"skill:{name}", {"name": name}, content=partial(content, packed.getvalue()))


async def test_a_file_and_a_skill_reach_the_model(runtime: OpenCodeRuntime, fake_model: FakeModel) -> None:
    plain = an_agent()
    skills = [{"type": "custom", "skill_id": "skill_1", "version": "skillver_1"}]
    talk = await converse(runtime, replace(plain, definition={**plain.definition, "skills": skills}))
    mounted = Resource("sesrsc_2", "file", "/data/in.csv", {}, content=partial(content, b"one,two"))
    await runtime.lay(talk.session, [a_skill("sing-well", "How to sing beautifully."), mounted])
    talk.session = replace(talk.session, mounts=["/data/in.csv"])
    log = await talk.say("RUN:cat data/in.csv")
    assert log.end is not None
    assert log.end.error is None
    assert "one,two" in str(log.of("agent.tool_result")[0].payload)
    sent = fake_model.requests[-1].body
    assert "/data/in.csv is at ./data/in.csv" in str(sent["messages"][0])
    assert "How to sing beautifully." in str(sent["messages"][0]) + str(sent.get("tools"))
    assert "skill" in [tool["function"]["name"] for tool in sent["tools"]]


async def test_a_skill_that_comes_later_is_found(runtime: OpenCodeRuntime, fake_model: FakeModel) -> None:
    plain = an_agent()
    skills = [{"type": "custom", "skill_id": "skill_1", "version": "skillver_1"}]
    talk = await converse(runtime, replace(plain, definition={**plain.definition, "skills": skills}))
    await talk.say("hello")
    await runtime.lay(talk.session, [a_skill("dance-well", "How to dance beautifully.")])
    await talk.say("hello again")
    sent = next(request for request in reversed(fake_model.requests) if request.user_text == "hello again").body
    assert "How to dance beautifully." in str(sent["messages"][0]) + str(sent.get("tools"))

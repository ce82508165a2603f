"""Older shapes of answers, which clients of earlier SDKs choose by `anthropic-beta`."""

from typing import Annotated

from fastapi import Depends, Request


def _named(request: Request) -> set[str]:
    lines = request.headers.getlist("anthropic-beta")
    return {name.strip() for line in lines for name in line.split(",")}


async def _old_files(request: Request) -> bool:
    return "files-api-2025-04-14" in _named(request)


async def _old_skills(request: Request) -> bool:
    return "skills-2025-10-02" in _named(request)


OldFilesDep = Annotated[bool, Depends(_old_files)]
OldSkillsDep = Annotated[bool, Depends(_old_skills)]

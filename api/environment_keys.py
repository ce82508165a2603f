"""What a key of scope `environment` opens: what the worker of one environment needs, and nothing else.

Such a key lies on machines where an agent runs commands, so it cannot confirm a tool use or send a message.
"""

import re
from collections.abc import Sequence
from functools import partial
from typing import Final

from fastapi import Request

from protocol.errors import PermissionDeniedError
from store.engine import Store
from store.repositories.sessions import find_environment

_WORK: Final = re.compile(r"/v1/environments/([^/]+)/work(/.*)?")
_SESSION: Final = re.compile(r"/v1/sessions/([^/]+)(/events(/stream)?)?")
_SKILLS: Final = re.compile(r"/v1/skills/.+")
_RESULTS: Final = ("user.tool_result", "user.custom_tool_result")


async def check_address(store: Store, request: Request, workspace_id: str, environment_id: str) -> None:
    """Refuse a request that no worker of the environment makes.

    Raises:
        PermissionDeniedError: it is for another environment, or for something else altogether.
    """
    method, path = request.method, str(request.scope["path"])
    if work := _WORK.fullmatch(path):
        allowed = work[1] == environment_id
    elif session := _SESSION.fullmatch(path):
        find = partial(find_environment, workspace_id=workspace_id, session_id=session[1])
        allowed = method == "GET" or (method == "POST" and session[2] == "/events")
        allowed = allowed and await store.read(find) == environment_id
    else:
        allowed = method == "GET" and _SKILLS.fullmatch(path) is not None
    if not allowed:
        raise _refusal("the work of its environment, and reading its sessions and sending results to them")


def check_events(types: Sequence[str]) -> None:
    """Refuse events that no worker sends.

    Raises:
        PermissionDeniedError: one is no result of a tool.
    """
    if any(type_ not in _RESULTS for type_ in types):
        raise _refusal("sending `user.tool_result` and `user.custom_tool_result`")


def _refusal(what: str) -> PermissionDeniedError:
    return PermissionDeniedError(
        f"this API key is of scope `environment`, which allows {what}: use a key of scope `member`",
        error_code="api_key_scope_missing",
    )

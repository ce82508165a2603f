"""Who calls: the API key of a request, looked up each time, so that a revocation holds at once everywhere."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated

from fastapi import Depends, Request
from starlette.datastructures import Headers

from api.deps import AppState
from api.environment_keys import check_address
from api.request_log import request_info
from protocol.errors import AuthenticationError, PermissionDeniedError
from security.keys import hash_key
from store.repositories.access import find_api_key


@dataclass(frozen=True, slots=True)
class Caller:
    """The key a request came with, and the workspace it opens."""

    workspace_id: str
    api_key_id: str
    admin: bool
    environment_id: str | None = None
    """Of a key of scope `environment`: the one it serves."""


def _presented_key(headers: Headers) -> str:
    authorization = headers.get("authorization")
    if authorization is not None:
        scheme, _, key = authorization.partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise AuthenticationError("`Authorization` must be `Bearer <api key>`")
        return key.strip()
    key = headers.get("x-api-key", "").strip()
    if not key:
        raise AuthenticationError("no API key: send `Authorization: Bearer <api key>` or `x-api-key: <api key>`")
    return key


async def authenticate(request: Request) -> Caller:
    """Return the caller.

    Raises:
        AuthenticationError: no key, or one that is unknown or revoked.
        PermissionDeniedError: `anthropic-workspace-id` names another workspace than the key's, or the key's scope
            does not reach so far.
    """
    state: AppState = request.app.state.waystation
    headers = request.headers
    row = await state.store.read(partial(find_api_key, key_hash=hash_key(_presented_key(headers))))
    if row is None:
        raise AuthenticationError("the API key is unknown or revoked")
    caller = Caller(row["workspace_id"], row["id"], row["scope"] == "admin", row["environment_id"])
    request_info(request.scope).workspace_id = caller.workspace_id
    if headers.get("anthropic-workspace-id", caller.workspace_id) != caller.workspace_id:
        raise PermissionDeniedError("`anthropic-workspace-id` is not the workspace of this API key: leave it out")
    if caller.environment_id is not None:
        await check_address(state.store, request, caller.workspace_id, caller.environment_id)
    return caller


CallerDep = Annotated[Caller, Depends(authenticate)]


async def _require_admin(caller: CallerDep) -> Caller:
    if not caller.admin:
        raise PermissionDeniedError("this needs an API key of scope `admin`", error_code="api_key_scope_missing")
    return caller


AdminDep = Annotated[Caller, Depends(_require_admin)]

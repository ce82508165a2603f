"""How the `auth` that a client sends becomes what is answered, and the secrets that are not. Pure."""

from dataclasses import dataclass, field
from typing import Any

from pydantic_core import Url

from protocol.credentials import (
    Auth,
    AuthUpdate,
    EnvironmentVariableParams,
    EnvironmentVariableUpdate,
    InjectionLocation,
    McpOAuthParams,
    McpOAuthUpdate,
    RefreshParams,
    RefreshUpdateParams,
    StaticBearerParams,
    StaticBearerUpdate,
)
from protocol.errors import InvalidRequestError

Json = dict[str, Any]


@dataclass(slots=True)
class StoredAuth:
    """An `auth` in its parts: `shown` is answered, with `expires_at` beside it; `secrets` are to be sealed."""

    shown: Json
    expires_at: int | None = None
    """Microseconds since 1970."""
    secrets: dict[str, str] = field(default_factory=dict)
    """In the clear; of an update, only those that are replaced."""

    @property
    def target(self) -> str:
        """What the credential is for: of each, a vault has one that is active."""
        url: str | None = self.shown.get("mcp_server_url")
        return str(Url(url)) if url is not None else str(self.shown["secret_name"])


def new_auth(auth: Auth, now: int) -> StoredAuth:
    """Return the parts of a new credential's `auth`.

    Raises:
        InvalidRequestError: its token has expired, or its secret would stand nowhere.
    """
    if isinstance(auth, StaticBearerParams):
        shown: Json = {"type": auth.type, "mcp_server_url": auth.mcp_server_url}
        return StoredAuth(shown, secrets={"token": auth.token.get_secret_value()})
    if isinstance(auth, McpOAuthParams):
        return _new_oauth(auth, now)
    return _new_variable(auth)


def _new_oauth(auth: McpOAuthParams, now: int) -> StoredAuth:
    shown: Json = {"type": auth.type, "mcp_server_url": auth.mcp_server_url, "refresh": None}
    stored = StoredAuth(shown, _future(auth.expires_at, now), {"access_token": auth.access_token.get_secret_value()})
    if auth.refresh is not None:
        shown["refresh"] = _refresh_shown(auth.refresh)
        stored.secrets["refresh_token"] = auth.refresh.refresh_token.get_secret_value()
        if auth.refresh.token_endpoint_auth.type != "none":
            stored.secrets["client_secret"] = auth.refresh.token_endpoint_auth.client_secret.get_secret_value()
    return stored


def _refresh_shown(refresh: RefreshParams) -> Json:
    return {
        "client_id": refresh.client_id,
        "token_endpoint": refresh.token_endpoint,
        "token_endpoint_auth": {"type": refresh.token_endpoint_auth.type},
        "resource": refresh.resource,
        "scope": refresh.scope,
    }


def _new_variable(auth: EnvironmentVariableParams) -> StoredAuth:
    shown = {
        "type": auth.type,
        "secret_name": auth.secret_name,
        "networking": auth.networking.model_dump(),
        "injection_location": _location(auth.injection_location, {"header": True, "body": False}),
    }
    return StoredAuth(shown, secrets={"secret_value": auth.secret_value.get_secret_value()})


def changed_auth(shown: Json, expires_at: int | None, update: AuthUpdate, now: int) -> StoredAuth:
    """Return what an update makes of a stored `auth`.

    Raises:
        InvalidRequestError: it is of another type, changes a refresh that there is not, sets a time that is past, or
            its secret would stand nowhere.
    """
    if update.type != shown["type"]:
        raise InvalidRequestError(f"`auth.type` is {shown['type']!r} and cannot be changed: create another credential")
    stored = StoredAuth(dict(shown), expires_at)
    if isinstance(update, StaticBearerUpdate):
        if update.token is not None:
            stored.secrets["token"] = update.token.get_secret_value()
    elif isinstance(update, McpOAuthUpdate):
        _change_oauth(stored, update, now)
    else:
        _change_variable(stored, update)
    return stored


def _change_oauth(stored: StoredAuth, update: McpOAuthUpdate, now: int) -> None:
    if update.access_token is not None:
        stored.secrets["access_token"] = update.access_token.get_secret_value()
    if "expires_at" in update.model_fields_set:
        stored.expires_at = _future(update.expires_at, now)
    if update.refresh is not None:
        _change_refresh(stored, update.refresh)


def _change_refresh(stored: StoredAuth, update: RefreshUpdateParams) -> None:
    if stored.shown["refresh"] is None:
        raise InvalidRequestError("`auth.refresh`: this credential has no refresh to change: create another credential")
    refresh = stored.shown["refresh"] = dict(stored.shown["refresh"])
    if update.refresh_token is not None:
        stored.secrets["refresh_token"] = update.refresh_token.get_secret_value()
    if update.scope is not None:
        refresh["scope"] = update.scope or None
    if update.token_endpoint_auth is None:
        return
    if refresh["token_endpoint_auth"]["type"] == "none":
        raise InvalidRequestError(
            "`auth.refresh.token_endpoint_auth`: this credential's token endpoint takes no secret: "
            "create another credential"
        )
    if update.token_endpoint_auth.client_secret is not None:
        stored.secrets["client_secret"] = update.token_endpoint_auth.client_secret.get_secret_value()


def _change_variable(stored: StoredAuth, update: EnvironmentVariableUpdate) -> None:
    if update.secret_value is not None:
        stored.secrets["secret_value"] = update.secret_value.get_secret_value()
    if update.networking is not None:
        stored.shown["networking"] = update.networking.model_dump()
    stored.shown["injection_location"] = _location(update.injection_location, stored.shown["injection_location"])


def _location(sent: InjectionLocation | None, before: Json) -> Json:
    location = before | (sent.model_dump(exclude_none=True) if sent is not None else {})
    if not any(location.values()):
        raise InvalidRequestError("`auth.injection_location`: `header` or `body` must be true")
    return location


def _future(expires_at: int | None, now: int) -> int | None:
    if expires_at is not None and expires_at <= now:
        raise InvalidRequestError("`auth.expires_at` must be in the future")
    return expires_at

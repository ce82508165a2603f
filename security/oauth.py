"""Exchanging a refresh token for new tokens at an OAuth token endpoint (RFC 6749, section 6)."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final
from urllib.parse import quote_plus

import httpx2
from pydantic import BaseModel, StringConstraints, ValidationError

from security.captured import Captured, capture, read_bounded

_TEN_YEARS_S: Final = 315_360_000
_Token = Annotated[str, StringConstraints(min_length=1, max_length=16_384, pattern=r"^[ -~]+$")]


class _Granted(BaseModel):
    access_token: _Token
    refresh_token: _Token | None = None
    expires_in: float | None = None


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a token endpoint granted."""

    access_token: str
    refresh_token: str | None
    """None: the one that was sent stays good."""
    expires_in_us: int | None


class RefreshFailedError(Exception):
    """The token endpoint answered, but not with a token."""

    def __init__(self, response: Captured) -> None:
        super().__init__(f"the token endpoint answered with status {response.status_code}")
        self.response = response


async def refresh_tokens(client: httpx2.AsyncClient, refresh: Mapping[str, Any], secrets: Mapping[str, str]) -> Tokens:
    """Exchange `refresh_token` of the secrets as the API's `refresh` says.

    Raises:
        RefreshFailedError: the endpoint answered without a token.
        httpx2.TransportError: it could not be reached, or broke off.
    """
    form = {"grant_type": "refresh_token", "refresh_token": secrets["refresh_token"]}
    form |= {name: refresh[name] for name in ("scope", "resource") if refresh[name]}
    headers = {"accept": "application/json"}
    method = refresh["token_endpoint_auth"]["type"]
    if method == "client_secret_basic":
        headers["authorization"] = _basic(refresh["client_id"], secrets["client_secret"])
    else:
        form["client_id"] = refresh["client_id"]
        if method == "client_secret_post":
            form["client_secret"] = secrets["client_secret"]
    async with client.stream("POST", refresh["token_endpoint"], data=form, headers=headers) as response:
        body = await read_bounded(response)
    granted = _granted(body) if response.is_success else None
    if granted is None:
        raise RefreshFailedError(capture(response, body, [*secrets.values(), *headers.values()]))
    return Tokens(granted.access_token, granted.refresh_token, _life_us(granted.expires_in))


def _granted(body: bytes) -> _Granted | None:
    try:
        return _Granted.model_validate_json(body)
    except ValidationError:
        return None


def _life_us(seconds: float | None) -> int | None:
    return int(seconds * 1e6) if seconds is not None and 0 < seconds < _TEN_YEARS_S else None


def _basic(user: str, password: str) -> str:
    pair = f"{quote_plus(user)}:{quote_plus(password)}"
    return f"Basic {base64.b64encode(pair.encode()).decode()}"

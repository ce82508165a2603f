"""Credentials on the wire: what a client sends; secrets go in and are never answered."""

import ipaddress
import re
from typing import Annotated, Final, Literal

from anthropic.types.beta.vaults import (
    BetaManagedAgentsCredential,
    BetaManagedAgentsCredentialValidation,
    BetaManagedAgentsDeletedCredential,
)
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, StringConstraints, WithJsonSchema
from pydantic_core import Url

from protocol.fields import Metadata, MetadataPatch, Request, Time
from protocol.runtimes import Credential as Token
from protocol.vaults import VaultName

MAX_CREDENTIALS: Final = 20
"""Most active credentials of a vault."""
_MAX_HOSTS: Final = 16
_LAST_TIME: Final = 253_402_300_799_999_999
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")

Credential = BetaManagedAgentsCredential
CredentialDeleted = BetaManagedAgentsDeletedCredential
CredentialValidation = BetaManagedAgentsCredentialValidation


def _check_url(text: str) -> str:
    try:
        url = Url(text)
    except ValueError as error:
        raise ValueError("must be an address such as `https://mcp.example.com/mcp`") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError("must begin with https:// or http://")
    if url.username or url.password:
        raise ValueError("must not hold a user or password")
    if url.fragment:
        raise ValueError("must not hold a fragment")
    return text


def _check_host(text: str) -> str:
    host = text.lower()
    labels = host.removeprefix("*.").split(".")
    if not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError("must be a host such as `api.example.com` or `*.example.com`, without scheme, port or path")
    if labels[-1].isdigit():
        try:
            ipaddress.IPv4Address(host)
        except ValueError as error:
            raise ValueError("is neither a host nor an IPv4 address") from error
    return host


def _check_expiry(micros: int) -> int:
    if micros > _LAST_TIME:
        raise ValueError("must be before the year 10000")
    return micros


_Url = Annotated[
    str, StringConstraints(min_length=1, max_length=2048, pattern=r"^https?://[!-~]+$"), AfterValidator(_check_url)
]
_Host = Annotated[str, StringConstraints(min_length=1, max_length=253), AfterValidator(_check_host)]
_Text = Annotated[str, StringConstraints(min_length=1, max_length=1024)]
_Expiry = Annotated[Time, AfterValidator(_check_expiry), WithJsonSchema({"type": "string", "format": "date-time"})]
_SecretText = Annotated[SecretStr, Field(min_length=1, max_length=16_384)]
_VariableName = Annotated[str, StringConstraints(max_length=255, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
DisplayName = Annotated[str, StringConstraints(max_length=255)]


class NoClientAuth(Request):
    """The token endpoint asks for no secret of the client."""

    type: Literal["none"]


class ClientSecret(Request):
    """The client's secret, sent by HTTP Basic authentication or in the form."""

    type: Literal["client_secret_basic", "client_secret_post"]
    client_secret: Token


class ClientSecretUpdate(Request):
    """Another secret; how it is sent stays as it is."""

    type: Literal["client_secret_basic", "client_secret_post"]
    client_secret: Token | None = None


class RefreshParams(Request):
    """How an expired access token is replaced."""

    client_id: _Text
    """Cannot be changed later."""
    refresh_token: Token
    token_endpoint: _Url
    """Cannot be changed later."""
    token_endpoint_auth: Annotated[NoClientAuth | ClientSecret, Field(discriminator="type")]
    resource: _Text | None = None
    scope: _Text | None = None


class RefreshUpdateParams(Request):
    """What to change of the refresh; `client_id` and `token_endpoint` stay."""

    refresh_token: Token | None = None
    scope: Annotated[str, StringConstraints(max_length=1024)] | None = None
    """An empty string clears it."""
    token_endpoint_auth: ClientSecretUpdate | None = None


class StaticBearerParams(Request):
    """A token that is sent to an MCP server as it is."""

    type: Literal["static_bearer"]
    mcp_server_url: _Url
    """Cannot be changed later."""
    token: Token


class McpOAuthParams(Request):
    """OAuth tokens for an MCP server."""

    type: Literal["mcp_oauth"]
    mcp_server_url: _Url
    """Cannot be changed later."""
    access_token: Token
    expires_at: _Expiry | None = None
    """When the access token expires; in the future. Unknown if left out."""
    refresh: RefreshParams | None = None


class UnrestrictedHosts(Request):
    """The secret may go wherever the environment lets requests go."""

    type: Literal["unrestricted"]


class LimitedHosts(Request):
    """The secret may go to the listed hosts only."""

    type: Literal["limited"]
    allowed_hosts: Annotated[list[_Host], Field(min_length=1, max_length=_MAX_HOSTS)]
    """Up to 16 host names, IPv4 addresses, or names such as `*.example.com`, which stands for every subdomain."""


_Hosts = Annotated[UnrestrictedHosts | LimitedHosts, Field(discriminator="type")]


class InjectionLocation(Request):
    """Where in a request the secret may stand; at least one of them."""

    header: bool | None = None
    """By default true."""
    body: bool | None = None
    """By default false."""


class EnvironmentVariableParams(Request):
    """A secret that replaces a placeholder in outbound requests."""

    type: Literal["environment_variable"]
    secret_name: _VariableName
    """Cannot be changed later."""
    secret_value: _SecretText
    networking: _Hosts
    injection_location: InjectionLocation | None = None


class StaticBearerUpdate(Request):
    """Another token; `mcp_server_url` stays."""

    type: Literal["static_bearer"]
    token: Token | None = None


class McpOAuthUpdate(Request):
    """What to change: a field that is left out stays; so does `mcp_server_url`."""

    type: Literal["mcp_oauth"]
    access_token: Token | None = None
    expires_at: _Expiry | None = None
    """Of the new access token, in the future; null if it is not known."""
    refresh: RefreshUpdateParams | None = None


class EnvironmentVariableUpdate(Request):
    """What to change: a field that is left out or null stays; so does `secret_name`."""

    type: Literal["environment_variable"]
    secret_value: _SecretText | None = None
    networking: _Hosts | None = None
    """Replaces the hosts as a whole."""
    injection_location: InjectionLocation | None = None
    """A location that is left out stays."""


Auth = StaticBearerParams | McpOAuthParams | EnvironmentVariableParams
AuthUpdate = StaticBearerUpdate | McpOAuthUpdate | EnvironmentVariableUpdate


class CredentialCreateParams(Request):
    """A new credential."""

    auth: Annotated[Auth, Field(discriminator="type")]
    """Secrets in it are sealed and never answered."""
    display_name: DisplayName | None = None
    metadata: Metadata | None = None


class CredentialUpdateParams(Request):
    """What to change: a field that is left out or null stays."""

    auth: Annotated[AuthUpdate, Field(discriminator="type")] | None = None
    """Of the same type as before."""
    display_name: VaultName | None = None
    metadata: MetadataPatch | None = None
    """Pairs to set; null deletes a key."""


class CredentialPage(BaseModel):
    """A page of credentials."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    data: list[Credential]
    next_page: str | None
    """Cursor of the next page; null on the last."""

"""Registered runtimes on the wire: a resource of ours, beside the API's."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, StringConstraints
from pydantic_core import Url

from protocol.agents import Alias
from protocol.fields import JsonObject, Request

RUNTIME_PREFIX = "runtime"


def _check_base_url(text: str) -> str:
    try:
        url = Url(text)
    except ValueError as error:
        raise ValueError("must be an address such as `http://127.0.0.1:4096`") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError("must begin with http:// or https://")
    if url.username or url.password:
        raise ValueError("must not hold a user or password: send it as `credential`")
    if url.query or url.fragment:
        raise ValueError("must not hold a query or fragment")
    return text


def same_origin(one: str, other: str) -> bool:
    """Return whether two addresses are of one scheme, host and port."""
    first, second = Url(one), Url(other)
    return (first.scheme, first.host, first.port) == (second.scheme, second.host, second.port)


def _check_alias(alias: str) -> str:
    if alias.startswith(f"{RUNTIME_PREFIX}_"):
        raise ValueError(f"must not begin with `{RUNTIME_PREFIX}_`, as ids do")
    return alias


def _check_credential(credential: SecretStr) -> SecretStr:
    secret = credential.get_secret_value()
    if not (secret.isascii() and secret.isprintable()):
        raise ValueError("must be printable ASCII characters, as it is sent in a header")
    return credential


_Url = StringConstraints(max_length=2048, pattern=r"^https?://[!-~]+$")
BaseUrl = Annotated[str, _Url, AfterValidator(_check_base_url)]
Credential = Annotated[
    SecretStr,
    Field(min_length=1, max_length=16_384, json_schema_extra={"pattern": "^[ -~]+$"}),
    AfterValidator(_check_credential),
]


class RuntimeCreateParams(Request):
    """A runtime to register."""

    alias: Annotated[Alias, AfterValidator(_check_alias)]
    """The name agents refer to it by: up to 63 lower-case letters, digits, `-` and `_`."""
    kind: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    """One of `GET /v1/runtime_kinds`."""
    base_url: BaseUrl
    """Where the runtime listens: http or https, without a user or password."""
    credential: Credential | None = None
    """Sealed at rest, and never answered."""
    options: JsonObject = Field(default_factory=dict)
    """Options of the kind."""


class RuntimeUpdateParams(Request):
    """What to change: a field that is left out stays. Sessions use the change from their next turn on."""

    base_url: BaseUrl | None = None
    """An address of another host needs the credential again."""
    credential: Credential | None = None
    """Null removes it."""
    options: JsonObject | None = None
    """Replaces all options."""


class RuntimeHealth(BaseModel):
    """What the last check said."""

    ok: bool
    detail: str


class Runtime(BaseModel):
    """A registered connection to a place where agents run."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    id: str
    type: Literal["runtime"]
    alias: str
    kind: str
    base_url: str
    options: dict[str, Any]
    has_credential: bool
    capabilities: dict[str, Any]
    """What the runtime can do, as its options leave it."""
    health: RuntimeHealth | None
    """Null until it is checked, and after each change."""
    checked_at: datetime | None
    created_at: datetime
    updated_at: datetime


class RuntimePage(BaseModel):
    """A page of runtimes."""

    data: list[Runtime]
    next_page: str | None


class RuntimeDeleted(BaseModel):
    """A runtime that is gone."""

    id: str
    type: Literal["runtime_deleted"]


class RuntimeKind(BaseModel):
    """A kind of runtime this server has an adapter for."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    type: Literal["runtime_kind"]
    kind: str
    hint: str
    """What a person must do to use it."""
    installed: bool
    capabilities: dict[str, Any] | None
    """Null if its packages are not installed."""
    options: dict[str, Any] | None
    """JSON Schema of its options."""


class RuntimeKindList(BaseModel):
    """Every kind."""

    data: list[RuntimeKind]
    next_page: None

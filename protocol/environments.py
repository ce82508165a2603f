"""Environments on the wire, and how what a client sends becomes the configuration that is answered."""

from typing import Annotated, Any, Literal

from anthropic.types.beta import BetaEnvironment, BetaEnvironmentDeleteResponse
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from protocol.errors import InvalidRequestError
from protocol.fields import Metadata, MetadataPatch, Name, Request

Json = dict[str, Any]

_MAX_PACKAGES = 500
_MAX_HOSTS = 500
MANAGERS = ("apt", "cargo", "gem", "go", "npm", "pip")

_Item = Annotated[str, StringConstraints(min_length=1, max_length=512)]
_Packages = Annotated[list[_Item], Field(max_length=_MAX_PACKAGES)]
_Description = Annotated[str, StringConstraints(max_length=2048)]
_Scope = Literal["organization"]

Environment = BetaEnvironment
EnvironmentDeleted = BetaEnvironmentDeleteResponse


class Packages(Request):
    """Packages to install, each with its version if it matters."""

    type: Literal["packages"] | None = None
    apt: _Packages | None = None
    cargo: _Packages | None = None
    gem: _Packages | None = None
    go: _Packages | None = None
    npm: _Packages | None = None
    pip: _Packages | None = None


class UnrestrictedNetwork(Request):
    """Any address can be reached."""

    type: Literal["unrestricted"]


class LimitedNetwork(Request):
    """Only the named hosts can be reached."""

    type: Literal["limited"]
    allowed_hosts: Annotated[list[_Item], Field(max_length=_MAX_HOSTS)] | None = None
    allow_mcp_servers: bool | None = None
    allow_package_managers: bool | None = None


class CloudConfig(Request):
    """Tools run where the runtime puts them. On update, fields that are left out stay."""

    type: Literal["cloud"]
    networking: Annotated[UnrestrictedNetwork | LimitedNetwork, Field(discriminator="type")] | None = None
    packages: Packages | None = None
    """Under `limited` networking, these need `allow_package_managers`."""


class SelfHostedConfig(Request):
    """Tools run on machines of your own."""

    type: Literal["self_hosted"]


Config = Annotated[CloudConfig | SelfHostedConfig, Field(discriminator="type")]


class EnvironmentCreateParams(Request):
    """A new environment."""

    name: Name
    config: Config | None = None
    """By default `cloud` with unrestricted networking."""
    description: _Description | None = None
    metadata: Metadata | None = None
    scope: _Scope | None = None


class EnvironmentUpdateParams(Request):
    """What to change: a field that is left out stays."""

    name: Name | None = None
    config: Config | None = None
    """Of the same type as before."""
    description: _Description | None = None
    metadata: MetadataPatch | None = None
    """Pairs to set; null or an empty string deletes a key."""
    scope: _Scope | None = None


class EnvironmentPage(BaseModel):
    """A page of environments."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    data: list[Environment]
    next_page: str | None
    """Cursor of the next page; null on the last."""


def resolve_config(config: CloudConfig | SelfHostedConfig, before: Json | None) -> Json:
    """Return a configuration with every default; `before` is the one it updates.

    Raises:
        InvalidRequestError: its type is another than before, or its packages could not be fetched.
    """
    if before is not None and before["type"] != config.type:
        raise InvalidRequestError(
            f"`config.type` is {before['type']!r} and cannot be changed: create another environment",
            error_code="invalid_config_type_change",
        )
    if isinstance(config, SelfHostedConfig):
        return {"type": "self_hosted"}
    resolved = {
        "type": "cloud",
        "networking": _resolve_network(config.networking, before["networking"] if before else None),
        "packages": _resolve_packages(config.packages, before["packages"] if before else None),
    }
    _check_packages(resolved)
    return resolved


def _resolve_network(network: UnrestrictedNetwork | LimitedNetwork | None, before: Json | None) -> Json:
    if network is None:
        return before or {"type": "unrestricted"}
    if isinstance(network, UnrestrictedNetwork):
        return {"type": "unrestricted"}
    resolved: Json = {
        "type": "limited",
        "allowed_hosts": [],
        "allow_mcp_servers": False,
        "allow_package_managers": False,
    }
    if before is not None and before["type"] == "limited":
        resolved |= before
    return resolved | network.model_dump(exclude_none=True)


def _resolve_packages(packages: Packages | None, before: Json | None) -> Json:
    resolved: Json = before or {"type": "packages", **{manager: [] for manager in MANAGERS}}
    return resolved | packages.model_dump(exclude_none=True) if packages is not None else resolved


def _check_packages(config: Json) -> None:
    network = config["networking"]
    if network["type"] != "limited" or network["allow_package_managers"]:
        return
    if any(config["packages"][manager] for manager in MANAGERS):
        raise InvalidRequestError(
            "`config.packages`: under `limited` networking these need `networking.allow_package_managers: true`"
        )

"""Vaults on the wire: what a client sends, answered in the SDK's shapes."""

from typing import Annotated

from anthropic.types.beta import BetaManagedAgentsDeletedVault, BetaManagedAgentsVault
from pydantic import BaseModel, ConfigDict, StringConstraints

from protocol.fields import Metadata, MetadataPatch, Request

Vault = BetaManagedAgentsVault
VaultDeleted = BetaManagedAgentsDeletedVault

VaultName = Annotated[str, StringConstraints(min_length=1, max_length=255)]


class VaultCreateParams(Request):
    """A new vault."""

    display_name: VaultName
    """1 to 255 characters."""
    metadata: Metadata | None = None


class VaultUpdateParams(Request):
    """What to change: a field that is left out or null stays."""

    display_name: VaultName | None = None
    metadata: MetadataPatch | None = None
    """Pairs to set; null deletes a key."""


class VaultPage(BaseModel):
    """A page of vaults."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    data: list[Vault]
    next_page: str | None
    """Cursor of the next page; null on the last."""

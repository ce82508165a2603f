"""Workspaces and API keys on the wire: resources of ours, beside the API's."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints, model_validator

from protocol.content import ReferencedId
from protocol.fields import Name, Request

Scope = Literal["admin", "member", "environment"]
WorkspaceId = Annotated[str, StringConstraints(min_length=1, max_length=64)]


class WorkspaceCreateParams(Request):
    """A new workspace."""

    name: Name


class Workspace(BaseModel):
    """A tenant: owns everything else."""

    id: str
    type: Literal["workspace"]
    name: str
    created_at: datetime


class WorkspacePage(BaseModel):
    """A page of workspaces."""

    data: list[Workspace]
    next_page: str | None


class ApiKeyCreateParams(Request):
    """A new API key."""

    name: Name
    scope: Scope = "member"
    """`admin` may also manage workspaces and keys, of any workspace; `environment` only what a worker of one
    self-hosted environment needs: its work, and its sessions to read and to send results of tools to."""
    environment_id: ReferencedId | None = None
    """Only with scope `environment`, and then required."""
    workspace_id: WorkspaceId | None = None
    """The workspace it opens; by default the one of the key that asks."""

    @model_validator(mode="after")
    def _environment_with_its_scope(self) -> "ApiKeyCreateParams":
        if (self.scope == "environment") is not (self.environment_id is not None):
            raise ValueError('`environment_id` goes with `scope` "environment", and with no other')
        return self


class ApiKey(BaseModel):
    """A key of one workspace."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    id: str
    type: Literal["api_key"]
    workspace_id: str
    name: str
    scope: Scope
    environment_id: str | None
    """Of scope `environment`: the one it serves."""
    hint: str
    """Its last four characters."""
    created_at: datetime
    revoked_at: datetime | None


class NewApiKey(ApiKey):
    """A key just made, with the key itself."""

    key: str
    """Shown this once, and stored only as a hash."""


class ApiKeyPage(BaseModel):
    """A page of API keys."""

    data: list[ApiKey]
    next_page: str | None

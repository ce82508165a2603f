"""Deployments and their runs on the wire; what is answered are the SDK's types."""

from typing import Annotated, Literal

from anthropic.types.beta import BetaManagedAgentsDeployment, BetaManagedAgentsDeploymentRun
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from protocol.agents import Description, NotOffered
from protocol.content import ReferencedId
from protocol.fields import Metadata, MetadataPatch, Name, Request
from protocol.inputs import DeploymentEvents
from protocol.sessions import AgentParams

MAX_EXPRESSION = 256

Deployment = BetaManagedAgentsDeployment
DeploymentRun = BetaManagedAgentsDeploymentRun


class ScheduleParams(Request):
    """When the deployment is to run by itself. It is kept and answered, and does not fire yet."""

    type: Literal["cron"]
    expression: Annotated[str, StringConstraints(min_length=1, max_length=MAX_EXPRESSION)]
    """Minute, hour, day of month, month, day of week, such as `0 9 * * MON-FRI`; or a shortcut such as `@daily`."""
    timezone: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    """A zone of the IANA database, such as `Europe/Berlin` or `UTC`."""


class DeploymentCreateParams(Request):
    """A new deployment."""

    name: Name
    agent: ReferencedId | AgentParams
    """Id of an agent, which pins its latest version, or an object that names a version."""
    environment_id: ReferencedId | None = None
    """Where the tools of its sessions run; the workspace's default environment if left out."""
    initial_events: DeploymentEvents
    """What each of its sessions begins with: 1 to 50 `user.message`, and a `system.message` after the last."""
    description: Description | None = None
    metadata: Metadata | None = None
    schedule: ScheduleParams | None = None
    """Without one, it runs only when it is told to."""
    vault_ids: NotOffered = None
    """Not offered: leave it out or send an empty list."""
    resources: NotOffered = None
    """Not offered: leave it out or send an empty list."""
    budget: NotOffered = None
    """Not offered: leave it out or send null."""


class DeploymentUpdateParams(Request):
    """What to change: a field that is left out stays."""

    name: Name = Field(default_factory=str)
    agent: ReferencedId | AgentParams = Field(default_factory=str)
    """An id pins the latest version anew."""
    environment_id: ReferencedId = Field(default_factory=str)
    initial_events: DeploymentEvents = Field(default_factory=list)
    """Replaces all of them."""
    description: Description | None = None
    """Null or an empty string clears it."""
    metadata: MetadataPatch | None = None
    """Pairs to set; null deletes a key."""
    schedule: ScheduleParams | None = None
    """Replaces it; null clears it."""
    vault_ids: NotOffered = None
    resources: NotOffered = None
    budget: NotOffered = None


class DeploymentPage(BaseModel):
    """A page of deployments."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    data: list[Deployment]
    next_page: str | None
    """Cursor of the next page; null on the last."""


class DeploymentRunPage(BaseModel):
    """A page of runs."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    data: list[DeploymentRun]
    next_page: str | None
    """Cursor of the next page; null on the last."""

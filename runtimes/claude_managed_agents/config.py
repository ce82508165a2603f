"""What can be set: for the registered runtime, and for one agent in it."""

from pydantic import Field

from runtimes.base import Json, RuntimeOptions


class ClaudeManagedAgentsOptions(RuntimeOptions):
    """Options of a registered provider of the Claude Managed Agents API."""

    environment_id: str | None = None
    """Environment of the provider in which its sessions run; without one, a cloud environment is made there once."""
    agent_extra: Json = Field(default_factory=dict)
    """Fields added to the body that makes an agent there, such as `runtime` where the provider is a Waystation."""
    session_extra: Json = Field(default_factory=dict)
    """Fields added to the body that makes a session there, such as `vault_ids` or `resources`."""


class AgentOptions(ClaudeManagedAgentsOptions):
    """The same for one agent: each field it sets goes before the runtime's; the extras are merged, key by key."""


def merge(runtime: Json, agent: Json) -> ClaudeManagedAgentsOptions:
    """Return the options that hold for an agent.

    Raises:
        pydantic.ValidationError: an option is unknown or of the wrong type.
    """
    base = ClaudeManagedAgentsOptions.model_validate(runtime)
    own = AgentOptions.model_validate(agent)
    return ClaudeManagedAgentsOptions(
        environment_id=own.environment_id or base.environment_id,
        agent_extra={**base.agent_extra, **own.agent_extra},
        session_extra={**base.session_extra, **own.session_extra},
    )

"""Agents on the wire: what a client sends, and the SDK's `BetaManagedAgentsAgent` with our field `runtime`."""

from typing import Annotated, Any, Literal

from anthropic.types.beta import BetaManagedAgentsAgent
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from protocol.fields import JsonObject, Metadata, MetadataPatch, Name, Request, Version
from protocol.tools import MAX_TOOLS, McpServer, Tool

MAX_SKILLS = 20
MAX_MCP_SERVERS = 20


def _not_offered(value: object) -> object:
    if value:
        raise ValueError("not offered by this server: leave it out or send null")
    return None


NotOffered = Annotated[None, BeforeValidator(_not_offered)]
"""A field of the API that this server refuses, rather than ignores."""

Alias = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
Description = Annotated[str, StringConstraints(max_length=2048)]
System = Annotated[str, StringConstraints(max_length=100_000)]
Level = Literal["low", "medium", "high", "xhigh", "max"]


class Effort(Request):
    """How hard the model works, as an object."""

    type: Level


class ModelConfig(Request):
    """A model with its settings."""

    id: Name
    """The model, as the runtime names it."""
    speed: Literal["standard", "fast"] | None = None
    effort: Level | Effort | None = None
    """A level, or `{"type": level}`; on update, leaving it out keeps the stored one."""
    inference_geo: Name | None = None


class ServiceAccount(Request):
    """The only execution identity on offer."""

    type: Literal["service_account"]


class Skill(Request):
    """A skill the runtime knows."""

    type: Literal["anthropic", "custom"]
    skill_id: Name
    version: Name | None = None
    """The latest if left out."""


class RuntimeChoice(Request):
    """Which registered runtime runs the agent, and how."""

    alias: Alias
    native_agent_id: Name | None = None
    """An agent that already lives in the runtime and is to be used as it is."""
    options: JsonObject = Field(default_factory=dict)
    """The agent's own options for this runtime."""
    fallbacks: Annotated[list[Any], BeforeValidator(_not_offered), Field(max_length=0)] | None = None
    """Not offered: must be empty."""


class AgentCreateParams(Request):
    """A new agent."""

    name: Name
    model: Name | ModelConfig
    """A model's name as the runtime knows it, or an object with its settings."""
    description: Description | None = None
    system: System | None = None
    """The system prompt, up to 100,000 characters."""
    tools: Annotated[list[Tool], Field(max_length=MAX_TOOLS)] | None = None
    """Up to 256 tools in all."""
    mcp_servers: Annotated[list[McpServer], Field(max_length=MAX_MCP_SERVERS)] | None = None
    """Up to 20, with unique names, each referenced by an `mcp_toolset`."""
    skills: Annotated[list[Skill], Field(max_length=MAX_SKILLS)] | None = None
    metadata: Metadata | None = None
    """Up to 16 pairs. The key `runtime` chooses the runtime, for clients that cannot send the field `runtime`."""
    execution_identity: ServiceAccount | None = None
    multiagent: NotOffered = None
    """Not offered: leave it out or send null."""
    runtime: Alias | RuntimeChoice | None = None
    """The alias of a registered runtime, or an object; without it, the workspace's only one, or `default`."""


class AgentUpdateParams(Request):
    """What to change: a field that is left out stays, null or an empty one clears it."""

    version: Version | None = None
    """The version this update was made for; if the agent has another by now, the answer is 409."""
    name: Name = Field(default_factory=str)
    model: Name | ModelConfig = Field(default_factory=str)
    description: Description | None = None
    system: System | None = None
    tools: Annotated[list[Tool], Field(max_length=MAX_TOOLS)] | None = None
    mcp_servers: Annotated[list[McpServer], Field(max_length=MAX_MCP_SERVERS)] | None = None
    skills: Annotated[list[Skill], Field(max_length=MAX_SKILLS)] | None = None
    metadata: MetadataPatch | None = None
    """Pairs to set; null deletes a key."""
    execution_identity: ServiceAccount | None = None
    multiagent: NotOffered = None
    runtime: Alias | RuntimeChoice | None = None


class AgentRuntime(BaseModel):
    """Which runtime runs the agent."""

    alias: str
    native_agent_id: str | None
    options: dict[str, Any]
    fallbacks: list[Any]


class Agent(BetaManagedAgentsAgent):
    """An agent, at one of its versions."""

    runtime: AgentRuntime


class AgentPage(BaseModel):
    """A page of agents, or of an agent's versions."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    data: list[Agent]
    next_page: str | None
    """Cursor of the next page; null on the last."""

"""Sessions on the wire: what a client sends, and the SDK's `BetaManagedAgentsSession` with our fields."""

from typing import Annotated, Any, Literal

from anthropic.types.beta import BetaManagedAgentsSession, BetaManagedAgentsSessionUsage
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from protocol.agents import MAX_MCP_SERVERS, MAX_SKILLS, ModelConfig, NotOffered, Skill, System
from protocol.content import ReferencedId
from protocol.fields import Metadata, MetadataPatch, Name, Request, Version
from protocol.inputs import MAX_INITIAL_EVENTS, InitialEvent
from protocol.session_resources import MAX_RESOURCES, ResourceParams
from protocol.tools import MAX_TOOLS, McpServer, Tool

Title = Annotated[str, StringConstraints(max_length=2048)]
Tools = Annotated[list[Tool], Field(max_length=MAX_TOOLS)]
McpServers = Annotated[list[McpServer], Field(max_length=MAX_MCP_SERVERS)]


class AgentParams(Request):
    """An agent, at one of its versions."""

    type: Literal["agent"]
    id: ReferencedId
    version: Version | None = None
    """The latest if left out."""


class AgentWithOverridesParams(Request):
    """An agent of which this session changes something; the agent itself stays as it is.

    A field that is left out keeps the agent's value; an empty list, or a null `system`, clears it.
    """

    type: Literal["agent_with_overrides"]
    id: ReferencedId
    version: Version | None = None
    model: Name | ModelConfig = Field(default_factory=str)
    system: System | None = None
    tools: Tools = Field(default_factory=list)
    mcp_servers: McpServers = Field(default_factory=list)
    skills: Annotated[list[Skill], Field(max_length=MAX_SKILLS)] = Field(default_factory=list)


class SessionCreateParams(Request):
    """A new session."""

    agent: ReferencedId | Annotated[AgentParams | AgentWithOverridesParams, Field(discriminator="type")]
    """Id of an agent (its latest version), or an object that names a version or overrides settings."""
    environment_id: ReferencedId | None = None
    """Where its tools run; the workspace's default environment if left out."""
    title: Title | None = None
    metadata: Metadata | None = None
    initial_events: Annotated[list[InitialEvent], Field(max_length=MAX_INITIAL_EVENTS)] | None = None
    """Up to 50 `user.message` events, worked off in order."""
    vault_ids: NotOffered = None
    """Not offered: leave it out or send an empty list."""
    resources: Annotated[list[ResourceParams], Field(max_length=MAX_RESOURCES)] | None = None
    """Up to 100 files and repositories to mount."""
    budget: NotOffered = None
    """Not offered: leave it out or send null."""


class SessionAgentUpdateParams(Request):
    """What to change of the session's agent: each list replaces the one before; one that is left out stays."""

    tools: Tools = Field(default_factory=list)
    mcp_servers: McpServers = Field(default_factory=list)


class SessionUpdateParams(Request):
    """What to change: a field that is left out stays."""

    title: Title | None = None
    """Null clears it."""
    metadata: MetadataPatch | None = None
    """Pairs to set; null deletes a key."""
    agent: SessionAgentUpdateParams | None = None
    """Only while the session is not running; holds from the next turn."""
    vault_ids: NotOffered = None
    budget: NotOffered = None


class SessionRuntime(BaseModel):
    """The registered runtime in which the session lives."""

    id: str
    alias: str
    kind: str


class SessionTemporal(BaseModel):
    """The workflow that drives the session while it owes work."""

    workflow_id: str
    url: str


class SessionEnd(BaseModel):
    """What was observed of the end of the native session."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    observed: bool
    """Whether the end was seen, not only asked for."""
    detail: str
    by: str


class SessionQueue(BaseModel):
    """Inputs that were accepted and not begun."""

    waiting: int


class SessionUsage(BetaManagedAgentsSessionUsage):
    """What the session used, over all its turns."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    cost_source: str | None
    """Where `list_cost` comes from: `runtime`, `genai-prices <version>`, both, or null where there is no cost."""


class Session(BetaManagedAgentsSession):
    """A session."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    usage: SessionUsage

    runtime: SessionRuntime
    temporal: SessionTemporal
    held: str | None
    """Why the queue waits for a person; a new event, or a passing check of the runtime, moves it on."""
    end: SessionEnd | None
    """Of a session that was stopped or archived."""
    queue: SessionQueue


class StoppedSession(Session):
    """A session that was told to stop."""

    state: Literal["stopping", "terminated"]
    """`stopping` while its end is still awaited; the call may be repeated."""


class SessionPage(BaseModel):
    """A page of sessions."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    data: list[Session]
    next_page: str | None
    """Cursor of the next page; null on the last."""
    prev_page: str | None
    """Cursor of the page before; null on the first."""


class Told(BaseModel):
    """An event that told the user what became of a turn."""

    id: str
    type: str
    processed_at: str
    error: dict[str, Any] | None = None
    stop_reason: dict[str, Any] | None = None


class Turn(BaseModel):
    """One native send and all that followed from it."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    id: str
    type: Literal["turn"]
    session_id: str
    number: int
    kind: Literal["message", "answers"]
    phase: Literal["sending", "sent", "done"]
    attempts: int
    """Native sends decided."""
    native: dict[str, Any] | None
    """What the runtime calls the turn; null until it acknowledged it."""
    stop_reason: str | None
    error: str | None
    usage: dict[str, Any]
    failures: dict[str, int]
    """Counts by kind of failure."""
    told: list[Told]
    """The session's status events and errors that stem from it."""
    created_at: str
    sent_at: str | None
    done_at: str | None


class TurnPage(BaseModel):
    """A page of a session's turns."""

    data: list[Turn]
    next_page: str | None

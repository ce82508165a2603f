"""What a runtime can do, as data: served by the API, shown in the docs, and choosing the contract tests."""

from typing import Literal

from pydantic import BaseModel, ConfigDict


class Capabilities(BaseModel):
    """Facts about one kind of runtime; a flag that is false means the operation raises."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    agents: Literal["none", "create"]
    """Whether the runtime keeps agents that we make there (`create`), or is told everything with each send."""
    resume: Literal["none", "history_merge", "cursor"]
    """How a dropped stream is taken up: not at all, by reading the history again, or from a cursor."""
    reconcile: Literal["key", "history", "none"]
    """What `find_turn` can know after a send without an answer. With `none` such a send is told, never repeated."""
    acceptance_delay_s: float = 0.0
    """Seconds after the send's deadline within which the runtime may still accept it."""
    send_timeout_s: float = 30.0
    """Seconds within which a send is acknowledged, or aborted."""
    silence_limit_s: float = 60.0
    """Seconds without any native event or heartbeat after which the runtime is asked for a snapshot."""
    deltas: bool = False
    thinking: bool = False
    interrupt: Literal["native", "none"] = "none"
    approvals: bool = False
    answers: Literal["set", "single"] = "set"
    """Whether all answers to one set of asks go in one call, or each in its own."""
    custom_tools: bool = False
    mcp_servers: bool = False
    """Whether an agent's MCP servers, with their tools and policies, reach the runtime."""
    client_tools: bool = False
    """Whether built-in tools can be left to the client: needed by sessions in a self-hosted environment."""
    files: bool = False
    """Whether files can be mounted into a session, also between turns."""
    repositories: bool = False
    """Whether repositories can be cloned into a session."""
    skills: Literal["none", "own", "provider"] = "none"
    """Whose skills an agent can have: those of this server, or those that the runtime's provider knows by id."""
    usage: Literal["none", "tokens", "tokens_cost"] = "none"
    outlives_worker: bool = False
    """Whether a turn goes on in the runtime when our worker goes away, so that another can attach to it."""
    host_bound: bool = False
    """Whether sessions keep state on the worker's host, so that their turns must run there."""
    system_messages: bool = False
    """Whether a `system.message` can accompany a user's message in mid-conversation."""
    content: tuple[Literal["text", "image", "document"], ...] = ("text",)
    """Blocks of a user message that the runtime takes; others are refused when they are sent."""

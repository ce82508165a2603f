"""Tools on the wire: what a client sends, and how it is resolved into what the API answers."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints

from protocol.fields import MAX_INT32, JsonObject, Request

MAX_TOOLS = 256
_MAX_DOMAINS = 64

BuiltIn = Literal["bash", "edit", "read", "write", "glob", "grep", "web_fetch", "web_search"]
Domains = Annotated[list[Annotated[str, StringConstraints(min_length=1, max_length=253)]],
                    Field(min_length=1, max_length=_MAX_DOMAINS)]  # fmt: skip


def _check_input_schema(schema: dict[str, Any]) -> dict[str, Any]:
    if schema.get("type") != "object":
        raise ValueError('must be a JSON Schema with `"type": "object"`')
    if not isinstance(schema.get("properties", {}), dict | None):
        raise ValueError("`properties` must be an object")
    required = schema.get("required", [])
    if required is not None and not (isinstance(required, list) and all(isinstance(name, str) for name in required)):
        raise ValueError("`required` must be a list of strings")
    return schema


def _check_url(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise ValueError("must begin with http:// or https://")
    return url


class Policy(Request):
    """Whether a tool runs at once, or waits for a person."""

    type: Literal["always_allow", "always_ask", "auto"]


class ToolDefaults(Request):
    """What holds for every tool of a set that has no entry of its own."""

    enabled: bool | None = None
    permission_policy: Policy | None = None


class BuiltInConfig(ToolDefaults):
    """What holds for one built-in tool."""

    name: BuiltIn
    type: BuiltIn | None = None
    allowed_domains: Domains | None = None
    """Of `web_fetch` and `web_search`."""
    blocked_domains: Domains | None = None
    max_content_tokens: Annotated[int, Field(ge=1, le=MAX_INT32)] | None = None
    """Of `web_fetch`."""


class McpToolConfig(ToolDefaults):
    """What holds for one tool of an MCP server."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=128)]


class AgentToolset(Request):
    """The runtime's built-in tools."""

    type: Literal["agent_toolset_20260401"]
    default_config: ToolDefaults | None = None
    configs: Annotated[list[BuiltInConfig], Field(max_length=MAX_TOOLS)] | None = None


class McpToolset(Request):
    """The tools of one of the agent's MCP servers."""

    type: Literal["mcp_toolset"]
    mcp_server_name: Annotated[str, StringConstraints(min_length=1, max_length=255)]
    default_config: ToolDefaults | None = None
    configs: Annotated[list[McpToolConfig], Field(max_length=MAX_TOOLS)] | None = None


class CustomTool(Request):
    """A tool that the client carries out."""

    type: Literal["custom"]
    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,128}$")]
    description: Annotated[str, StringConstraints(min_length=1, max_length=10_000)]
    input_schema: Annotated[JsonObject, AfterValidator(_check_input_schema)]
    """JSON Schema of its input: an object."""


Tool = Annotated[AgentToolset | McpToolset | CustomTool, Field(discriminator="type")]


class McpServer(Request):
    """An MCP server the agent connects to."""

    type: Literal["url"]
    name: Annotated[str, StringConstraints(min_length=1, max_length=255)]
    url: Annotated[str, StringConstraints(max_length=2048), AfterValidator(_check_url)]

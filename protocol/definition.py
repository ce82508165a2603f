"""An agent's definition, as it is stored and answered: every default resolved, every limit kept. Pure."""

from collections.abc import Sequence
from typing import Any

from protocol.agents import AgentCreateParams, AgentUpdateParams, ModelConfig, RuntimeChoice, Skill
from protocol.errors import InvalidRequestError
from protocol.fields import MAX_PAIRS
from protocol.tools import (
    MAX_TOOLS,
    AgentToolset,
    BuiltInConfig,
    CustomTool,
    McpServer,
    McpToolConfig,
    McpToolset,
    Tool,
    ToolDefaults,
)

Json = dict[str, Any]

RUNTIME_KEY = "runtime"
"""The metadata key that chooses a runtime, for clients that cannot send the field."""
_DOMAIN_FIELDS = ("allowed_domains", "blocked_domains", "max_content_tokens")
_WEB_TOOLS = ("web_fetch", "web_search")


def new_definition(params: AgentCreateParams) -> Json:
    """Return the definition of a new agent; its `runtime` is what was asked for, and may be None.

    Raises:
        InvalidRequestError: the parts do not fit together.
    """
    definition = {
        "name": params.name,
        "description": params.description or None,
        "model": resolve_model(params.model, None),
        "system": params.system or None,
        "tools": resolve_tools(params.tools or ()),
        "mcp_servers": resolve_mcp_servers(params.mcp_servers or ()),
        "skills": resolve_skills(params.skills or ()),
        "metadata": params.metadata or {},
        "multiagent": None,
        "execution_identity": {"type": "service_account"},
        "runtime": asked_runtime(params.runtime, params.metadata or {}),
    }
    check_definition(definition)
    return definition


def updated_definition(definition: Json, params: AgentUpdateParams) -> Json:
    """Return the definition with the fields that were sent; equal to the one given if nothing changes.

    `runtime` is None where it was cleared and must be chosen anew.

    Raises:
        InvalidRequestError: the parts do not fit together.
    """
    sent = params.model_fields_set
    updated = dict(definition)
    if "name" in sent:
        updated["name"] = params.name
    if "model" in sent:
        updated["model"] = resolve_model(params.model, definition["model"])
    if "description" in sent:
        updated["description"] = params.description or None
    if "system" in sent:
        updated["system"] = params.system or None
    if "tools" in sent:
        updated["tools"] = resolve_tools(params.tools or ())
    if "mcp_servers" in sent:
        updated["mcp_servers"] = resolve_mcp_servers(params.mcp_servers or ())
    if "skills" in sent:
        updated["skills"] = resolve_skills(params.skills or ())
    _update_metadata(updated, params)
    check_definition(updated)
    return updated


def _update_metadata(updated: Json, params: AgentUpdateParams) -> None:
    patch = params.metadata or {}
    updated["metadata"] = merged_metadata(updated["metadata"], patch)
    if "runtime" in params.model_fields_set:
        updated["runtime"] = asked_runtime(params.runtime, updated["metadata"])
    elif RUNTIME_KEY in patch:
        updated["runtime"] = asked_runtime(None, updated["metadata"])


def merged_metadata(metadata: dict[str, str], patch: dict[str, str | None]) -> dict[str, str]:
    """Return metadata after a merge patch: a string sets a key, null deletes it.

    Raises:
        InvalidRequestError: more than 16 pairs would result.
    """
    merged = metadata | patch
    kept = {key: value for key, value in merged.items() if value is not None}
    if len(kept) > MAX_PAIRS:
        raise InvalidRequestError(
            f"`metadata`: {len(kept)} pairs would result, {MAX_PAIRS} are allowed: delete some with null",
            error_code="invalid_metadata",
        )
    return kept


def asked_runtime(runtime: str | RuntimeChoice | None, metadata: dict[str, str]) -> Json | None:
    """Return the runtime an agent asks for, as the API answers it; None leaves the choice to the workspace."""
    choice = runtime if runtime is not None else metadata.get(RUNTIME_KEY)
    if choice is None:
        return None
    if isinstance(choice, str):
        choice = RuntimeChoice.model_construct(alias=choice)
    return {
        "alias": choice.alias,
        "native_agent_id": choice.native_agent_id,
        "options": choice.options,
        "fallbacks": [],
    }


def resolve_model(model: str | ModelConfig, before: Json | None) -> Json:
    """Return a model with its settings; an effort that is left out stays what it was, null is the runtime's own."""
    if isinstance(model, str):
        model = ModelConfig.model_construct(id=model)
    level = model.effort if isinstance(model.effort, str) or model.effort is None else model.effort.type
    effort = {"type": level} if level else None
    if before is not None and "effort" not in model.model_fields_set:
        effort = before["effort"]
    return {
        "id": model.id,
        "speed": model.speed or "standard",
        "effort": effort,
        "inference_geo": model.inference_geo,
    }


def resolve_skills(skills: Sequence[Skill]) -> list[Json]:
    """Return the skills, each with its version."""
    return [{"type": skill.type, "skill_id": skill.skill_id, "version": skill.version or "latest"} for skill in skills]


def resolve_mcp_servers(servers: Sequence[McpServer]) -> list[Json]:
    """Return the MCP servers."""
    return [server.model_dump() for server in servers]


def resolve_tools(tools: Sequence[Tool]) -> list[Json]:
    """Return the tools, each entry of a set with its settings resolved against the set's defaults."""
    return [_resolve_tool(tool, f"tools.{index}") for index, tool in enumerate(tools)]


def _resolve_tool(tool: Tool, where: str) -> Json:
    if isinstance(tool, CustomTool):
        return tool.model_dump()
    defaults = _resolve_defaults(tool)
    configs = [_resolve_config(config, defaults, where) for config in tool.configs or ()]
    resolved: Json = {"type": tool.type, "default_config": defaults, "configs": configs}
    if isinstance(tool, McpToolset):
        resolved["mcp_server_name"] = tool.mcp_server_name
    return resolved


def _resolve_defaults(toolset: AgentToolset | McpToolset) -> Json:
    given = toolset.default_config or ToolDefaults()
    usual = "always_ask" if isinstance(toolset, McpToolset) else "always_allow"
    policy = given.permission_policy.type if given.permission_policy else usual
    return {"enabled": given.enabled is not False, "permission_policy": {"type": policy}}


def _resolve_config(config: BuiltInConfig | McpToolConfig, defaults: Json, where: str) -> Json:
    policy = config.permission_policy
    resolved: Json = {
        "name": config.name,
        "enabled": defaults["enabled"] if config.enabled is None else config.enabled,
        "permission_policy": {"type": policy.type} if policy else defaults["permission_policy"],
    }
    if isinstance(config, BuiltInConfig):
        if config.type not in (None, config.name):
            raise InvalidRequestError(f"`{where}.configs`: `type` must be the same as `name`, or left out")
        resolved["type"] = config.name
        resolved |= _web_settings(config, where)
    return resolved


def _web_settings(config: BuiltInConfig, where: str) -> Json:
    given = {name: getattr(config, name) for name in _DOMAIN_FIELDS if getattr(config, name) is not None}
    if given and config.name not in _WEB_TOOLS:
        raise InvalidRequestError(f"`{where}.configs`: {', '.join(given)} belong to web_fetch and web_search only")
    if "max_content_tokens" in given and config.name != "web_fetch":
        raise InvalidRequestError(f"`{where}.configs`: `max_content_tokens` belongs to web_fetch only")
    if "allowed_domains" in given and "blocked_domains" in given:
        raise InvalidRequestError(f"`{where}.configs`: send `allowed_domains` or `blocked_domains`, not both")
    return given


def check_definition(definition: Json) -> None:
    """Refuse parts that do not fit together.

    Raises:
        InvalidRequestError: a name twice, too many tools, or an MCP server and its toolset that do not match.
    """
    tools = definition["tools"]
    _check_unique("tools", [tool["name"] for tool in tools if tool["type"] == "custom"])
    _check_unique("tools", [tool["type"] for tool in tools if tool["type"] == "agent_toolset_20260401"])
    for index, tool in enumerate(tools):
        _check_unique(f"tools.{index}.configs", [config["name"] for config in tool.get("configs", ())])
    count = sum(max(1, len(tool.get("configs", ()))) for tool in tools)
    if count > MAX_TOOLS:
        raise InvalidRequestError(f"`tools`: {count} tools in all, {MAX_TOOLS} are allowed")
    _check_mcp(definition)


def _check_mcp(definition: Json) -> None:
    servers = [server["name"] for server in definition["mcp_servers"]]
    toolsets = [tool["mcp_server_name"] for tool in definition["tools"] if tool["type"] == "mcp_toolset"]
    _check_unique("mcp_servers", servers)
    _check_unique("tools", toolsets)
    for name in servers:
        if name not in toolsets:
            raise InvalidRequestError(f"`mcp_servers`: no `mcp_toolset` in `tools` refers to {name!r}: add one")
    for name in toolsets:
        if name not in servers:
            raise InvalidRequestError(f"`tools`: `mcp_toolset` refers to {name!r}, which is not in `mcp_servers`")


def _check_unique(where: str, names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InvalidRequestError(f"`{where}`: {twice[0]!r} stands there twice; names must be unique")

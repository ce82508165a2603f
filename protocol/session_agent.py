"""A session's own copy of its agent: the version it was created with, with the overrides of that session. Pure."""

from typing import Any

from protocol.definition import check_definition, resolve_mcp_servers, resolve_model, resolve_skills, resolve_tools
from protocol.sessions import AgentWithOverridesParams, SessionAgentUpdateParams

Json = dict[str, Any]


def snapshot_of(agent_id: str, version: int, definition: Json) -> Json:
    """Return the copy that a session keeps of an agent."""
    return {"type": "agent", "id": agent_id, "version": version, **definition}


def with_overrides(snapshot: Json, params: AgentWithOverridesParams) -> Json:
    """Return the copy with the fields that the session's creator sent.

    Raises:
        InvalidRequestError: the parts do not fit together.
    """
    sent = params.model_fields_set
    changed = dict(snapshot)
    if "model" in sent:
        changed["model"] = resolve_model(params.model, snapshot["model"])
    if "system" in sent:
        changed["system"] = params.system or None
    if "tools" in sent:
        changed["tools"] = resolve_tools(params.tools)
    if "mcp_servers" in sent:
        changed["mcp_servers"] = resolve_mcp_servers(params.mcp_servers)
    if "skills" in sent:
        changed["skills"] = resolve_skills(params.skills)
    check_definition(changed)
    return changed


def with_update(snapshot: Json, params: SessionAgentUpdateParams) -> Json:
    """Return the copy with other tools or MCP servers; equal to the one given if nothing changes.

    Raises:
        InvalidRequestError: the parts do not fit together.
    """
    changed = dict(snapshot)
    if "tools" in params.model_fields_set:
        changed["tools"] = resolve_tools(params.tools)
    if "mcp_servers" in params.model_fields_set:
        changed["mcp_servers"] = resolve_mcp_servers(params.mcp_servers)
    check_definition(changed)
    return changed

"""What can be set for an OpenCode runtime and for an agent on it, and what an agent's definition means to OpenCode."""

import re
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, field_validator

from runtimes.base import Agent, Json, RuntimeOptions, UnsupportedCapabilityError

KIND = "opencode"
VERSION = "1.18.33"
"""The version of `opencode-ai` this adapter is written for and tested with."""

Action = Literal["allow", "ask", "deny"]

PERMISSIONS: dict[str, str] = {
    "bash": "bash",
    "edit": "edit",
    "write": "edit",
    "read": "read",
    "glob": "glob",
    "grep": "grep",
    "web_fetch": "webfetch",
    "web_search": "websearch",
}
"""The API's names of tools, and the OpenCode permission that governs each. OpenCode has one for `edit` and `write`."""

_STRICTEST: tuple[Action, ...] = ("deny", "ask", "allow")
_MODEL = re.compile(r"^[^/\s]+/\S+$")


def _check_model(value: str | None) -> str | None:
    if value is not None and not _MODEL.match(value):
        raise ValueError("must be `provider/model`, as OpenCode names models")
    return value


class OpenCodeOptions(RuntimeOptions):
    """Options of a registered OpenCode runtime."""

    workspaces_root: str
    """Absolute path on the server's host; each session works in `<workspaces_root>/<session id>`."""
    local_workspaces: bool = False
    """Whether the server runs on the workers' host: the adapter then makes sessions' folders, and deletes them."""
    model: str | None = None
    """`provider/model` for agents whose model is not named so; without it the server's own default is used."""
    username: str = "opencode"
    """User of the server's HTTP basic authentication; the runtime's credential is its password."""
    lost_after_s: float = 20.0
    """Seconds that a turn may stay idle without an end before it counts as lost; a cold start takes up to 10."""

    _model = field_validator("model")(_check_model)

    @field_validator("workspaces_root")
    @classmethod
    def _absolute(cls, value: str) -> str:
        if not value.startswith("/"):
            raise ValueError("must be an absolute path")
        return value.rstrip("/") or "/"


class OpenCodeAgentOptions(BaseModel):
    """An agent's own options on an OpenCode runtime."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    model: str | None = None
    """`provider/model`, before all else."""

    _model = field_validator("model")(_check_model)


def model_of(agent: Agent, options: OpenCodeOptions) -> tuple[str, str] | None:
    """Return provider and model that an agent runs on; None leaves it to the server."""
    own = OpenCodeAgentOptions.model_validate(agent.options).model
    model: Any = agent.definition.get("model")
    named = model.get("id") if isinstance(model, dict) else model
    if own is None and isinstance(named, str) and _MODEL.match(named):
        own = named
    chosen = own or options.model
    if chosen is None:
        return None
    provider, _, name = chosen.partition("/")
    return provider, name


def check_supported(agent: Agent) -> None:
    """Refuse what an agent has and OpenCode cannot be given through its API.

    Raises:
        UnsupportedCapabilityError: it has custom tools or MCP servers.
    """
    if any(tool.get("type") == "custom" for tool in agent.definition.get("tools") or []):
        raise UnsupportedCapabilityError(KIND, "custom_tools")
    if agent.definition.get("mcp_servers"):
        raise UnsupportedCapabilityError(KIND, "mcp_servers")


def _action(config: Json, default: Json) -> Action:
    enabled = config.get("enabled", default.get("enabled", True))
    policy = config.get("permission_policy") or default.get("permission_policy") or {"type": "always_allow"}
    if not enabled:
        return "deny"
    # OpenCode has nobody who could judge for `auto`, so a person is asked.
    return "allow" if policy["type"] == "always_allow" else "ask"


def permission_rules(agent: Agent) -> list[Json]:
    """Return the rules of a session that let its agent use the tools of its definition, and no others.

    The last rule that matches counts. An agent that lives in OpenCode keeps its own rules; only questions to the
    person at a terminal are switched off, since nobody sits there.
    """
    question = {"permission": "question", "pattern": "*", "action": "deny"}
    if agent.native_id is not None:
        return [question]
    actions: dict[str, Action] = {}
    for toolset in agent.definition.get("tools") or []:
        if toolset.get("type") != "agent_toolset_20260401":
            continue
        configs = {config["name"]: config for config in toolset.get("configs") or []}
        for name, permission in PERMISSIONS.items():
            action = _action(configs.get(name, {}), toolset.get("default_config") or {})
            actions[permission] = min(action, actions.get(permission, "allow"), key=_STRICTEST.index)
    rules = [{"permission": name, "pattern": "*", "action": action} for name, action in sorted(actions.items())]
    if actions:
        # OpenCode's own guards: leaving the session's folder, and repeating one call without end.
        guards = ("external_directory", "doom_loop")
        rules += [{"permission": guard, "pattern": "*", "action": "ask"} for guard in guards]
    if agent.definition.get("skills"):
        rules.append({"permission": "skill", "pattern": "*", "action": "allow"})
    return [{"permission": "*", "pattern": "*", "action": "deny"}, *rules, question]

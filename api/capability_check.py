"""What an agent asks for, held against what its runtime can do."""

from collections.abc import Sequence
from typing import Any

from protocol.errors import InvalidRequestError
from runtimes.capabilities import Capabilities

_ASKING = ("always_ask", "auto")


def check_capabilities(definition: dict[str, Any], runtime_kind: str, capabilities: Capabilities) -> None:
    """Refuse an agent that its runtime could not run as it is defined.

    Raises:
        InvalidRequestError: names the field and the capability that is missing.
    """
    if definition["mcp_servers"] and not capabilities.mcp_servers:
        raise _unsupported("mcp_servers.0", "an MCP server", runtime_kind, "mcp_servers")
    _check_skills(definition["skills"], runtime_kind, capabilities)
    for index, tool in enumerate(definition["tools"]):
        if tool["type"] == "custom":
            if not capabilities.custom_tools:
                raise _unsupported(f"tools.{index}", "a custom tool", runtime_kind, "custom_tools")
        elif not capabilities.approvals:
            _check_policies(tool, f"tools.{index}", runtime_kind)


def check_client_tools(alias: str, capabilities: Capabilities) -> None:
    """Refuse a self-hosted environment where the runtime runs the built-in tools itself.

    Raises:
        InvalidRequestError: names the capability that is missing.
    """
    if not capabilities.client_tools:
        raise InvalidRequestError(
            "`environment_id`: a self-hosted environment, whose workers run the tools, needs the capability "
            f"`client_tools`, which the agent's runtime {alias!r} does not have",
            error_code="unsupported_capability",
        )


def _check_skills(skills: Sequence[dict[str, Any]], runtime_kind: str, capabilities: Capabilities) -> None:
    for index, skill in enumerate(skills):
        if capabilities.skills == "none" or (capabilities.skills == "own" and skill["type"] != "custom"):
            raise _unsupported(f"skills.{index}", f"a skill of type `{skill['type']}`", runtime_kind, "skills")


def _check_policies(tool: dict[str, Any], where: str, runtime_kind: str) -> None:
    settings = [("default_config", tool["default_config"])]
    settings += [(f"configs.{config['name']}", config) for config in tool["configs"]]
    for name, setting in settings:
        policy = setting["permission_policy"]["type"]
        if setting["enabled"] and policy in _ASKING:
            raise _unsupported(
                f"{where}.{name}.permission_policy",
                f"`{policy}` (send `always_allow`, or disable the tool)",
                runtime_kind,
                "approvals",
            )


def _unsupported(where: str, what: str, runtime_kind: str, capability: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"`{where}`: {what} needs the capability `{capability}`, which runtime kind {runtime_kind!r} does not have",
        error_code="unsupported_capability",
    )

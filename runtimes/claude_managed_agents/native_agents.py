"""Our agents and an environment for them in the provider, each made once and recognised again by its metadata."""

import hashlib
import json
from collections.abc import Awaitable, Callable
from typing import Any

from runtimes.base import Agent, Json
from runtimes.claude_managed_agents.config import ClaudeManagedAgentsOptions
from runtimes.claude_managed_agents.provider import Provider

_PAGE = 100
_PAGES = 10
_METADATA_PAIRS = 16
_OPTIONAL = ("description", "system", "tools", "mcp_servers", "skills")
_ENVIRONMENT_METADATA = {"waystation": "environment"}

ListPage = Callable[[int, str | None], Awaitable[Json]]


async def upsert_agent(provider: Provider, agent: Agent, options: ClaudeManagedAgentsOptions) -> Json:
    """Return `{agent_id, version, environment_id}`; `version` is None for an agent that is used as it is."""
    if agent.native_id:
        native: Json = {"agent_id": agent.native_id, "version": None}
    else:
        body = agent_body(agent, options.agent_extra)
        made = await _find(provider.list_agents, body["metadata"]) or await provider.create_agent(body)
        native = {"agent_id": made["id"], "version": made.get("version")}
    return {**native, "environment_id": options.environment_id or await _environment(provider)}


def agent_body(agent: Agent, extra: Json) -> Json:
    """Return the body that makes the agent's version; its metadata tells an orphan, and a changed `extra`, apart."""
    definition = agent.definition
    body: Json = {"name": definition["name"], "model": definition["model"]}
    body |= {name: definition[name] for name in _OPTIONAL if definition.get(name)}
    body |= extra
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:32]
    ours = {"waystation_agent": agent.id, "waystation_version": str(agent.version), "waystation_digest": digest}
    # `runtime` names one of our runtimes, and would name another in a second Waystation.
    theirs = [pair for pair in (definition.get("metadata") or {}).items() if pair[0] != "runtime"]
    return {**body, "metadata": {**dict(theirs[: _METADATA_PAIRS - len(ours)]), **ours}}


async def _environment(provider: Provider) -> str:
    found = await _find(provider.list_environments, _ENVIRONMENT_METADATA)
    if found is None:
        config = {"type": "cloud", "networking": {"type": "unrestricted"}}
        body = {"name": "Waystation", "config": config, "metadata": _ENVIRONMENT_METADATA}
        found = await provider.create_environment(body)
    return str(found["id"])


async def _find(list_page: ListPage, metadata: dict[str, Any]) -> Json | None:
    """Return the first object that carries this metadata, within the bound; beyond it, another one is made."""
    wanted = {name: value for name, value in metadata.items() if name.startswith("waystation")}
    page: str | None = None
    for _ in range(_PAGES):
        answer = await list_page(_PAGE, page)
        for item in answer["data"]:
            if wanted.items() <= (item.get("metadata") or {}).items() and not item.get("archived_at"):
                return dict(item)
        page = answer.get("next_page")
        if not page:
            return None
    return None

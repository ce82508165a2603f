"""Which object each made-up id of the tests stands for: `{name}` in a path is made by that maker of `objects`."""

import re
from dataclasses import dataclass

PATHS = (
    "POST /v1/sessions/{equipped_session}/resources/{repository}",
    "POST /v1/vaults/{vault}/credentials/{oauth_credential}",
    "/v1/agents/{agent}",
    "/v1/agents/{agent}/archive",
    "/v1/agents/{agent}/versions",
    "/v1/deployment_runs/{deployment_run}",
    "/v1/deployments/{deployment}",
    "/v1/deployments/{deployment}/archive",
    "/v1/deployments/{deployment}/pause",
    "/v1/deployments/{deployment}/run",
    "/v1/deployments/{paused_deployment}/unpause",
    "/v1/environments/{environment}",
    "/v1/environments/{environment}/archive",
    "/v1/environments/{worksite}/work",
    "/v1/environments/{worksite}/work/poll",
    "/v1/environments/{worksite}/work/stats",
    "/v1/environments/{worksite}/work/{work}",
    "/v1/environments/{worksite}/work/{work}/ack",
    "/v1/environments/{worksite}/work/{taken_work}/heartbeat",
    "/v1/environments/{worksite}/work/{taken_work}/stop",
    "/v1/files/{file}",
    "/v1/files/{file}/content",
    "/v1/memory_stores/{memory_store}",
    "/v1/memory_stores/{memory_store}/archive",
    "/v1/memory_stores/{memory_store}/memories",
    "/v1/memory_stores/{memory_store}/memories/{memory}",
    "/v1/memory_stores/{memory_store}/memory_versions",
    "/v1/memory_stores/{memory_store}/memory_versions/{memory_version}",
    "/v1/memory_stores/{memory_store}/memory_versions/{memory_version}/redact",
    "/v1/models/{model}",
    "/v1/organizations/webhooks/{webhook}",
    "/v1/organizations/webhooks/{webhook}/regenerate_signing_secret",
    "/v1/sessions/{session}",
    "/v1/sessions/{session}/archive",
    "/v1/sessions/{session}/events",
    "/v1/sessions/{session}/events/stream",
    "/v1/sessions/{equipped_session}/resources",
    "/v1/sessions/{equipped_session}/resources/{resource}",
    "/v1/sessions/{session}/threads",
    "/v1/sessions/{session}/threads/{thread}",
    "/v1/sessions/{session}/threads/{thread}/archive",
    "/v1/sessions/{session}/threads/{thread}/events",
    "/v1/sessions/{session}/threads/{thread}/stream",
    "/v1/skills/{skill}",
    "/v1/skills/{skill}/versions",
    "/v1/skills/{skill}/versions/{skill_version}",
    "/v1/skills/{skill}/versions/{skill_version}/content",
    "/v1/user_profiles/{user_profile}",
    "/v1/user_profiles/{user_profile}/action_urls",
    "/v1/user_profiles/{user_profile}/enrollment_url",
    "/v1/vaults/{vault}",
    "/v1/vaults/{vault}/archive",
    "/v1/vaults/{vault}/credentials",
    "/v1/vaults/{vault}/credentials/{credential}",
    "/v1/vaults/{vault}/credentials/{credential}/archive",
    "/v1/vaults/{vault}/credentials/{oauth_credential}/mcp_oauth_validate",
)
"""The first that fits counts; without a method, it holds for all."""

LISTS = {
    "/v1/agents": "agent",
    "/v1/agents/{agent}/versions": "agent_version",
    "/v1/deployment_runs": "deployment_run",
    "/v1/deployments": "deployment",
    "/v1/environments": "environment",
    "/v1/environments/{worksite}/work": "further_work",
    "/v1/files": "listed_file",
    "/v1/memory_stores": "memory_store",
    "/v1/memory_stores/{memory_store}/memories": "memory",
    "/v1/memory_stores/{memory_store}/memory_versions": "memory",
    "/v1/organizations/webhooks": "webhook",
    "/v1/sessions": "session",
    "/v1/sessions/{session}/events": "event",
    "/v1/sessions/{equipped_session}/resources": "resource",
    "/v1/sessions/{session}/threads/{thread}/events": "event",
    "/v1/skills": "skill",
    "/v1/skills/{skill}/versions": "skill_version",
    "/v1/user_profiles": "user_profile",
    "/v1/vaults": "vault",
    "/v1/vaults/{vault}/credentials": "credential",
}
"""What a list holds: two are made before it is asked for, so that there is a second page."""

PAGED = {*LISTS, "/v1/models", "/v1/sessions/{session}/threads"}
"""Lists whose made-up cursors are replaced by live ones."""

FILTERED = {
    "deployment_id": {"/v1/sessions": "deployed_session"},
    "scope_id": {"/v1/files": "scoped_file"},
}
"""What a list holds when it is asked for with this filter."""

QUERY = {
    ("agent_id", "agent_id"): "agent",
    ("deployment_id", "deployment_id"): "deployment",
    ("expected_content_sha256", "expected_content_sha256"): "content_sha256",
    ("ids[]", "string"): "files",
    ("memory_id", "memory_id"): "memory",
    ("memory_store_id", "memory_store_id"): "memory_store",
    ("scope_id", "scope_id"): "session",
    ("session_id", "session_id"): "session",
}
"""Id by parameter and made-up value."""

BODY = {
    "agent": "agent",
    "agents": "agent",
    "content_sha256": "content_sha256",
    "environment_id": "environment",
    "file_id": "file",
    "predefined_agents": "agent",
    "vault_ids": "vault",
}
"""Id by the field that holds it, or a list of it."""

ANYWHERE = {"agent_011CZkYqphY8vELVzwCUpqiQ": "agent"}
"""Id by made-up value, in whatever field of a body."""

UNIQUE = {"/v1/user_profiles": "external_id"}
"""A field of which each value is given once: who has it is deleted before it is given anew."""

_NAME = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Route:
    """A path with the names of its ids, in their order."""

    template: str
    names: tuple[str, ...]

    def path(self, ids: dict[str, str]) -> str:
        """Return the path with live ids."""
        return _NAME.sub(lambda found: ids[found[1]], self.template)


def _compiled(path: str) -> tuple[str, re.Pattern[str], Route]:
    method, _, template = path.rpartition(" ")
    pattern = re.compile(_NAME.sub("[^/]+", template))
    return method, pattern, Route(template, tuple(_NAME.findall(template)))


_ROUTES = tuple(_compiled(path) for path in PATHS)


def find(method: str, path: str) -> Route:
    """Return the route of a request; a path without ids is one of its own."""
    for only, pattern, route in _ROUTES:
        if only in ("", method) and pattern.fullmatch(path):
            return route
    return Route(path, ())

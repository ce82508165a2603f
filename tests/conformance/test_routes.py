import pytest

from tests.conformance import routes
from tests.conformance.objects import Objects


@pytest.mark.parametrize(
    ("method", "path", "template"),
    [
        ("GET", "/v1/agents", "/v1/agents"),
        ("GET", "/v1/agents/agent_011CZkYpogX7uDKUyvBTophP/versions", "/v1/agents/{agent}/versions"),
        ("GET", "/v1/environments/env_1/work/poll", "/v1/environments/{worksite}/work/poll"),
        ("GET", "/v1/environments/env_1/work/work_id", "/v1/environments/{worksite}/work/{work}"),
        ("GET", "/v1/sessions/s/resources/r", "/v1/sessions/{equipped_session}/resources/{resource}"),
        ("POST", "/v1/sessions/s/resources/r", "/v1/sessions/{equipped_session}/resources/{repository}"),
        ("POST", "/v1/deployments/d/unpause", "/v1/deployments/{paused_deployment}/unpause"),
        ("GET", "/v1/dreams/dream_id", "/v1/dreams/dream_id"),
    ],
)
def test_finds_the_route(method: str, path: str, template: str):
    assert routes.find(method, path).template == template


def test_fills_in_the_ids():
    route = routes.find("GET", "/v1/vaults/v/credentials/c")
    assert route.names == ("vault", "credential")
    assert route.path({"vault": "vlt_1", "credential": "vcrd_1"}) == "/v1/vaults/vlt_1/credentials/vcrd_1"


def test_every_name_has_a_maker():
    names = {name for path in routes.PATHS for name in routes.find(*_asked(path)).names}
    names |= set(routes.LISTS.values()) | set(routes.ANYWHERE.values())
    names |= {name for by_template in routes.FILTERED.values() for name in by_template.values()}
    assert not {name for name in names if not callable(getattr(Objects, name, None))}


def _asked(path: str) -> tuple[str, str]:
    method, _, template = path.rpartition(" ")
    return method or "GET", template

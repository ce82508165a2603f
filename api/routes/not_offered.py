"""Dreams and tunnels: parts of the API that live in Anthropic's own service. Each operation says so."""

from collections.abc import Awaitable, Callable
from typing import Final, NoReturn

from fastapi import APIRouter

from api.auth import CallerDep
from api.body import JsonRoute
from api.errors import ErrorEnvelope
from protocol.errors import InvalidRequestError

router = APIRouter(route_class=JsonRoute)

_DREAMS: Final = "dreams are not offered by this server: they need a hosted service that works through stored memories"
_TUNNELS: Final = (
    "tunnels are not offered by this server: give the runtime an MCP server whose address it can reach itself"
)
_TUNNEL = "/v1/tunnels/{tunnel_id}"
_OPERATIONS: Final = (
    ("POST", "/v1/dreams", "create_dream", _DREAMS),
    ("GET", "/v1/dreams", "list_dreams", _DREAMS),
    ("GET", "/v1/dreams/{dream_id}", "retrieve_dream", _DREAMS),
    ("POST", "/v1/dreams/{dream_id}/archive", "archive_dream", _DREAMS),
    ("POST", "/v1/dreams/{dream_id}/cancel", "cancel_dream", _DREAMS),
    ("POST", "/v1/tunnels", "create_tunnel", _TUNNELS),
    ("GET", "/v1/tunnels", "list_tunnels", _TUNNELS),
    ("GET", _TUNNEL, "retrieve_tunnel", _TUNNELS),
    ("POST", f"{_TUNNEL}/archive", "archive_tunnel", _TUNNELS),
    ("POST", f"{_TUNNEL}/reveal_token", "reveal_tunnel_token", _TUNNELS),
    ("POST", f"{_TUNNEL}/rotate_token", "rotate_tunnel_token", _TUNNELS),
    ("POST", f"{_TUNNEL}/certificates", "create_tunnel_certificate", _TUNNELS),
    ("GET", f"{_TUNNEL}/certificates", "list_tunnel_certificates", _TUNNELS),
    ("GET", f"{_TUNNEL}/certificates/{{certificate_id}}", "retrieve_tunnel_certificate", _TUNNELS),
    ("POST", f"{_TUNNEL}/certificates/{{certificate_id}}/archive", "archive_tunnel_certificate", _TUNNELS),
)


def _refusal(reason: str) -> Callable[..., Awaitable[NoReturn]]:
    async def refuse(_caller: CallerDep) -> NoReturn:
        raise InvalidRequestError(reason)

    return refuse


def _path_parameters(path: str) -> list[dict[str, object]]:
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    return [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]


for _method, _path, _name, _reason in _OPERATIONS:
    router.add_api_route(
        _path,
        _refusal(_reason),
        methods=[_method],
        name=_name,
        description=f"Refused: {_reason}.",
        tags=["Not offered"],
        status_code=InvalidRequestError.status,
        response_model=ErrorEnvelope,
        openapi_extra={"parameters": _path_parameters(_path)},
    )

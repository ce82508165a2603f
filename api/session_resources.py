"""Resources of a session, between the wire and the database: what the runtime must be able to do, and sealed tokens."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Connection, RowMapping

from api.deps import AppState
from protocol.errors import InvalidRequestError
from protocol.session_resources import (
    FileResourceParams,
    RepositoryResourceParams,
    detail_of,
    mount_path_of,
)
from protocol.timestamps import to_rfc3339
from runtimes.capabilities import Capabilities
from store.repositories.session_resources import NewResource, new_resource_id, resources_of

Json = dict[str, Any]
Params = FileResourceParams | RepositoryResourceParams


def check_resources(
    state: AppState, capabilities: Capabilities, alias: str, asked: Sequence[Params], field: str = "resources."
) -> None:
    """Refuse resources that the session's runtime cannot be given.

    Raises:
        InvalidRequestError: names the capability that is missing, or the hosts that are allowed.
    """
    for place, params in enumerate(asked):
        where = f"`{field}{place}`: " if field else ""
        needed, has = ("files", capabilities.files)
        if isinstance(params, RepositoryResourceParams):
            needed, has = ("repositories", capabilities.repositories)
            _check_origin(state, params.url, where)
        if not has:
            raise InvalidRequestError(
                f"{where}a resource of type `{params.type}` needs the capability `{needed}`, "
                f"which the session's runtime {alias!r} does not have",
                error_code="unsupported_capability",
            )


def _check_origin(state: AppState, url: str, where: str) -> None:
    origins = [origin.strip().rstrip("/") for origin in state.settings.repository_origins.split(",")]
    parts = urlsplit(url)
    if f"{parts.scheme}://{parts.netloc}".lower() not in origins:
        raise InvalidRequestError(f"{where}`url`: repositories are cloned from {', '.join(origins)} only")


def new_resources(state: AppState, workspace_id: str, asked: Sequence[Params]) -> list[NewResource]:
    """Return resources to store, with their tokens sealed."""
    return [_new_resource(state, workspace_id, params) for params in asked]


def _new_resource(state: AppState, workspace_id: str, params: Params) -> NewResource:
    resource_id = new_resource_id()
    token = None
    if isinstance(params, RepositoryResourceParams) and params.authorization_token is not None:
        token = state.adapters.vault.seal(params.authorization_token, workspace_id, resource_id)
    return NewResource(resource_id, params.type, mount_path_of(params), detail_of(params), token)


def resource_json(row: RowMapping) -> Json:
    """Return a resource in the API's shape."""
    return {
        "id": row["id"],
        "type": row["type"],
        "mount_path": row["mount_path"],
        **row["detail"],
        "created_at": to_rfc3339(row["created_at"]),
        "updated_at": to_rfc3339(row["updated_at"]),
    }


def with_resources(db: Connection, rows: Sequence[RowMapping]) -> list[Json]:
    """Return sessions' rows, each with its `resources` in the API's shape."""
    found = resources_of(db, [row["id"] for row in rows])
    return [_with(row, found[row["id"]]) for row in rows]


def _with(row: Mapping[Any, Any], resources: Sequence[RowMapping]) -> Json:
    return {**row, "resources": [resource_json(resource) for resource in resources]}

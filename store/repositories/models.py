"""The models that a workspace's agents name, which are all that this server knows of."""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy import Connection

from protocol.errors import NotFoundError
from store.tables import agent_versions, agents

_MODEL = agent_versions.c.definition["model"]["id"].as_string()
_NAMED = (
    sa.select(_MODEL.label("id"))
    .distinct()
    .join_from(
        agents,
        agent_versions,
        (agent_versions.c.agent_id == agents.c.id) & (agent_versions.c.version == agents.c.version),
    )
    .where(agents.c.workspace_id == sa.bindparam("workspace"), agents.c.archived_at.is_(None))
    .subquery()
)


def list_models(
    db: Connection, workspace_id: str, *, limit: int, after_id: str | None, before_id: str | None
) -> Sequence[str]:
    """Return models in the order of their names, and one more than the limit if there are more.

    They follow `after_id`, or else are the last before `before_id`; the one too many is at the far end.
    """
    statement = sa.select(_NAMED.c.id)
    if before_id is not None:
        statement = statement.where(_NAMED.c.id < before_id).order_by(_NAMED.c.id.desc())
    else:
        statement = statement.order_by(_NAMED.c.id.asc())
        if after_id is not None:
            statement = statement.where(_NAMED.c.id > after_id)
    found = list(db.execute(statement.limit(limit + 1), {"workspace": workspace_id}).scalars())
    return found[::-1] if before_id is not None else found


def check_model(db: Connection, workspace_id: str, model_id: str) -> None:
    """Refuse a model that no agent names.

    Raises:
        NotFoundError: no agent of the workspace that is not archived has this model.
    """
    statement = sa.select(_NAMED.c.id).where(_NAMED.c.id == model_id)
    if db.execute(statement, {"workspace": workspace_id}).first() is None:
        raise NotFoundError(f"no agent of this workspace names the model {model_id!r}")

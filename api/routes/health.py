"""Whether the process lives, can serve, and what it is. None of these needs an API key."""

import asyncio
from typing import Any, Literal

import sqlalchemy as sa
from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict

from api.body import JsonRoute
from api.deps import StateDep, answer
from protocol.version import VERSION

router = APIRouter(tags=["Health"], route_class=JsonRoute)

_DATABASE_LIMIT_S = 5.0


class Live(BaseModel):
    """The process answers."""

    status: Literal["ok"]


class Ready(BaseModel):
    """What the process can reach."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    status: Literal["ok", "unavailable"]
    database: bool
    temporal: bool | None
    """Null if this process does not know."""
    kinds_without_worker: list[str] | None
    """Kinds of registered runtimes that no live worker serves; null if this process does not know."""


class Version(BaseModel):
    """What runs here."""

    version: str


@router.get("/livez", response_model=Live)
async def livez() -> Response:
    """Tell whether the process lives."""
    return answer({"status": "ok"})


@router.get("/readyz", response_model=Ready, responses={503: {"model": Ready, "description": "The database is away"}})
async def readyz(state: StateDep) -> Response:
    """Tell whether requests can be served: 503 only if the database is away."""
    database = True
    try:
        async with asyncio.timeout(_DATABASE_LIMIT_S):
            await state.store.read(lambda db: db.execute(sa.select(1)).scalar())
    except (sa.exc.SQLAlchemyError, OSError):
        database = False
    told: dict[str, Any] = {"temporal": None, "kinds_without_worker": None, **await state.engine_status()}
    body = {"status": "ok" if database else "unavailable", "database": database, **told}
    return answer(body, 200 if database else 503)


@router.get("/version", response_model=Version)
async def version() -> Response:
    """Tell the version that runs."""
    return answer({"version": VERSION})

"""What every route may ask for: the application's state, as one object made at start."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Annotated, Any, Protocol

from fastapi import Depends, Request, Response
from pydantic_core import to_json

from api.adapters import Adapters
from settings import Settings
from store.blobs import Blobs
from store.engine import Store


class Waker(Protocol):
    """Tells the engine that a session owes work."""

    def wake(self, session_id: str, *, signal: bool = False) -> None:
        """Have the session looked at soon. Never waits, never fails: the reconciler finds what was not told."""


class Unwaking:
    """A waker for processes without an engine: whoever reconciles will find the session."""

    def wake(self, session_id: str, *, signal: bool = False) -> None:
        """Do nothing."""


async def _unknown() -> dict[str, Any]:
    return {}


@dataclass
class AppState:
    """Everything the routes share. `live` is the bus of new events."""

    settings: Settings
    store: Store
    adapters: Adapters
    blobs: Blobs
    waker: Waker = field(default_factory=Unwaking)
    live: Any = None
    engine_status: Callable[[], Awaitable[dict[str, Any]]] = _unknown
    """More keys for `/readyz`: `temporal` (reachable or not), `kinds_without_worker`."""
    running: Callable[[], AbstractAsyncContextManager[None]] = nullcontext
    """What runs beside the application, for as long as it serves."""
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the process is told to end, so that open streams end too."""


async def app_state(request: Request) -> AppState:
    """Return the application's state."""
    state: AppState = request.app.state.waystation
    return state


StateDep = Annotated[AppState, Depends(app_state)]


def answer(content: Any, status: int = 200) -> Response:
    """Return a JSON response; what a route returns this way is not validated again."""
    return Response(to_json(content), status_code=status, media_type="application/json")

"""The application: every router, one state, and what surrounds each request."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI

from api import errors
from api.adapters import Adapters
from api.body import BodyLimit
from api.deps import AppState
from api.openapi import describe_api
from api.request_log import RequestLog
from api.routes import (
    agents,
    credentials,
    deployment_runs,
    deployments,
    environments,
    events,
    files,
    health,
    keys,
    memories,
    memory_stores,
    memory_versions,
    models,
    not_offered,
    runtimes,
    session_resources,
    sessions,
    skills,
    stream,
    threads,
    user_profiles,
    vaults,
    webhooks,
    work,
    workspaces,
)
from api.uploads import upload_limits
from protocol.version import VERSION
from security.vault import open_vault
from settings import Settings
from store.blobs import open_blobs
from store.engine import Store, open_store

# Tried in this order: the busiest first.
ROUTERS: tuple[APIRouter, ...] = (
    events.router,
    stream.router,
    sessions.router,
    threads.router,
    session_resources.router,
    agents.router,
    work.router,
    environments.router,
    memories.router,
    memory_versions.router,
    memory_stores.router,
    credentials.router,
    vaults.router,
    deployments.router,
    deployment_runs.router,
    files.router,
    skills.router,
    runtimes.router,
    workspaces.router,
    keys.router,
    user_profiles.router,
    webhooks.router,
    models.router,
    not_offered.router,
    health.router,
)


def new_state(settings: Settings, store: Store | None = None) -> AppState:
    """Return the state of an application; without a store, the one the settings name is opened."""
    secret = settings.master_key.get_secret_value() if settings.master_key else None
    vault = open_vault(secret, settings.state_dir)
    blobs = open_blobs(settings.blobs_url, settings.blobs_endpoint, settings.state_dir)
    return AppState(settings, store or open_store(settings.database_url), Adapters(vault), blobs)


def create_app(state: AppState) -> FastAPI:
    """Return the application; it runs what the state has running beside it, and closes its store at the end."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        try:
            async with state.running():
                yield
                state.closing.set()
        finally:
            await state.store.close()

    app = FastAPI(
        title="Waystation",
        summary="One API for every agent runtime, and every session durable.",
        version=VERSION,
        lifespan=lifespan,
        redirect_slashes=False,
        redoc_url=None,
        separate_input_output_schemas=False,
    )
    app.state.waystation = state
    for router in ROUTERS:
        app.router.routes.extend(router.routes)
    errors.install(app, ROUTERS)
    describe_api(app)
    app.add_middleware(BodyLimit, max_bytes=state.settings.max_body_bytes, uploads=upload_limits(state.settings))
    app.add_middleware(RequestLog)  # added last, so outermost: a refused body has its id and its line too
    return app

"""`python -m benchmarks.baseline.api PORT DATABASE_URL`: one route that signals, and one that commits."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import sqlalchemy as sa
import uvicorn
from fastapi import FastAPI, Response
from pydantic import BaseModel
from sqlalchemy import Connection
from temporalio.client import Client
from temporalio.envconfig import ClientConfig

from benchmarks.baseline.messages import SAY
from store.engine import Store, open_store

_notes = sa.Table("notes", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True), sa.Column("text", sa.String))
_OK = b'{"ok":true}'


class Message(BaseModel):
    """What is said."""

    text: str


def create_app(store: Store) -> FastAPI:
    """Return the application."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.client = await Client.connect(**ClientConfig.load_client_connect_config())
        await store.write(_notes.metadata.create_all)
        yield
        await store.close()

    app = FastAPI(lifespan=lifespan)

    @app.post("/sessions/{session_id}/messages")
    async def say(session_id: str, message: Message) -> Response:
        await app.state.client.get_workflow_handle(session_id).signal(SAY, message.text)
        return Response(_OK, media_type="application/json")

    @app.post("/notes")
    async def note() -> Response:
        await store.write(_add_note)
        return Response(_OK, media_type="application/json")

    return app


def _add_note(db: Connection) -> None:
    db.execute(sa.insert(_notes).values(text="x"))


def main(port: int, database_url: str) -> None:
    """Serve on this port."""
    app = create_app(open_store(database_url))
    uvicorn.run(app, port=port, http="httptools", loop="uvloop", access_log=False, log_level="warning")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])

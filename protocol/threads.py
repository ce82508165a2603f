"""Threads on the wire. A session has one, its primary thread: what is told of it is told of the session."""

from collections.abc import Mapping
from typing import Any

from anthropic.types.beta.sessions import BetaManagedAgentsSessionThread
from pydantic import BaseModel, ConfigDict

from protocol.ids import derived_id

Json = dict[str, Any]

Thread = BetaManagedAgentsSessionThread


class ThreadPage(BaseModel):
    """A page of threads."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    data: list[Thread]
    next_page: str | None
    """Cursor of the next page; null on the last."""


def primary_thread_id(session_id: str) -> str:
    """Return the id of a session's primary thread, the same whenever it is asked."""
    return derived_id("sthr", session_id)


def thread_answer(session: Json, row: Mapping[Any, Any]) -> Json:
    """Return the primary thread of the API's session; `row` has the session's columns."""
    agent = {name: value for name, value in session["agent"].items() if name not in ("multiagent", "runtime")}
    ran = row["turn_count"] > 0
    was_idle = row["turn_count"] > (row["open_turn_id"] is not None)
    return {
        "id": primary_thread_id(session["id"]),
        "type": "session_thread",
        "session_id": session["id"],
        "parent_thread_id": None,
        "workflow_run_id": None,
        "agent": agent,
        "status": session["status"],
        "stats": session["stats"] if ran else None,
        "usage": session["usage"] if was_idle else None,
        "created_at": session["created_at"],
        "updated_at": session["updated_at"],
        "archived_at": session["archived_at"],
    }

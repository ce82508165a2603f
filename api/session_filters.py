"""The list of sessions: its filters as they stand in the query, and its pages, which lead both ways."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Annotated, Literal

from fastapi import Depends, Query
from sqlalchemy import Connection, RowMapping

from api.created_at import CreatedAtDep
from api.pages import PageParams, decode_cursor, encode_cursor
from api.session_resources import Json, with_resources
from protocol.fields import Version
from store.repositories.sessions import SessionFilters, list_sessions

Order = Literal["asc", "desc"]
Status = Literal["rescheduling", "running", "idle", "terminated"]
Statuses = list[Status]


@dataclass(frozen=True, slots=True)
class SessionList:
    """Which sessions are asked for, and in which order of `created_at`."""

    filters: SessionFilters
    order: Order
    nothing: bool
    """Whether the filters name something that no session has here."""

    def binding(self) -> list[object]:
        """Return what a cursor of this list is bound to."""
        return ["sessions", self.order, self.nothing, *astuple(self.filters)]


async def _statuses(
    statuses: Annotated[Statuses | None, Query(alias="statuses[]", max_length=16)] = None,
    plain: Annotated[Statuses | None, Query(alias="statuses", max_length=16, include_in_schema=False)] = None,
) -> tuple[str, ...]:
    return tuple(sorted({*(statuses or ()), *(plain or ())}))


async def session_list(
    created: CreatedAtDep,
    statuses: Annotated[tuple[str, ...], Depends(_statuses)],
    agent_id: str | None = None,
    agent_version: Annotated[Version | None, Query(description="Only with `agent_id`.")] = None,
    deployment_id: Annotated[str | None, Query(description="Only sessions that runs of it made.")] = None,
    memory_store_id: Annotated[str | None, Query(description="No session has one: the list is empty.")] = None,
    include_archived: bool = False,
    order: Order = "desc",
) -> SessionList:
    """Read the filters of the list of sessions."""
    filters = SessionFilters(
        agent_id=agent_id,
        agent_version=agent_version,
        deployment_id=deployment_id,
        created=created,
        statuses=statuses,
        include_archived=include_archived,
    )
    return SessionList(filters, order, memory_store_id is not None)


SessionListDep = Annotated[SessionList, Depends(session_list)]


@dataclass(frozen=True, slots=True)
class FoundPage:
    """A page of sessions with their resources, and the cursors of its neighbours."""

    rows: Sequence[Json]
    next_page: str | None
    prev_page: str | None


def read_page(db: Connection, workspace_id: str, asked: SessionList, page: PageParams) -> FoundPage:
    """Return the page that the cursor leads to.

    Raises:
        InvalidRequestError: the cursor is none, or one of another list.
    """
    binding = asked.binding()
    backwards, after = False, None
    if page.page is not None:
        direction, created_at, session_id = decode_cursor(page.page, binding, (str, int, str))
        backwards, after = direction == "prev", (created_at, session_id)
    if asked.nothing:
        return FoundPage([], None, None)
    ascending = (asked.order == "asc") is not backwards
    found = list_sessions(db, workspace_id, asked.filters, ascending=ascending, limit=page.limit, after=after)
    more, rows = len(found) > page.limit, list(found[: page.limit])
    if backwards:
        rows.reverse()
    has_next, has_prev = (True, more) if backwards else (more, after is not None)

    def cursor(direction: str, row: RowMapping) -> str:
        return encode_cursor(binding, (direction, row["created_at"], row["id"]))

    return FoundPage(
        with_resources(db, rows),
        cursor("next", rows[-1]) if rows and has_next else None,
        cursor("prev", rows[0]) if rows and has_prev else None,
    )

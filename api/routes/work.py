"""Work of self-hosted environments: sessions whose tools run on machines of one's own."""

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Response
from sqlalchemy import Connection, RowMapping

from api.auth import CallerDep
from api.body import JsonRoute
from api.deps import AppState, StateDep, answer
from api.pages import PageDep, keyset, next_cursor
from api.resends import AttemptDep, Done, answer_once
from protocol.definition import merged_metadata
from protocol.timestamps import to_rfc3339
from protocol.work import (
    DEFAULT_RECLAIM_MS,
    MAX_BLOCK_MS,
    MAX_HEARTBEAT,
    MAX_RECLAIM_MS,
    MAX_TTL_S,
    Work,
    WorkHeartbeat,
    WorkPage,
    WorkStats,
    WorkStopParams,
    WorkUpdateParams,
    heartbeat_answer,
    work_answer,
)
from store.repositories import work
from store.repositories.environments import check_self_hosted

Json = dict[str, Any]

router = APIRouter(prefix="/v1/environments/{environment_id}/work", tags=["Work"], route_class=JsonRoute)

_LOOK_AGAIN_S: Final = 0.1


@router.get("", response_model=WorkPage)
async def list_work(environment_id: str, state: StateDep, caller: CallerDep, page: PageDep) -> Response:
    """List work of an environment, newest first."""
    filters = ("work", environment_id)

    def read(db: Connection) -> Any:
        check_self_hosted(db, caller.workspace_id, environment_id)
        after = keyset(page, filters)
        return work.list_work(db, caller.workspace_id, environment_id, limit=page.limit, after=after)

    rows = await state.store.read(read)
    data = [work_answer(row) for row in rows[: page.limit]]
    return answer({"data": data, "next_page": next_cursor(rows, page, filters)})


@router.get("/poll", response_model=Work | None)
async def poll_work(
    environment_id: str,
    state: StateDep,
    caller: CallerDep,
    block_ms: Annotated[int | None, Query(ge=1, le=MAX_BLOCK_MS, description="How long to wait for work.")] = None,
    reclaim_older_than_ms: Annotated[
        int, Query(ge=0, le=MAX_RECLAIM_MS, description="Take work over that was polled so long ago, unacknowledged.")
    ] = DEFAULT_RECLAIM_MS,
) -> Response:
    """Take the oldest free work, or null if there is none; acknowledge it before another poll may take it over."""
    workspace_id = caller.workspace_id
    check = partial(check_self_hosted, workspace_id=workspace_id, environment_id=environment_id)
    await state.store.read(check)
    give_up = time.monotonic() + (block_ms or 0) / 1000
    while True:
        row = await _take(state, workspace_id, environment_id, reclaim_older_than_ms * 1000)
        left_s = give_up - time.monotonic()
        if row is not None or left_s <= 0 or state.closing.is_set():
            return answer(None if row is None else work_answer(row))
        await asyncio.sleep(min(left_s, _LOOK_AGAIN_S))


async def _take(state: AppState, workspace_id: str, environment_id: str, unacknowledged_us: int) -> RowMapping | None:
    """Look first, and write only if there is something: polls that find nothing cost one read."""
    look = partial(work.has_free, environment_id=environment_id, unacknowledged_us=unacknowledged_us)
    free, abandoned = await state.store.read(look)
    for work_id in abandoned:
        await state.store.write(
            partial(work.stop_abandoned, workspace_id=workspace_id, environment_id=environment_id, work_id=work_id)
        )
    if not free:
        return None
    take = partial(work.take, environment_id=environment_id, unacknowledged_us=unacknowledged_us)
    return await state.store.write(take)


@router.get("/stats", response_model=WorkStats)
async def retrieve_work_stats(environment_id: str, state: StateDep, caller: CallerDep) -> Response:
    """Tell how much work waits in an environment."""

    def read(db: Connection) -> RowMapping:
        check_self_hosted(db, caller.workspace_id, environment_id)
        return work.read_stats(db, environment_id)

    row = await state.store.read(read)
    oldest = None if row["oldest"] is None else to_rfc3339(row["oldest"])
    stats = {"depth": row["depth"], "pending": row["pending"], "oldest_queued_at": oldest, "workers_polling": None}
    return answer({"type": "work_queue_stats", **stats})


@router.get("/{work_id}", response_model=Work)
async def retrieve_work(environment_id: str, work_id: str, state: StateDep, caller: CallerDep) -> Response:
    """Retrieve a piece of work."""
    workspace_id = caller.workspace_id
    read = partial(work.get_work, workspace_id=workspace_id, environment_id=environment_id, work_id=work_id)
    return answer(work_answer(await state.store.read(read)))


@router.post("/{work_id}", response_model=Work)
async def update_work(
    environment_id: str, work_id: str, params: WorkUpdateParams, attempt: AttemptDep, state: StateDep, caller: CallerDep
) -> Response:
    """Update the metadata of a piece of work."""

    def update(db: Connection) -> Done[None]:
        row = work.get_work(db, caller.workspace_id, environment_id, work_id, lock=True)
        return _done(work.update_work(db, work_id, metadata=merged_metadata(row["metadata"], params.metadata)))

    body, _ = await answer_once(state, attempt, update)
    return answer(body)


@router.post("/{work_id}/ack", response_model=Work)
async def acknowledge_work(
    environment_id: str, work_id: str, attempt: AttemptDep, state: StateDep, caller: CallerDep
) -> Response:
    """Acknowledge work that was polled: its lease begins."""

    def acknowledge(db: Connection) -> Done[None]:
        return _done(work.acknowledge(db, caller.workspace_id, environment_id, work_id))

    body, _ = await answer_once(state, attempt, acknowledge)
    return answer(body)


@router.post("/{work_id}/heartbeat", response_model=WorkHeartbeat)
async def heartbeat_work(
    environment_id: str,
    work_id: str,
    attempt: AttemptDep,
    state: StateDep,
    caller: CallerDep,
    expected_last_heartbeat: Annotated[
        str | None,
        Query(max_length=MAX_HEARTBEAT, description="`last_heartbeat` of the one before, or `NO_HEARTBEAT`."),
    ] = None,
    desired_ttl_seconds: Annotated[
        int | None, Query(ge=1, le=MAX_TTL_S, description="How long the lease holds without another heartbeat.")
    ] = None,
) -> Response:
    """Keep the lease of work; the answer says whether the worker is to stop."""

    def beat(db: Connection) -> Done[None]:
        row = work.heartbeat(
            db, caller.workspace_id, environment_id, work_id, expected_last_heartbeat, desired_ttl_seconds
        )
        return _done(row, heartbeat_answer)

    body, _ = await answer_once(state, attempt, beat)
    return answer(body)


@router.post("/{work_id}/stop", response_model=Work)
async def stop_work(
    environment_id: str,
    work_id: str,
    attempt: AttemptDep,
    state: StateDep,
    caller: CallerDep,
    params: WorkStopParams | None = None,
) -> Response:
    """Stop work: its worker is told by its next heartbeat, or, with `force`, it is over at once.

    A session that still waits for a tool gets new work some seconds later: stop the session to end it.
    """
    force = params is not None and params.force is True

    def stop(db: Connection) -> Done[None]:
        return _done(work.stop(db, caller.workspace_id, environment_id, work_id, force=force))

    body, _ = await answer_once(state, attempt, stop)
    return answer(body)


def _done(row: RowMapping, shown: Callable[[RowMapping], Json] = work_answer) -> Done[None]:
    return Done(shown(row), row["session_id"])

"""What `/readyz` tells of the engine: whether Temporal answers, and which runtime kinds no worker serves."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import Connection
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client
from temporalio.service import RPCError

from store.engine import Store
from store.tables import runtimes
from workflows.messages import turn_queue

_LIMIT_S: Final = 2.0
_POLLER_AGE_S: Final = 120.0
"""A poll lasts a minute at most, and Temporal remembers pollers for longer than they live."""


async def temporal_status(client: Client, store: Store) -> dict[str, Any]:
    """Return `temporal` and, if that is true, `kinds_without_worker`."""
    try:
        async with asyncio.timeout(_LIMIT_S):
            kinds = await store.read(_registered_kinds)
            idle = await asyncio.gather(*(_is_unserved(client, kind) for kind in kinds))
            if not kinds:
                await client.service_client.check_health()
    except (RPCError, RuntimeError, TimeoutError, sa.exc.SQLAlchemyError, OSError):
        return {"temporal": False}
    return {
        "temporal": True,
        "kinds_without_worker": [kind for kind, is_idle in zip(kinds, idle, strict=True) if is_idle],
    }


def _registered_kinds(db: Connection) -> Sequence[str]:
    """Of every workspace: an operator asks for the whole process."""
    return db.execute(sa.select(runtimes.c.kind).distinct().order_by(runtimes.c.kind)).scalars().all()


async def _is_unserved(client: Client, kind: str) -> bool:
    answer = await client.workflow_service.describe_task_queue(
        DescribeTaskQueueRequest(
            namespace=client.namespace,
            task_queue=TaskQueue(name=turn_queue(kind)),
            task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY,
        )
    )
    oldest = time.time() - _POLLER_AGE_S
    return not any(poller.last_access_time.ToSeconds() > oldest for poller in answer.pollers)

"""Work of self-hosted environments on the wire: what workers of one's own poll, keep alive and end."""

from collections.abc import Mapping
from typing import Any, Final

from anthropic.types.beta.environments import (
    BetaSelfHostedWork,
    BetaSelfHostedWorkHeartbeatResponse,
    BetaSelfHostedWorkListResponse,
    BetaSelfHostedWorkQueueStats,
)

from protocol.fields import MetadataPatch, Request
from protocol.timestamps import to_rfc3339

Json = dict[str, Any]

MAX_BLOCK_MS: Final = 999
MAX_RECLAIM_MS: Final = 86_400_000
DEFAULT_RECLAIM_MS: Final = 5_000
MAX_TTL_S: Final = 3_600
MAX_HEARTBEAT: Final = 64

Work = BetaSelfHostedWork
WorkPage = BetaSelfHostedWorkListResponse
WorkHeartbeat = BetaSelfHostedWorkHeartbeatResponse
WorkStats = BetaSelfHostedWorkQueueStats


class WorkUpdateParams(Request):
    """What to change of a piece of work."""

    metadata: MetadataPatch
    """Pairs to set; null deletes a key."""


class WorkStopParams(Request):
    """How a piece of work is stopped."""

    force: bool | None = None
    """Count it as stopped at once, instead of having its worker end it."""


def work_answer(row: Mapping[Any, Any]) -> Json:
    """Return the API's work."""
    return {
        "id": row["id"],
        "type": "work",
        "environment_id": row["environment_id"],
        "data": {"type": "session", "id": row["session_id"]},
        "state": row["state"],
        "metadata": row["metadata"],
        "secret": None,
        "created_at": to_rfc3339(row["created_at"]),
        "acknowledged_at": _time(row["acknowledged_at"]),
        "started_at": _time(row["started_at"]),
        "latest_heartbeat_at": _time(row["latest_heartbeat_at"]),
        "stop_requested_at": _time(row["stop_requested_at"]),
        "stopped_at": _time(row["stopped_at"]),
    }


def heartbeat_answer(row: Mapping[Any, Any]) -> Json:
    """Return the API's answer to a heartbeat that left the work as it is in `row`."""
    return {
        "type": "work_heartbeat",
        "last_heartbeat": _time(row["latest_heartbeat_at"]) or "",
        "lease_extended": row["state"] == "active",
        "state": row["state"],
        "ttl_seconds": row["ttl_s"],
    }


def _time(micros: int | None) -> str | None:
    return None if micros is None else to_rfc3339(micros)

"""How stored sessions and turns look on the wire. Pure: rows in, plain values out."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from protocol.timestamps import to_rfc3339

Json = dict[str, Any]
Row = Mapping[str, Any]

_NANO_PER_CENT: Final = 10_000_000


def session_answer(row: Row, workflows_url: str) -> Json:
    """Return the API's session; `row` has the session's columns, `now`, `waiting` and `resources`."""
    return {
        "id": row["id"],
        "type": "session",
        "status": row["status"],
        "title": row["title"],
        "metadata": row["metadata"],
        "agent": row["agent"],
        "environment_id": row["environment_id"],
        "deployment_id": row["deployment_id"],
        "vault_ids": row["vault_ids"],
        "resources": row["resources"],
        "outcome_evaluations": [],
        "budget": None,
        "created_at": to_rfc3339(row["created_at"]),
        "updated_at": to_rfc3339(row["updated_at"]),
        "archived_at": _time(row["archived_at"]),
        **_figures(row),
        "runtime": {"id": row["runtime_id"], "alias": row["runtime_alias"], "kind": row["kind"]},
        "temporal": {"workflow_id": row["id"], "url": f"{workflows_url}/{row['id']}"},
        "held": row["held"],
        "end": row["end"],
        "queue": {"waiting": row["waiting"]},
    }


def _figures(row: Row) -> Json:
    running_us = max(row["now"] - row["running_since"], 0) if row["running_since"] is not None else 0
    active = _seconds(row["active_us"] + running_us)
    duration = _seconds(max((row["ended_at"] or row["now"]) - row["created_at"], 0))
    return {
        "stats": {"active_seconds": active, "duration_seconds": duration},
        "usage": {"active_seconds": active, **usage_answer(row["usage"])},
    }


def usage_answer(usage: Mapping[str, Any]) -> Json:
    """Return the API's cumulative usage; `list_cost` in whole cents, null where the cost of a part is not known."""
    nano_usd = usage.get("cost_nano_usd")
    return {
        "input_tokens": usage.get("input_tokens", 0),
        "output_tokens": usage.get("output_tokens", 0),
        "cache_read_input_tokens": usage.get("cache_read_input_tokens", 0),
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.get("cache_creation_input_tokens", 0),
            "ephemeral_1h_input_tokens": 0,
        },
        "server_tool_use": {"web_search_requests": 0, "web_fetch_requests": 0},
        "list_cost": None if nano_usd is None else {"amount": str(_cents(nano_usd)), "currency": "USD"},
        "cost_source": usage.get("cost_source"),
    }


def _cents(nano_usd: int) -> int:
    return (nano_usd + _NANO_PER_CENT // 2) // _NANO_PER_CENT


def turn_answer(row: Row, told: Sequence[Mapping[Any, Any]]) -> Json:
    """Return our API's turn; `told` are the frames that told the user what became of it."""
    fields = ("id", "session_id", "number", "kind", "phase", "attempts", "native", "stop_reason", "error")
    return {
        "type": "turn",
        **{name: row[name] for name in fields},
        "usage": row["usage"],
        "failures": row["failures"],
        "told": [_told(frame) for frame in told],
        "created_at": to_rfc3339(row["created_at"]),
        "sent_at": _time(row["sent_at"]),
        "done_at": _time(row["done_at"]),
    }


def _told(frame: Mapping[Any, Any]) -> Json:
    return {
        "id": frame["event_id"],
        "type": frame["type"],
        "processed_at": to_rfc3339(frame["processed_at"]),
        "error": frame["payload"].get("error"),
        "stop_reason": frame["payload"].get("stop_reason"),
    }


def _time(micros: int | None) -> str | None:
    return None if micros is None else to_rfc3339(micros)


def _seconds(micros: int) -> float:
    return round(micros / 1_000_000, 3)

"""Usage, summed: the tokens that model requests reported, and what they cost while that is known of each of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

Json = dict[str, Any]

COST: Final = "cost_nano_usd"
SOURCE: Final = "cost_source"


@dataclass(frozen=True, slots=True)
class Cost:
    """What one model request cost, in billionths of a US dollar, and who says so."""

    nano_usd: int
    source: str


@dataclass(frozen=True, slots=True)
class Used:
    """What one model request used: the API's `model_usage`, and its cost if that is known."""

    tokens: Json
    cost: Cost | None


def add_usage(total: Json, used: Sequence[Used]) -> Json:
    """Return the sum. It has a cost only if every request that used a token had one."""
    result = dict(total)
    for one in used:
        if one.cost is None and not any(one.tokens.values()):
            continue
        known = not result or COST in result
        for name, amount in one.tokens.items():
            if isinstance(amount, int):
                result[name] = result.get(name, 0) + amount
        if known and one.cost is not None:
            result[COST] = result.get(COST, 0) + one.cost.nano_usd
            result[SOURCE] = _joined(result.get(SOURCE), one.cost.source)
        else:
            result.pop(COST, None)
            result.pop(SOURCE, None)
    return result


def _joined(sources: str | None, source: str) -> str:
    known = sources.split(", ") if sources else []
    return ", ".join(known if source in known else [*known, source])

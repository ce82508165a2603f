"""Bounds of time in a query: `created_at[gt]`, `[gte]`, `[lt]` and `[lte]`."""

from typing import Annotated

from fastapi import Depends, Query

from protocol.fields import Time
from store.event_pages import CreatedAt


async def created_at(
    gt: Annotated[Time | None, Query(alias="created_at[gt]", description="Only after.")] = None,
    gte: Annotated[Time | None, Query(alias="created_at[gte]", description="Not before.")] = None,
    lt: Annotated[Time | None, Query(alias="created_at[lt]", description="Only before.")] = None,
    lte: Annotated[Time | None, Query(alias="created_at[lte]", description="Not after.")] = None,
) -> CreatedAt:
    """Read the bounds."""
    return CreatedAt(gt, gte, lt, lte)


CreatedAtDep = Annotated[CreatedAt, Depends(created_at)]

"""Comparing two things on a machine that is never quite the same: both in turn, and their ratio."""

import statistics
from collections.abc import Sequence


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which this share of the values lies."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def median_of_ratios(over: Sequence[float], under: Sequence[float]) -> float:
    """Return the median of the ratios of neighbours, each pair of which was measured in one round."""
    return statistics.median(one / other for one, other in zip(over, under, strict=True))

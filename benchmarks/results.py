"""What benchmarks and chaos leave behind: `benchmarks/results/<run>.json`, a list of results."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

FOLDER = Path(__file__).with_name("results")


@dataclass(frozen=True, slots=True)
class Result:
    """One number of a run. `bound` is what it is held against, such as `<= 0`; None where it is only measured."""

    name: str
    value: float
    unit: str
    bound: str | None = None
    holds: bool = True


def measured(name: str, value: float, unit: str) -> Result:
    """Return a number that has no bound."""
    return Result(name, value, unit)


def at_most(name: str, value: float, unit: str, bound: float) -> Result:
    """Return a number that must not be greater than the bound."""
    return Result(name, value, unit, f"<= {bound:g}", value <= bound)


def at_least(name: str, value: float, unit: str, bound: float) -> Result:
    """Return a number that must not be less than the bound."""
    return Result(name, value, unit, f">= {bound:g}", value >= bound)


def write_results(run: str, results: Sequence[Result]) -> Path:
    """Write the results of a run, in place of those of an earlier one, and return the file."""
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{run}.json"
    path.write_text(json.dumps([asdict(result) for result in results], indent=2) + "\n")
    return path

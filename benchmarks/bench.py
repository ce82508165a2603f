"""`python -m benchmarks.bench`: measure the product against the least that could do the same, and hold it to bounds."""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from benchmarks import creating, delivery, held_turns, long_session, streams, throughput
from benchmarks.results import Result, measured, write_results
from benchmarks.rig import Plan, Rig, databases, rigged
from benchmarks.usage import machine

Measurement = Callable[[Plan], Awaitable[list[Result]]]


def _on_a_rig(measure: Callable[[Rig], Awaitable[list[Result]]]) -> Measurement:
    """Return a measurement that runs on processes of its own, untouched by what was measured before."""

    async def run(plan: Plan) -> list[Result]:
        async with rigged(plan) as rig:
            return await measure(rig)

    return run


async def _streams(plan: Plan) -> list[Result]:
    """Measure streams and lists, which need no engine."""
    random.seed(plan.seed)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, databases(plan.database, Path(folder)) as (url, _):
        found = await streams.measure(url, Path(folder))
    return [
        Result(
            each["name"],
            each["value"],
            each["unit"],
            None if each["bound"] is None else f"<= {each['bound']:g}",
            each["holds"] is not False,
        )
        for each in found
    ]


MEASUREMENTS: dict[str, Measurement] = {
    "delivery": _on_a_rig(delivery.measure),
    "throughput": _on_a_rig(throughput.measure),
    "streams": _streams,
    "long-session": _on_a_rig(long_session.measure),
    "held-turns": _on_a_rig(held_turns.measure),
    "create": _on_a_rig(creating.measure),
}


def _options(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench", description=__doc__)
    parser.add_argument("--seed", type=int, help="begins every draw; by default another each time")
    parser.add_argument("--size", type=float, default=1.0, metavar="F", help="share of the real counts; default 1.0")
    parser.add_argument("--only", choices=MEASUREMENTS, action="append", help="this one; may be repeated")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    options = parser.parse_args(arguments)
    if options.seed is None:
        options.seed = random.SystemRandom().randrange(1, 10**6)
    return options


async def _run(plan: Plan, names: Sequence[str]) -> list[Result]:
    results = []
    for name in names:
        began = time.monotonic()
        print(f"\n{name}", flush=True)
        found = await MEASUREMENTS[name](plan)
        for result in found:
            print(_line(result), flush=True)
        print(f"  ({time.monotonic() - began:.0f} s)", flush=True)
        results += found
    return results


def _line(result: Result) -> str:
    verdict = f"  {result.bound}: {'holds' if result.holds else 'BROKEN'}" if result.bound else ""
    return f"  {result.name:<84} {result.value:>10.3f} {result.unit:<3}{verdict}"


def main() -> int:
    """Measure, and return 1 if a bound is broken."""
    options = _options()
    plan = Plan(options.seed, options.size, options.database)
    what, processors = machine()
    print(f"seed {plan.seed}, size {plan.size:g}, {plan.database}; {processors} processors: {what}")
    results = [
        measured("seed", plan.seed, ""),
        measured("size", plan.size, ""),
        measured(f"processors of the machine ({what})", processors, ""),
    ]
    results += asyncio.run(_run(plan, options.only or list(MEASUREMENTS)))
    suffix = "" if plan.database == "sqlite" else f"-{plan.database}"
    print(f"\nwritten: {write_results(f'bench{suffix}', results)}")
    broken = [result for result in results if not result.holds]
    for result in broken:
        print(f"BROKEN {result.name} is {result.value:.3f} {result.unit}, not {result.bound}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())

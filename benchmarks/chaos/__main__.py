"""`python -m benchmarks.chaos`: kill parts while clients talk, and prove that nothing is lost or said twice."""

import argparse
import asyncio
import os
import random
import sys
from typing import get_args

from benchmarks.chaos.databases import Name
from benchmarks.chaos.messages import MODES, SEND_TIMEOUT_S
from benchmarks.chaos.plan import make_plan
from benchmarks.chaos.report import print_outcome, results_of
from benchmarks.chaos.run import SETTINGS, run_chaos
from benchmarks.results import write_results

_SESSIONS = 200
_KILLS = 60


def _options(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, help="draws every random point; by default another each time")
    parser.add_argument("--size", type=int, metavar="SESSIONS", help=f"default: $CHAOS_SESSIONS, or {_SESSIONS}")
    parser.add_argument("--kills", type=int, help=f"default: $CHAOS_KILLS, or {_KILLS}")
    parser.add_argument("--database", choices=(*get_args(Name), "both"), default="both")
    parser.add_argument("--mode", choices=(*MODES, "all"), default="all", help="what the runtime lets us find out")
    options = parser.parse_args(arguments)
    options.size = options.size or int(os.environ.get("CHAOS_SESSIONS", _SESSIONS))
    options.kills = options.kills or int(os.environ.get("CHAOS_KILLS", _KILLS))
    if options.seed is None:
        options.seed = random.SystemRandom().randrange(1, 10**6)
    return options


def main() -> int:
    """Run on each database, and return 1 if a bound is broken anywhere."""
    options = _options()
    databases: list[Name] = list(get_args(Name)) if options.database == "both" else [options.database]
    modes = MODES if options.mode == "all" else (options.mode,)
    settings = ", ".join(f"{name}={value}" for name, value in SETTINGS.items())
    print(f"seed {options.seed}; shorter than the product's own: {settings}, send_timeout_s={SEND_TIMEOUT_S:g}")
    broken = []
    for name in databases:
        plan = make_plan(
            options.seed,
            sessions=options.size,
            kills=options.kills,
            modes=modes,
            postgres=name == "postgresql",
        )
        outcome = asyncio.run(run_chaos(name, plan))
        print_outcome(outcome)
        results = results_of(outcome)
        print(f"\n  written: {write_results(f'chaos-{name}', results)}")
        broken += [
            f"{name}: {result.name} is {result.value:g}, not {result.bound}" for result in results if not result.holds
        ]
    for line in broken:
        print(f"BROKEN {line}")
    print("FAILED" if broken else "every bound holds", f"(seed {options.seed})")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())

"""What the measurements run on: the whole product and the baseline, side by side on one Temporal server."""

import os
import random
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.baseline.processes import Baseline
from benchmarks.baseline.side import BareSide
from benchmarks.product import ProductSide
from benchmarks.sides import Side
from store.engine import Store, open_store
from store.live import open_live
from tests.conftest import PostgresCluster
from tests.stack import Stack

Database = Literal["sqlite", "postgresql"]


@dataclass(frozen=True, slots=True)
class Plan:
    """How a run is made: what every draw begins with, how large it is, and on which database."""

    seed: int
    size: float
    database: Database

    def scaled(self, count: int, least: int) -> int:
        """Return a count at this size."""
        return max(round(count * self.size), least)

    def dice(self) -> random.Random:
        """Return a source of draws."""
        return random.Random(self.seed)


@dataclass(frozen=True, slots=True)
class Rig:
    """Both sides, and what lies behind them."""

    plan: Plan
    stack: Stack
    baseline: Baseline
    store: Store
    """The product's database."""
    product: ProductSide
    bare: BareSide

    @property
    def sides(self) -> Sequence[Side]:
        """Both, the product first."""
        return (self.product, self.bare)

    def shared_pids(self) -> dict[str, int]:
        """Return the processes that both sides use, by name."""
        scripted = self.stack.scripted.pid
        assert scripted is not None
        return {"temporal": self.stack.temporal.pid, "scripted": scripted, "client": os.getpid()}


@contextmanager
def databases(kind: Database, folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the addresses of two empty databases, of the product and of the baseline."""
    if kind == "sqlite":
        yield f"sqlite:///{folder}/waystation.db", f"sqlite:///{folder}/bare.db"
        return
    cluster = PostgresCluster()
    cluster.start()
    try:
        yield cluster.create_database(), cluster.create_database()
    finally:
        cluster.remove()


@asynccontextmanager
async def rigged(plan: Plan) -> AsyncIterator[Rig]:
    """Start everything, and end it after the block."""
    async with AsyncExitStack() as ends:
        folder = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True)))
        url, bare_url = ends.enter_context(databases(plan.database, folder))
        stack = Stack(folder, url)
        stack.worker.command = [*stack.worker.command[:-1], "-m", "benchmarks.collecting"]
        await ends.enter_async_context(stack)
        baseline = Baseline(stack, bare_url)
        ends.callback(baseline.stop)
        await baseline.start()
        store = open_store(url)
        ends.push_async_callback(store.close)
        live = open_live(store, folder)
        await live.start()
        ends.push_async_callback(live.close)
        product = ProductSide(stack, live)
        ends.push_async_callback(product.close)
        bare = BareSide(baseline, folder / "told.sock")
        ends.push_async_callback(bare.close)
        await product.prepare()
        await bare.prepare()
        yield Rig(plan, stack, baseline, store, product, bare)

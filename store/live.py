"""Live news of sessions between the parts and processes of one installation: the bus that fits the database."""

from pathlib import Path

from store.engine import Store
from store.live_bus import LiveBus
from store.live_postgres import PostgresBus
from store.live_sqlite import SqliteBus
from store.live_watch import Hint, Preview, Watch

__all__ = ["Hint", "LiveBus", "Preview", "Watch", "open_live"]


def open_live(store: Store, state_dir: Path) -> LiveBus:
    """Return the bus, to be started; `state_dir` is where the processes that share a SQLite file meet."""
    if store.dialect == "sqlite":
        return SqliteBus(store, state_dir)
    return PostgresBus(store)

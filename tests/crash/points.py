"""Dying exactly at one point: the process kills itself as `kill -9` would, once, at the n-th time it gets there.

`CRASH_AT` names the point: `before:NAME:N` and `after:NAME:N` stand at a transaction (the function that runs in it),
where after means after its commit; `during:NAME:N` and `returned:NAME:N` stand at a call to a runtime or to Temporal.
"""

import asyncio
import contextvars
import functools
import os
import signal
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy.engine import Connection

from store.engine import Store

T = TypeVar("T")
DURING_S = 0.4


class Point:
    """The point that this process dies at."""

    def __init__(self, text: str) -> None:
        self.where, self.name, times = text.split(":")
        self._left = int(times)

    def reached(self, where: str, name: str) -> bool:
        """Count one arrival; True on the one to die at."""
        if (where, name) != (self.where, self.name):
            return False
        self._left -= 1
        return self._left == 0


def die() -> None:
    """End as a crash does: nothing is flushed, closed or told."""
    os.kill(os.getpid(), signal.SIGKILL)


_transaction: contextvars.ContextVar[list[str] | None] = contextvars.ContextVar("transaction", default=None)


class CrashingStore(Store):
    """A store that dies before or after a transaction."""

    def __init__(self, inner: Store, point: Point) -> None:
        self.dialect, self.url = inner.dialect, inner.url
        self._inner = inner
        self._point = point

    async def write(self, work: Callable[[Connection], T]) -> T:
        ran: list[str] = [getattr(work, "func", work).__name__]
        if self._point.reached("before", ran[0]):
            die()

        def noting(db: Connection) -> T:
            token = _transaction.set(ran)
            try:
                return work(db)
            finally:
                _transaction.reset(token)

        result = await self._inner.write(noting)
        for name in ran:
            if self._point.reached("after", name):
                die()
        return result

    async def read(self, work: Callable[[Connection], T]) -> T:
        return await self._inner.read(work)

    async def close(self) -> None:
        await self._inner.close()


def note_in_transaction(module: Any, name: str) -> None:
    """Have a function that is called inside other transactions count as their name, too."""
    original = getattr(module, name)

    @functools.wraps(original)
    def noted(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        ran = _transaction.get()
        if ran is not None:
            ran.append(name)
        return result

    setattr(module, name, noted)


def crash_in_call(owner: Any, name: str, point: Point) -> None:
    """Have an asynchronous method die a moment after it was begun, or as soon as it returned."""
    original = getattr(owner, name)

    @functools.wraps(original)
    async def crashing(*args: Any, **kwargs: Any) -> Any:
        if point.reached("during", name):
            asyncio.get_running_loop().call_later(DURING_S, die)
        result = await original(*args, **kwargs)
        if point.reached("returned", name):
            die()
        return result

    setattr(owner, name, crashing)

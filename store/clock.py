"""The database's clock, in microseconds since 1970: the only clock that the log and the engine go by."""

from typing import Any

from sqlalchemy import BigInteger, select
from sqlalchemy.engine import Connection
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement


class now_us(FunctionElement[int]):
    """SQL expression: microseconds since 1970, by the database's clock at the time of the statement."""

    type = BigInteger()
    inherit_cache = True


@compiles(now_us, "sqlite")
def _sqlite(_element: now_us, _compiler: Any, **_: Any) -> str:
    return "(CAST(ROUND((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER) * 1000)"


@compiles(now_us, "postgresql")
def _postgresql(_element: now_us, _compiler: Any, **_: Any) -> str:
    return "CAST(extract(epoch from clock_timestamp()) * 1000000 AS BIGINT)"


def read_now(db: Connection) -> int:
    """Return microseconds since 1970."""
    return int(db.execute(select(now_us())).scalar_one())

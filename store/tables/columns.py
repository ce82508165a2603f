"""Column shapes that several tables share."""

from typing import Any

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

Json = dict[str, Any]
_JSON = sa.JSON(none_as_null=True)


def json_column(default: Any = None, *, nullable: bool = False) -> Any:
    """Return a JSON column; `default` is a factory."""
    return Field(default_factory=default, sa_type=_JSON, nullable=nullable)


def time_column(*, nullable: bool = False) -> Any:
    """Return a column of microseconds since 1970."""
    return Field(default=None, sa_type=sa.BigInteger, nullable=nullable)


def table_of(row: type[SQLModel]) -> sa.Table:
    """Return the table that a row class declares, for statements."""
    return SQLModel.metadata.tables[str(row.__tablename__)]

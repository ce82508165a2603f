"""Field types that several request models share: each refuses what no database or runtime could keep."""

import math
import re
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, WithJsonSchema

from protocol.timestamps import from_rfc3339

MAX_PAIRS: Final = 16
MAX_INT32: Final = 2**31 - 1
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)?")


class Request(BaseModel):
    """Base of every request body: types are exact, and a field nobody knows is refused rather than ignored."""

    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)


def _finite(value: Any) -> Any:
    """Refuse numbers that JSON cannot carry on; iterative, as deep as the parser lets values be."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, float) and not math.isfinite(item):
            raise ValueError("numbers must be finite")
        if isinstance(item, dict):
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)
    return value


def _moment(text: object) -> int:
    """Return microseconds since 1970; a `+` that came unescaped, as a space, is put right."""
    if not isinstance(text, str):
        raise ValueError("must be an RFC 3339 time such as `2026-01-31T12:00:00Z`")
    head, tail = text[:19], text[19:].replace(" ", "+")
    if not _RFC3339.fullmatch(head + tail):
        raise ValueError("must be an RFC 3339 time such as `2026-01-31T12:00:00Z`")
    return from_rfc3339((head + tail).upper())


JsonObject = Annotated[dict[str, Any], AfterValidator(_finite)]
"""Any JSON object."""

Time = Annotated[int, BeforeValidator(_moment), WithJsonSchema({"type": "string", "format": "date-time"})]
"""An RFC 3339 time, read as microseconds since 1970."""

_Key = Annotated[str, StringConstraints(min_length=1, max_length=64)]
_Value = Annotated[str, StringConstraints(max_length=512)]

Metadata = Annotated[dict[_Key, _Value], Field(max_length=MAX_PAIRS)]
"""At most 16 pairs, keys up to 64 characters, values up to 512."""

MetadataPatch = Annotated[dict[_Key, _Value | None], Field(max_length=4 * MAX_PAIRS)]
"""Pairs to set, and keys to delete by `null`; what results holds at most 16 pairs."""

Name = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Version = Annotated[int, Field(ge=1, le=MAX_INT32)]

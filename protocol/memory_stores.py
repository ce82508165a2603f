"""Memory stores, memories and their versions on the wire: what a client sends, answered in the SDK's shapes."""

import hashlib
import unicodedata
from dataclasses import dataclass
from typing import Annotated, Final, Literal

from anthropic.types.beta import BetaManagedAgentsDeletedMemoryStore, BetaManagedAgentsMemoryStore
from anthropic.types.beta.memory_stores import (
    BetaManagedAgentsDeletedMemory,
    BetaManagedAgentsMemory,
    BetaManagedAgentsMemoryListItem,
    BetaManagedAgentsMemoryVersion,
)
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from protocol.errors import ConflictError
from protocol.fields import Metadata, MetadataPatch, Request

MAX_CONTENT_BYTES: Final = 102_400
MAX_PATH_BYTES: Final = 1024
MAX_SEGMENTS: Final = 20
MAX_FULL_ITEMS: Final = 20
"""Most items of a page that shows contents."""

MemoryStore = BetaManagedAgentsMemoryStore
MemoryStoreDeleted = BetaManagedAgentsDeletedMemoryStore
Memory = BetaManagedAgentsMemory
MemoryDeleted = BetaManagedAgentsDeletedMemory
MemoryVersion = BetaManagedAgentsMemoryVersion

View = Literal["basic", "full"]
Operation = Literal["created", "modified", "deleted"]


class MemoryPreconditionFailedError(ConflictError):
    """The memory's content is not the one the request was made for."""

    type = "memory_precondition_failed_error"


class MemoryPathConflictError(ConflictError):
    """The path is taken, or a memory stands where it needs a folder."""

    type = "memory_path_conflict_error"


@dataclass(frozen=True, slots=True)
class Author:
    """Who changes a memory: an API key, or a session's agent."""

    type: Literal["api_actor", "session_actor"]
    id: str


def author_json(author_type: str, author_id: str) -> dict[str, str]:
    """Return the API's actor."""
    name = "session_id" if author_type == "session_actor" else "api_key_id"
    return {"type": author_type, name: author_id}


def _no_control_characters(name: str) -> str:
    if any(unicodedata.category(character) == "Cc" for character in name):
        raise ValueError("must not contain control characters")
    return name


def _check_content(content: str) -> str:
    size = len(content.encode())
    if size > MAX_CONTENT_BYTES:
        raise ValueError(f"is {size} bytes of UTF-8, {MAX_CONTENT_BYTES} are allowed: split it into several memories")
    return content


def _check_characters(path: str) -> None:
    if len(path.encode()) > MAX_PATH_BYTES:
        raise ValueError(f"may be {MAX_PATH_BYTES} bytes of UTF-8 at most")
    if any(unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp") for character in path):
        raise ValueError("must not contain control or format characters, or line or paragraph separators")
    if not unicodedata.is_normalized("NFC", path):
        raise ValueError("must be in Unicode Normalization Form C")


def _check_segments(segments: list[str]) -> None:
    if not 1 <= len(segments) <= MAX_SEGMENTS:
        raise ValueError(f"must have 1 to {MAX_SEGMENTS} segments")
    if {"", ".", ".."} & set(segments):
        raise ValueError("must not have a segment that is empty, `.` or `..`")


def _check_path(path: str) -> str:
    if not path.startswith("/"):
        raise ValueError("must begin with `/`, such as `/projects/notes.md`")
    _check_characters(path)
    _check_segments(path[1:].split("/"))
    return path


def _check_prefix(prefix: str) -> str:
    if not (prefix.startswith("/") and prefix.endswith("/")):
        raise ValueError("must begin and end with `/`, such as `/projects/`")
    _check_characters(prefix)
    if prefix != "/":
        _check_segments(prefix[1:-1].split("/"))
    return prefix


StoreName = Annotated[str, StringConstraints(min_length=1, max_length=255), AfterValidator(_no_control_characters)]
StoreDescription = Annotated[str, StringConstraints(max_length=1024)]
Content = Annotated[str, StringConstraints(max_length=MAX_CONTENT_BYTES), AfterValidator(_check_content)]
Path = Annotated[
    str,
    Field(min_length=2, max_length=MAX_PATH_BYTES, json_schema_extra={"pattern": r"^(/[^/]+){1,20}$"}),
    AfterValidator(_check_path),
]
PathPrefix = Annotated[
    str,
    Field(min_length=1, max_length=MAX_PATH_BYTES, json_schema_extra={"pattern": r"^/([^/]+/){0,20}$"}),
    AfterValidator(_check_prefix),
]
Depth = Annotated[int, Field(ge=0, le=MAX_SEGMENTS)]
ContentSha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


def sha256_of(content: str) -> str:
    """Return the `content_sha256` of a content."""
    return hashlib.sha256(content.encode()).hexdigest()


class MemoryStoreCreateParams(Request):
    """A new memory store."""

    name: StoreName
    """1 to 255 characters; several stores may have one name."""
    description: StoreDescription | None = None
    """What the store holds, up to 1,024 characters."""
    metadata: Metadata | None = None


class MemoryStoreUpdateParams(Request):
    """What to change: a field that is left out or null stays."""

    name: StoreName | None = None
    description: StoreDescription | None = None
    """An empty string clears it."""
    metadata: MetadataPatch | None = None
    """Pairs to set; null deletes a key."""


class MemoryCreateParams(Request):
    """A new memory."""

    path: Path
    """Begins with `/`; 1 to 20 segments, none of them empty, `.` or `..`; NFC; up to 1,024 bytes."""
    content: Content | None
    """Up to 102,400 bytes of UTF-8; empty or null for an empty memory."""


class Precondition(Request):
    """What must hold of the stored memory for the update to take place."""

    type: Literal["content_sha256"]
    content_sha256: ContentSha256
    """Of the content that the update was made for; if the memory has another by now, the answer is 409."""


class MemoryUpdateParams(Request):
    """What to change: a field that is left out or null stays."""

    content: Content | None = None
    path: Path | None = None
    """Renames the memory, which keeps its id."""
    precondition: Precondition | None = None


class MemoryStorePage(BaseModel):
    """A page of memory stores."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    data: list[MemoryStore]
    next_page: str | None
    """Cursor of the next page; null on the last."""


class MemoryPage(BaseModel):
    """A page of memories, and of folders that stand for the memories in them."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    data: list[BetaManagedAgentsMemoryListItem]
    next_page: str | None
    """Cursor of the next page; null on the last."""


class MemoryVersionPage(BaseModel):
    """A page of memory versions."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    data: list[MemoryVersion]
    next_page: str | None
    """Cursor of the next page; null on the last."""

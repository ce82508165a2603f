"""Files on the wire: the SDK's metadata, and the rules for names, types and life times."""

import mimetypes
import re
import unicodedata
from typing import Final

from anthropic.types.beta import BetaDeletedFile, BetaFileMetadata
from pydantic import BaseModel, ConfigDict

from protocol.errors import InvalidRequestError

FileMetadata = BetaFileMetadata
DeletedFile = BetaDeletedFile

MAX_IDS: Final = 100
MAX_LISTED: Final = 1000
SHORTEST_LIFE_S: Final = 3600
LONGEST_LIFE_S: Final = 90 * 24 * 3600
_MAX_NAME: Final = 255
_FORBIDDEN: Final = frozenset('<>:"|?*')
_TYPE: Final = re.compile(r"[\w!#$&^.+-]{1,100}/[\w!#$&^.+-]{1,100}", re.ASCII)
_UNKNOWN_TYPE: Final = "application/octet-stream"


class FilePage(BaseModel):
    """A page of files. To clients with `anthropic-beta: files-api-2025-04-14` it has other keys beside `data`."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    data: list[FileMetadata]
    next_page: str | None = None
    """Cursor of the next page; null on the last."""
    has_more: bool | None = None
    """Only with that header, as the two that follow: whether there are more in the direction that was asked for."""
    first_id: str | None = None
    last_id: str | None = None


def file_name(sent: str, mime_type: str) -> str:
    """Return the name that a file gets: the last part of what was sent, or `unnamed` with the type's extension.

    Raises:
        InvalidRequestError: it is too long, or has characters that no file's name should have.
    """
    name = re.split(r"[/\\]", sent)[-1].strip()
    if not name:
        return f"unnamed{mimetypes.guess_extension(mime_type) or ''}"
    if len(name.encode()) > _MAX_NAME:
        raise InvalidRequestError(f"`file`: its name may have {_MAX_NAME} bytes at most")
    if name in (".", "..") or any(_is_forbidden(character) for character in name):
        raise InvalidRequestError('`file`: its name must not contain control characters or any of < > : " | ? *')
    return name


def _is_forbidden(character: str) -> bool:
    return character in _FORBIDDEN or unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")


def file_type(declared: str | None, sent_name: str) -> str:
    """Return a file's type: the one declared, without parameters, or the one its name suggests."""
    plain = (declared or "").partition(";")[0].strip().lower()
    if _TYPE.fullmatch(plain) and plain != _UNKNOWN_TYPE:
        return plain
    return mimetypes.guess_type(sent_name)[0] or _UNKNOWN_TYPE


def life_time_us(text: str | None) -> int | None:
    """Return microseconds until a file expires, or None for never.

    Raises:
        InvalidRequestError: not a number of seconds between an hour and 90 days.
    """
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,9}", text, re.ASCII) or not SHORTEST_LIFE_S <= int(text) <= LONGEST_LIFE_S:
        raise InvalidRequestError(
            f"`expires_in_seconds`: must be a whole number from {SHORTEST_LIFE_S} to {LONGEST_LIFE_S}"
        )
    return int(text) * 1_000_000

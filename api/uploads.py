"""Uploads: multipart forms, spooled to disk while they arrive, and the blobs they become."""

import contextlib
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, BinaryIO, Final, TypeVar, cast

from fastapi import Request
from python_multipart.multipart import parse_options_header
from sqlalchemy import Connection
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from api.body import Uploads
from api.deps import AppState
from api.resends import Done, answer_once, with_content
from protocol.errors import InvalidRequestError
from settings import Settings
from store.blobs import Stored
from store.repositories.blobs import begin_blob, release_blob
from store.resends import Attempt

Json = dict[str, Any]
Made = TypeVar("Made")

_FRAME: Final = 64 * 1024
"""What a form's own lines may take beside the content."""
_MAX_FIELDS: Final = 8
_MAX_FIELD_BYTES: Final = 4096


def upload_limits(settings: Settings) -> Uploads:
    """Return the addresses of uploads with their limits."""
    return (
        (re.compile(r"/v1/files"), settings.max_file_bytes + _FRAME),
        # Each file of a skill comes with some lines of its own.
        (re.compile(r"/v1/skills(/[^/]+/versions)?"), settings.max_skill_bytes * 2 + _FRAME),
    )


class Form:
    """What was sent as `multipart/form-data`; each getter takes what it returns, and `finish` refuses the rest."""

    def __init__(self, items: Sequence[tuple[str, str | UploadFile]]) -> None:
        self._items = list(items)

    def take(self, *names: str) -> list[str | UploadFile]:
        """Return every part with one of these names."""
        found = [value for name, value in self._items if name in names]
        self._items = [(name, value) for name, value in self._items if name not in names]
        return found

    def text(self, name: str) -> str | None:
        """Return a field, or None if it was not sent.

        Raises:
            InvalidRequestError: it was sent twice, as a file, or with control characters.
        """
        found = self.take(name)
        if not found:
            return None
        if len(found) > 1 or not isinstance(found[0], str):
            raise InvalidRequestError(f"`{name}`: send it once, as a plain field of the form")
        if any(ord(character) < 32 or ord(character) == 127 for character in found[0]):
            raise InvalidRequestError(f"`{name}`: must not contain control characters")
        return found[0]

    def files(self, *names: str) -> list[UploadFile]:
        """Return every file with one of these names.

        Raises:
            InvalidRequestError: there is none, or one is no file.
        """
        found = self.take(*names)
        if not found or any(isinstance(part, str) for part in found):
            raise InvalidRequestError(f"`{names[0]}`: required, as a file: a part of the form with a `filename`")
        return cast("list[UploadFile]", found)

    def finish(self) -> None:
        """Refuse what nobody has taken.

        Raises:
            InvalidRequestError: names the first such part.
        """
        if self._items:
            raise InvalidRequestError(f"`{self._items[0][0][:64]}`: unknown field; remove it")


class _Parser(MultiPartParser):
    """Takes a part `file` for a file, too, when it has no name: so the SDKs send plain bytes."""

    def on_headers_finished(self) -> None:
        disposition = self._current_part.content_disposition or b""
        _, options = parse_options_header(disposition)
        if options.get(b"name") == b"file" and b"filename" not in options:
            self._current_part.content_disposition = disposition + b'; filename=""'
        super().on_headers_finished()


@asynccontextmanager
async def form_of(request: Request, *, max_files: int) -> AsyncIterator[Form]:
    """Read a form; its files are gone afterwards.

    Raises:
        InvalidRequestError: it is no form, or a damaged one, or has too many parts.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        raise InvalidRequestError("the body must be a form, sent with `content-type: multipart/form-data`")
    async with contextlib.aclosing(request.stream()) as stream:
        parser = _Parser(
            request.headers, stream, max_files=max_files, max_fields=_MAX_FIELDS, max_part_size=_MAX_FIELD_BYTES
        )
        try:
            form = await parser.parse()
        except MultiPartException as error:
            raise InvalidRequestError(f"the form cannot be read: {error.message}") from error
    async with contextlib.AsyncExitStack() as closing:
        closing.push_async_callback(form.close)
        yield Form(form.multi_items())


async def store_upload(
    state: AppState,
    attempt: Attempt,
    source: BinaryIO,
    content: Sequence[object],
    make: Callable[[Connection, str, Stored], Json],
) -> Json:
    """Store an upload's bytes, then what refers to them; return the answer, which a resend gets again.

    `content` is what tells it from other uploads besides its bytes.
    """
    blob_id = await state.store.write(begin_blob)
    stored = await state.blobs.put(blob_id, source)

    def make_once(db: Connection) -> Done[bool]:
        return Done(make(db, blob_id, stored), effect=True)

    made = None
    try:
        body, made = await answer_once(state, with_content(attempt, [*content, stored.sha256]), make_once)
        return body
    finally:
        if made is None:
            await state.store.write(lambda db: release_blob(db, blob_id))

"""Content blocks that a user may send: text, images, documents and search results."""

import binascii
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, field_validator

from protocol.fields import Request

Text = Annotated[str, StringConstraints(min_length=1)]
ReferencedId = Annotated[str, StringConstraints(min_length=1, max_length=256)]


class TextBlock(Request):
    """Regular text."""

    type: Literal["text"]
    text: Text


class Base64Source(Request):
    """The bytes of an image or document, as base64."""

    type: Literal["base64"]
    media_type: Annotated[str, StringConstraints(pattern=r"^[\w.+-]+/[\w.+-]+$", max_length=128)]
    data: Text

    @field_validator("data")
    @classmethod
    def _is_base64(cls, data: str) -> str:
        try:
            binascii.a2b_base64(data, strict_mode=True)
        except (binascii.Error, ValueError) as error:
            raise ValueError(f"not base64: {error}") from None
        return data


class PlainTextSource(Request):
    """The text of a document."""

    type: Literal["text"]
    media_type: Literal["text/plain"]
    data: Text


class UrlSource(Request):
    """Where the runtime fetches an image or document."""

    type: Literal["url"]
    url: Annotated[str, StringConstraints(pattern=r"^https?://\S+$", max_length=8192)]


class FileSource(Request):
    """A file uploaded before."""

    type: Literal["file"]
    file_id: ReferencedId


class ImageBlock(Request):
    """An image."""

    type: Literal["image"]
    source: Annotated[Base64Source | UrlSource | FileSource, Field(discriminator="type")]


class DocumentBlock(Request):
    """A document."""

    type: Literal["document"]
    source: Annotated[Base64Source | PlainTextSource | UrlSource | FileSource, Field(discriminator="type")]
    title: str | None = None
    context: str | None = None


class RedactedBlock(Request):
    """Stands for content that was withheld."""

    type: Literal["redacted"]


class SearchResultCitations(Request):
    """Whether the agent may cite the result."""

    enabled: bool


class SearchResultBlock(Request):
    """What a search found."""

    type: Literal["search_result"]
    source: Text
    title: str
    content: list[TextBlock] = Field(min_length=1)
    citations: SearchResultCitations

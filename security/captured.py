"""Answers of other servers, bounded and without secrets, so that they can be shown."""

import base64
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Final
from urllib.parse import quote, quote_plus

import httpx2

_MAX_READ: Final = 1024 * 1024
_MAX_SCRUBBED: Final = 64 * 1024
_MAX_SHOWN: Final = 4096
_MAX_TYPE: Final = 255
_SCRUBBED: Final = "[scrubbed]"
_TOKEN = re.compile(
    r"""((?:access_token|refresh_token|id_token|client_secret)["']?\s*[:=]\s*)("(?:[^"\\]|\\.)*"?|[^\s"'&,}<]+)"""
)


@dataclass(frozen=True, slots=True)
class Captured:
    """An HTTP answer as the API shows it."""

    status_code: int
    content_type: str
    body: str
    body_truncated: bool

    def json(self) -> dict[str, Any]:
        """Return the API's HTTP response."""
        return asdict(self)


async def read_bounded(response: httpx2.Response) -> bytes:
    """Return the body of an answer that is being streamed, or its first MiB."""
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > _MAX_READ:
            break
    return bytes(body)


def capture(response: httpx2.Response, body: bytes, secrets: Iterable[str]) -> Captured:
    """Return an answer without the given secrets and whatever else it calls a token."""
    written = sorted((form for secret in secrets for form in _forms(secret)), key=len, reverse=True)
    text = body[:_MAX_SCRUBBED].decode(errors="replace").replace("\x00", "\ufffd")
    for form in written:
        text = text.replace(form, _SCRUBBED)
    text = _TOKEN.sub(rf"\1{_SCRUBBED}", text)
    if len(body) > _MAX_SCRUBBED and written:
        # The cut may have left the beginning of a secret, which nothing recognises, at the end.
        text = text[: -len(written[0])]
    truncated = len(body) > _MAX_SCRUBBED or len(text) > _MAX_SHOWN
    content_type = response.headers.get("content-type", "")[:_MAX_TYPE]
    return Captured(response.status_code, content_type, text[:_MAX_SHOWN], truncated)


def _forms(secret: str) -> set[str]:
    """Return how a secret may stand in a text."""
    escaped = secret.replace("\\", "\\\\").replace('"', '\\"')
    encoded = base64.b64encode(secret.encode()).decode()
    return {secret, escaped, quote(secret, safe=""), quote_plus(secret), encoded} - {""}

"""API keys, how they are made and the only form in which they are stored; and secrets that sign deliveries."""

import base64
import hashlib
import secrets
from typing import Final

PREFIX: Final = "sk-way-"


def new_key() -> str:
    """Return a new key: `sk-way-` and 32 random bytes as URL-safe base64."""
    return PREFIX + secrets.token_urlsafe(32)


def hash_key(key: str) -> str:
    """Return the SHA-256 of a key in hex. Keys are random, so a fast hash is enough, and the index finds it."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def key_hint(key: str) -> str:
    """Return the last four characters, by which people recognise a key."""
    return key[-4:]


def new_signing_secret() -> str:
    """Return a new secret in the form of Standard Webhooks: `whsec_` and 32 random bytes as base64."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()

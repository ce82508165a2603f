"""Identifiers: how they are made, and how an event of a runtime always gets the same one."""

import base64
import hashlib
import secrets
import time

_ALPHABET = bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", b"0123456789abcdefghjkmnpqrstvwxyz")


def _encode(value: bytes) -> str:
    """Return the first 130 bits of 17 bytes as 26 characters."""
    return base64.b32encode(value)[:26].translate(_ALPHABET).decode()


def new_id(prefix: str) -> str:
    """Return `<prefix>_` and 26 characters: 48 bits of milliseconds, then 80 random bits, so ids sort by time."""
    stamp = (time.time_ns() // 1_000_000) & ((1 << 48) - 1)
    # Two bits of zero first: 26 characters hold 130.
    return f"{prefix}_{_encode((((stamp << 80) | secrets.randbits(80)) << 6).to_bytes(17, 'big'))}"


def derived_id(prefix: str, *parts: object) -> str:
    """Return the id that these parts always give, whichever process computes it, and however often."""
    digest = hashlib.sha256("\x1f".join(str(part) for part in parts).encode()).digest()
    return f"{prefix}_{_encode(digest[:17])}"


def event_id(session_id: str, native_key: str, ordinal: int) -> str:
    """Return the id of the `ordinal`-th event that the native event `native_key` of a session becomes."""
    return derived_id("sevt", session_id, native_key, ordinal)

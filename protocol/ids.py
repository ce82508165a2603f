"""Identifiers: how they are made, and how an event of a runtime always gets the same one."""

import hashlib
import secrets
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def _encode(value: int, length: int) -> str:
    digits = []
    for _ in range(length):
        value, remainder = divmod(value, 32)
        digits.append(_ALPHABET[remainder])
    return "".join(reversed(digits))


def new_id(prefix: str) -> str:
    """Return `<prefix>_` and 26 characters: 48 bits of milliseconds, then 80 random bits, so ids sort by time."""
    stamp = (time.time_ns() // 1_000_000) & ((1 << 48) - 1)
    return f"{prefix}_{_encode((stamp << 80) | secrets.randbits(80), 26)}"


def derived_id(prefix: str, *parts: object) -> str:
    """Return the id that these parts always give, whichever process computes it, and however often."""
    digest = hashlib.sha256("\x1f".join(str(part) for part in parts).encode()).digest()
    return f"{prefix}_{_encode(int.from_bytes(digest[:17], 'big') >> 6, 26)}"


def event_id(session_id: str, native_key: str, ordinal: int) -> str:
    """Return the id of the `ordinal`-th event that the native event `native_key` of a session becomes."""
    return derived_id("sevt", session_id, native_key, ordinal)

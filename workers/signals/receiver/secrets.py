"""What a receiver has to recognise again, whichever copy is asked: derived, never stored.

HMAC-SHA256 (RFC 2104) under a key of this worker's, with a label for each use.  A push secret lasts as long as the subscription's name; a
verification's state holds for the hour it was made in and the next.
"""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

from weft.digest import b64u

from streams.secretfile import read_secret

FOLDER = "subscriptions"
HOUR_S = 3600


class Secrets:
    """Under the key that seals (`streams.keys.seal_key`), which every copy has; a key of its own follows from it."""

    def __init__(self, seal_key: bytes) -> None:
        self._key = hmac.new(seal_key, b"weft-receiver", hashlib.sha256).digest()

    def push_authorization(self, name: str) -> str:
        """What a transmitter has to send with every push for that subscription: an Authorization header's value."""
        return f"Bearer {self._derived('push', name)}"

    def is_push_authorization(self, name: str, given: str | None) -> bool:
        """In constant time."""
        return given is not None and hmac.compare_digest(given.encode(), self.push_authorization(name).encode())

    def state(self, stream_id: str, now: float) -> str:
        """For a verification asked now (SSF 1.0 section 8.1.4.2)."""
        return self._derived("state", f"{int(now // HOUR_S)}\0{stream_id}")

    def is_state(self, stream_id: str, given: str, now: float) -> bool:
        """Ours, of this hour or the one before."""
        return any(hmac.compare_digest(given.encode(), self.state(stream_id, at).encode()) for at in (now, now - HOUR_S))

    def _derived(self, label: str, about: str) -> str:
        return b64u(hmac.new(self._key, f"{label}\0{about}".encode(), hashlib.sha256).digest())


def given_secret(keys: Path, name: str) -> str | None:
    """The secret that an operator put into the subscription's file; none where there is none.  Raises LooseSecret."""
    try:
        return read_secret(keys / FOLDER / name).decode().strip() or None
    except (FileNotFoundError, UnicodeDecodeError):
        return None

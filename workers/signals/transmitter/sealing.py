"""A receiver's credential at rest: AES-256-GCM under a key that only `signals` holds, bound to the stream it is for.

Facts are kept for ever and read by every worker; what a receiver gave us to authenticate pushes with must be readable by neither.
Layout of the sealed text: base64url(nonce, 12 bytes ‖ ciphertext and tag).
"""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from weft.digest import b64u, unb64u

from streams.secretfile import read_secret, write_secret

FILE = "signals-seal.key"
_KEY_BYTES, _NONCE_BYTES = 32, 12


class SealBroken(Exception):
    """Not sealed under this key, or for this stream."""


class Sealer:
    """One key."""

    def __init__(self, key: bytes) -> None:
        self._aead = AESGCM(key)

    @classmethod
    def load_or_create(cls, folder: Path) -> Sealer:
        """The key of that folder.  Raises LooseSecret, ValueError."""
        path = folder / FILE
        try:
            key = read_secret(path)
        except FileNotFoundError:
            key = os.urandom(_KEY_BYTES)
            write_secret(path, key)
        return cls(key)

    def seal(self, stream_id: str, secret: str) -> str:
        """For this stream alone."""
        nonce = os.urandom(_NONCE_BYTES)
        return b64u(nonce + self._aead.encrypt(nonce, secret.encode(), stream_id.encode()))

    def open(self, stream_id: str, sealed: str) -> str:
        """The secret.  Raises SealBroken."""
        try:
            raw = unb64u(sealed)
            return self._aead.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], stream_id.encode()).decode()
        except (InvalidTag, ValueError):
            raise SealBroken("not sealed under this key for this stream") from None

"""A receiver's credential at rest: AES-256-GCM under a key that only `signals` holds, bound to the stream it is for.

Facts are kept for ever and read by every worker; what a receiver gave us to authenticate pushes with must be readable by neither.
Layout of the sealed text: base64url(nonce, 12 bytes ‖ ciphertext and tag).
"""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from weft.digest import b64u, unb64u

_NONCE_BYTES = 12


class SealBroken(Exception):
    """Not sealed under this key, or for this stream."""


class Sealer:
    """One key, of 32 bytes (`streams.keys.seal_key`)."""

    def __init__(self, key: bytes) -> None:
        """Raises ValueError for a key of another length."""
        self._aead = AESGCM(key)

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

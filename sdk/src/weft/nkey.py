"""NATS nkeys: Ed25519 and X25519 keys in their text form, and the two operations we need of them.

Text form: base32(prefix byte | 32 key bytes | CRC-16/XMODEM little endian), no padding; a seed has two prefix bytes.
PyPI `nkeys` has no encoder for a public key and no curve keys, and verifies slower; this module is checked against it in the tests.
"""

from __future__ import annotations

import base64
import binascii
import os
from typing import Literal

from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

Kind = Literal["A", "C", "N", "O", "U", "X"]
_PREFIX: dict[str, int] = {"S": 18 << 3, "N": 13 << 3, "A": 0, "U": 20 << 3, "X": 23 << 3, "O": 14 << 3, "C": 2 << 3}


class InvalidKey(ValueError):
    """The text is no nkey of the wanted kind.  The message never repeats it."""


class InvalidSignature(ValueError):
    """The signature does not belong to this key and message."""


def encode_public(kind: Kind, raw: bytes) -> str:
    """32 public bytes to text."""
    return _encode(bytes([_PREFIX[kind]]) + raw)


def decode_public(text: str, kind: Kind) -> bytes:
    """Text to 32 public bytes; raises InvalidKey."""
    raw = _decode(text)
    if len(raw) != 33 or raw[0] != _PREFIX[kind]:
        raise InvalidKey(f"not a public nkey of kind {kind}")
    return raw[1:]


def encode_seed(kind: Kind, raw: bytes) -> str:
    """32 secret bytes to a seed."""
    prefix = _PREFIX[kind]
    return _encode(bytes([_PREFIX["S"] | prefix >> 5, (prefix & 31) << 3]) + raw)


def decode_seed(seed: str) -> tuple[Kind, bytes]:
    """A seed to its kind and 32 secret bytes; raises InvalidKey."""
    raw = _decode(seed)
    kinds: dict[int, Kind] = {_PREFIX[k]: k for k in ("A", "C", "N", "O", "U", "X")}
    prefix = (raw[0] & 7) << 5 | raw[1] >> 3 if len(raw) == 34 else -1
    if prefix not in kinds or raw[0] & 0xF8 != _PREFIX["S"]:
        raise InvalidKey("not an nkey seed")
    return kinds[prefix], raw[2:]


class KeyPair:
    """A signing nkey.  `public` may be shown to anyone; `seed` is the secret."""

    def __init__(self, kind: Kind, secret: bytes | None = None) -> None:
        self._key = SigningKey(secret or os.urandom(32))
        self.kind: Kind = kind
        self.public = encode_public(kind, bytes(self._key.verify_key))

    @classmethod
    def from_seed(cls, seed: str) -> KeyPair:
        """Raises InvalidKey."""
        return cls(*decode_seed(seed))

    @property
    def seed(self) -> str:
        """The secret, as text."""
        return encode_seed(self.kind, bytes(self._key))

    def sign(self, message: bytes) -> bytes:
        """64 bytes of Ed25519 signature."""
        return self._key.sign(message).signature

    def __repr__(self) -> str:
        return f"KeyPair({self.public})"


def verify(public: str, kind: Kind, message: bytes, signature: bytes) -> None:
    """Raises InvalidKey or InvalidSignature."""
    try:
        VerifyKey(decode_public(public, kind)).verify(message, signature)
    except (BadSignatureError, ValueError, TypeError) as error:
        if isinstance(error, InvalidKey):
            raise
        raise InvalidSignature("the signature does not verify") from None


def _encode(raw: bytes) -> str:
    return base64.b32encode(raw + binascii.crc_hqx(raw, 0).to_bytes(2, "little")).decode().rstrip("=")


def _decode(text: str) -> bytes:
    try:
        raw = base64.b32decode(text + "=" * (-len(text) % 8))
    except (binascii.Error, ValueError):
        raise InvalidKey("not base32") from None
    if len(raw) < 4 or binascii.crc_hqx(raw[:-2], 0).to_bytes(2, "little") != raw[-2:]:
        raise InvalidKey("the checksum does not match")
    return raw[:-2]

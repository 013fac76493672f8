"""Envelope encryption of what the broker keeps: AES-256-GCM under a fresh data key per value, which a key-encryption key (KEK) wraps.

NIST SP 800-38D for GCM: every data key encrypts once, so a nonce cannot repeat under it; the KEK wraps with random 96-bit nonces, good for
2^32 values.  The context (what the value is: purpose, name, version) is authenticated on both levels: a row moved to another place does
not open.  `KeyEncryption` is the port that a KMS takes; `LocalKEK` is the one of a file or of the environment.

File and environment (`WEFT_BROKER_KEK`) hold one 256-bit key per line, base64url.  The first wraps; the others only open what they wrapped
before, until the last of it is wrapped anew.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from weft.digest import b64u, sha256, unb64u

from config.settings import Settings
from schemas.sealed import Sealed
from streams.secretfile import read_secret, write_secret

ENVIRONMENT = "WEFT_BROKER_KEK"
KEY_BYTES = 32
NONCE_BYTES = 12


class KEKUnavailable(Exception):
    """There is no key-encryption key, or it is not one; the text says where it was looked for."""


class CannotOpen(Exception):
    """Not sealed under a key that is held, not for this context, or changed since.  Says nothing of the value."""


class KeyEncryption(Protocol):
    """Wraps data keys.  May block on a network: whoever is in an event loop calls it in a thread."""

    @property
    def current(self) -> str:
        """The name of the key that `wrap` uses."""

    def wrap(self, data_key: bytes, context: bytes) -> bytes:
        """The data key, encrypted and bound to the context.  Raises KEKUnavailable."""

    def unwrap(self, kek: str, wrapped: bytes, context: bytes) -> bytes:
        """The data key.  Raises CannotOpen, KEKUnavailable."""


class LocalKEK:
    """Keys that this process holds.  Its `repr` shows their names alone."""

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        """The first is current."""
        self._keys = {name: AESGCM(key) for name, key in keys.items()}
        self.current = next(iter(self._keys))

    @classmethod
    def parse(cls, text: str, where: str) -> LocalKEK:
        """One key per line.  Raises KEKUnavailable, which repeats nothing of it."""
        try:
            keys = [unb64u(line.strip()) for line in text.splitlines() if line.strip()]
        except ValueError:
            keys = []
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise KEKUnavailable(f"{where} holds no 256-bit key in base64url, one per line")
        return cls({name_of(key): key for key in keys})

    def wrap(self, data_key: bytes, context: bytes) -> bytes:
        """See KeyEncryption."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._keys[self.current].encrypt(nonce, data_key, context)

    def unwrap(self, kek: str, wrapped: bytes, context: bytes) -> bytes:
        """See KeyEncryption."""
        held = self._keys.get(kek)
        if held is None:
            raise CannotOpen("sealed under a key-encryption key that is not held here")
        try:
            return held.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], context)
        except (InvalidTag, ValueError):
            raise CannotOpen("the data key does not open") from None

    def __repr__(self) -> str:
        return f"LocalKEK({', '.join(self._keys)})"


def name_of(key: bytes) -> str:
    """A key's name: 128 bits of its SHA-256, which tell nothing of 256 random ones."""
    return sha256(b"weft kek\0" + key)[:22]


def load_kek(settings: Settings, environ: Mapping[str, str] | None = None) -> LocalKEK:
    """From the environment, else from the file that the settings name.  Raises KEKUnavailable, LooseSecret."""
    text = (os.environ if environ is None else environ).get(ENVIRONMENT)
    if text is not None:
        return LocalKEK.parse(text, ENVIRONMENT)
    try:
        return LocalKEK.parse(read_secret(settings.kek).decode("ascii"), str(settings.kek))
    except FileNotFoundError:
        raise KEKUnavailable(f"no key-encryption key: neither {ENVIRONMENT} nor {settings.kek}") from None
    except UnicodeDecodeError:
        raise KEKUnavailable(f"{settings.kek} is not text") from None


def load_or_create_kek(settings: Settings) -> LocalKEK:
    """The same; for a new fabric the file is made.  Raises KEKUnavailable, LooseSecret."""
    if ENVIRONMENT not in os.environ and not settings.kek.exists():
        write_secret(settings.kek, b64u(os.urandom(KEY_BYTES)).encode() + b"\n")
    return load_kek(settings)


def seal(kek: KeyEncryption, plaintext: bytes, context: str) -> Sealed:
    """Under a fresh data key.  Raises KEKUnavailable."""
    data_key, nonce = AESGCM.generate_key(KEY_BYTES * 8), os.urandom(NONCE_BYTES)
    ciphertext = AESGCM(data_key).encrypt(nonce, plaintext, context.encode())
    wrapped = kek.wrap(data_key, context.encode())
    return Sealed(kek=kek.current, wrapped=b64u(wrapped), nonce=b64u(nonce), ciphertext=b64u(ciphertext))


def unseal(kek: KeyEncryption, sealed: Sealed, context: str) -> bytes:
    """The value.  Raises CannotOpen, KEKUnavailable."""
    try:
        data_key = kek.unwrap(sealed.kek, unb64u(sealed.wrapped), context.encode())
        return AESGCM(data_key).decrypt(unb64u(sealed.nonce), unb64u(sealed.ciphertext), context.encode())
    except (InvalidTag, ValueError):
        raise CannotOpen("the value does not open: another context, or changed") from None


def rewrap(kek: KeyEncryption, sealed: Sealed, context: str) -> Sealed:
    """The same value under the current KEK; its data key and ciphertext stay.  Raises CannotOpen, KEKUnavailable."""
    if sealed.kek == kek.current:
        return sealed
    data_key = kek.unwrap(sealed.kek, unb64u(sealed.wrapped), context.encode())
    return sealed.model_copy(update={"kek": kek.current, "wrapped": b64u(kek.wrap(data_key, context.encode()))})

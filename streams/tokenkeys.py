"""The keys that sign Transaction Tokens, as the broker's folder holds them: `broker/tokens/<kid>.json`, the private half sealed.

ECDSA P-256 (ES256, RFC 7518 section 3.4); `kid` is the RFC 7638 thumbprint.  Which of them signs when is no affair of the files: facts of
kind `key` say so (workers.common.keyperiods).  The public half can be read without the key-encryption key, so that a bootstrap needs none.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_der_private_key, load_pem_private_key
from jwt.algorithms import ECAlgorithm
from pydantic import ValidationError

from config.settings import Settings
from schemas.sealed import SealedKey
from streams.envelope import CannotOpen, KeyEncryption, load_or_create_kek, rewrap, seal, unseal
from streams.keys import SigningKey, WrongKey, thumbprint
from streams.secretfile import read_secret, write_secret


def folder(settings: Settings) -> Path:
    """Where they lie."""
    return settings.state / "broker" / "tokens"


def create(settings: Settings, kek: KeyEncryption) -> SigningKey:
    """A new key, written.  Nobody signs with it before a fact says so."""
    return _keep(settings, kek, generate_private_key(SECP256R1()))


def first(settings: Settings) -> SigningKey:
    """The key that a fabric begins with: found, taken over from the file of an earlier version, or made.  Raises CannotOpen, WrongKey."""
    kek, held, old = load_or_create_kek(settings), oldest(settings), settings.keys / "tokens.pem"
    if held is not None:
        return open_key(kek, held)
    if not old.exists():
        return create(settings, kek)
    private = load_pem_private_key(read_secret(old), password=None)
    if not isinstance(private, EllipticCurvePrivateKey) or not isinstance(private.curve, SECP256R1):
        raise WrongKey("keys/tokens.pem is not a P-256 key")
    key = _keep(settings, kek, private)
    old.unlink()
    return key


def oldest(settings: Settings) -> SealedKey | None:
    """The first of those that are left: one that a fact names, or that a bootstrap is about to."""
    return min(stored(settings), key=lambda key: (key.at, key.kid), default=None)


def stored(settings: Settings) -> Iterator[SealedKey]:
    """Every file, as it lies there.  Raises LooseSecret, WrongKey."""
    for path in sorted(folder(settings).glob("*.json")):
        yield _read(path)


def find(settings: Settings, kid: str) -> SealedKey | None:
    """One of them."""
    path = _path(settings, kid)
    return _read(path) if path.exists() else None


def keep(settings: Settings, key: SealedKey) -> None:
    """Write one that another broker gave."""
    write_secret(_path(settings, key.kid), key.wire())


def destroy(settings: Settings, kid: str) -> None:
    """Forget the private half; facts keep the public one."""
    _path(settings, kid).unlink(missing_ok=True)


def rewrap_all(settings: Settings, kek: KeyEncryption) -> int:
    """Wrap under the current KEK what lies under an older one; how many.  Raises CannotOpen, KEKUnavailable."""
    changed = 0
    for key in stored(settings):
        again = rewrap(kek, key.sealed, _context(key.kid))
        if again is not key.sealed:
            keep(settings, key.model_copy(update={"sealed": again}))
            changed += 1
    return changed


def open_key(kek: KeyEncryption, stored_key: SealedKey) -> SigningKey:
    """The private half.  Raises CannotOpen, WrongKey, KEKUnavailable."""
    private = load_der_private_key(unseal(kek, stored_key.sealed, _context(stored_key.kid)), password=None)
    if not isinstance(private, EllipticCurvePrivateKey) or not isinstance(private.curve, SECP256R1):
        raise WrongKey("not a P-256 key")
    key = signing_key(private)
    if key.kid != stored_key.kid:
        raise CannotOpen("the key is not the one that its file names")
    return key


def _keep(settings: Settings, kek: KeyEncryption, private: EllipticCurvePrivateKey) -> SigningKey:
    key = signing_key(private)
    der = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    keep(settings, SealedKey(kid=key.kid, jwk=key.jwk, at=int(time.time()), sealed=seal(kek, der, _context(key.kid))))
    return key


def signing_key(private: EllipticCurvePrivateKey) -> SigningKey:
    """With what of it may be told."""
    jwk = json.loads(ECAlgorithm.to_jwk(private.public_key()))
    return SigningKey(private, thumbprint(jwk), {**jwk, "alg": "ES256", "use": "sig", "kid": thumbprint(jwk)}, "ES256")


def _read(path: Path) -> SealedKey:
    try:
        key = SealedKey.model_validate_json(read_secret(path))
    except ValidationError:
        raise WrongKey(f"{path.name} is not a sealed key") from None
    if path.stem != key.kid:
        raise WrongKey(f"{path.name} holds another key than it names")
    return key


def _path(settings: Settings, kid: str) -> Path:
    if "/" in kid or kid.startswith("."):
        raise WrongKey("not a kid")
    return folder(settings) / f"{kid}.json"


def _context(kid: str) -> str:
    return f"weft token key {kid}"

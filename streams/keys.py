"""The fabric's own signing keys: one per purpose and holder, as files only their owner reads.  RFC 7518 section 6.2, RFC 8037, RFC 7638.

`signals`, `svid` and `status` are ECDSA P-256 keys (ES256), `revocation` is an Ed25519 key (EdDSA): its entries are many and
short, and every point verifies each.  `signals-rs256` is an RSA key (RS256), for streams whose receivers follow the CAEP
Interoperability Profile.  The file is PKCS#8 PEM, mode 0600.  Which worker may load which purpose is its `app.py`'s to keep.
The keys that sign tokens are several, change, and lie encrypted: streams.tokenkeys.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from weft.digest import canonical, sha256

from config.settings import Settings
from streams.secretfile import read_secret, write_secret

Purpose = Literal["signals", "signals-rs256", "svid", "revocation", "status"]
SignalsPurpose = Literal["signals", "signals-rs256"]  # several over time: keys/<purpose>.pem, and keys/signals/ for those after it
PURPOSES: tuple[Purpose, ...] = ("signals", "signals-rs256", "svid", "revocation", "status")
SEAL_BYTES = 32
RSA_BITS = 2048  # the least that RFC 7518 section 3.3 and the profile allow; verifying and signing are quick with it
_ED25519: tuple[Purpose, ...] = ("revocation",)
_RSA: tuple[Purpose, ...] = ("signals-rs256",)
_THUMBPRINT_MEMBERS = {  # RFC 7638 section 3.2, RFC 8037 section 2
    "EC": ("crv", "kty", "x", "y"),
    "OKP": ("crv", "kty", "x"),
    "RSA": ("e", "kty", "n"),
}
PrivateKey = EllipticCurvePrivateKey | Ed25519PrivateKey | RSAPrivateKey


class WrongKey(Exception):
    """The file holds another kind of key than its purpose wants."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key, and what of it may be told."""

    private: PrivateKey = field(repr=False)
    kid: str  # RFC 7638 thumbprint
    jwk: dict[str, Any]  # public, RFC 7517
    alg: Literal["ES256", "EdDSA", "RS256"]


def load_or_create(settings: Settings, purpose: Purpose) -> SigningKey:
    """The key of this purpose.  Raises LooseSecret, WrongKey."""
    path = settings.keys / f"{purpose}.pem"
    try:
        private = load_pem_private_key(read_secret(path), password=None)
    except FileNotFoundError:
        private = _create(purpose, path)
    return _signing_key(private, purpose)


def held_keys(settings: Settings, purpose: SignalsPurpose) -> tuple[SigningKey, ...]:
    """The first key of a purpose that has several over time, and those that came after it.  Raises LooseSecret, WrongKey."""
    paths = sorted(_folder(settings).glob(f"{purpose}.*.pem"))
    return (load_or_create(settings, purpose), *(_read(path, purpose) for path in paths))


def next_key(settings: Settings, purpose: SignalsPurpose) -> SigningKey:
    """Another one, kept: `keys/signals/<purpose>.<kid>.pem`.  It signs once a fact says so."""
    private = _generate(purpose)
    key = _signing_key(private, purpose)
    write_secret(_path(settings, purpose, key.kid), _pem(private))
    return key


def first_kid(settings: Settings, purpose: SignalsPurpose) -> str:
    """Of `keys/<purpose>.pem`."""
    return load_or_create(settings, purpose).kid


def take_over(settings: Settings, purpose: SignalsPurpose, kid: str) -> None:
    """A later key takes the place of the first one, whose private half is gone with that.  Raises FileNotFoundError."""
    later = _path(settings, purpose, kid)
    write_secret(settings.keys / f"{purpose}.pem", read_secret(later))
    later.unlink()


def destroy_key(settings: Settings, purpose: SignalsPurpose, kid: str) -> None:
    """The private half of a later key."""
    _path(settings, purpose, kid).unlink(missing_ok=True)


def _folder(settings: Settings) -> Path:
    return settings.keys / "signals"


def _path(settings: Settings, purpose: SignalsPurpose, kid: str) -> Path:
    return _folder(settings) / f"{purpose}.{kid}.pem"


def _read(path: Path, purpose: Purpose) -> SigningKey:
    return _signing_key(load_pem_private_key(read_secret(path), password=None), purpose)


def seal_key(settings: Settings) -> bytes:
    """32 bytes under which `signals` seals what receivers authenticate us by, and makes what transmitters show us.  Raises LooseSecret."""
    path = settings.keys / "signals-seal.key"
    try:
        return read_secret(path)
    except FileNotFoundError:
        key = os.urandom(SEAL_BYTES)
        write_secret(path, key)
        return key


def _create(purpose: Purpose, path: Path) -> PrivateKey:
    private = _generate(purpose)
    write_secret(path, _pem(private))
    return private


def _pem(private: PrivateKey) -> bytes:
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _generate(purpose: Purpose) -> PrivateKey:
    if purpose in _ED25519:
        return Ed25519PrivateKey.generate()
    return generate_rsa_key(65537, RSA_BITS) if purpose in _RSA else generate_private_key(SECP256R1())


def _signing_key(private: object, purpose: Purpose) -> SigningKey:
    if purpose in _ED25519 and isinstance(private, Ed25519PrivateKey):
        return _told(private, json.loads(OKPAlgorithm.to_jwk(private.public_key())), "EdDSA")
    if purpose in _RSA and isinstance(private, RSAPrivateKey) and private.key_size >= RSA_BITS:
        return _told(private, json.loads(RSAAlgorithm.to_jwk(private.public_key())), "RS256")
    is_p256 = isinstance(private, EllipticCurvePrivateKey) and isinstance(private.curve, SECP256R1)
    if purpose not in (*_ED25519, *_RSA) and isinstance(private, EllipticCurvePrivateKey) and is_p256:
        return _told(private, json.loads(ECAlgorithm.to_jwk(private.public_key())), "ES256")
    raise WrongKey(f"not a key for {purpose}")


def _told(private: PrivateKey, jwk: dict[str, Any], alg: Literal["ES256", "EdDSA", "RS256"]) -> SigningKey:
    jwk.pop("key_ops", None)  # `use` says it (RFC 7517 section 4.3: not both)
    kid = thumbprint(jwk)
    return SigningKey(private, kid, {**jwk, "alg": alg, "use": "sig", "kid": kid}, alg)


def thumbprint(jwk: dict[str, Any]) -> str:
    """RFC 7638 section 3: SHA-256 over the required members, canonical, base64url."""
    return sha256(canonical({name: jwk[name] for name in _THUMBPRINT_MEMBERS[jwk["kty"]]}))

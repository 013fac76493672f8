"""Entries and beacons as compact JWS: EdDSA over Ed25519 (RFC 7515 section 7.1, RFC 8037 section 3.1), one `typ` each.

The header is exactly `{"alg":"EdDSA","typ":...,"kid":...}`.  What is read back must verify under a revocation key of FACTS before a
writer goes on from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import ValidationError
from weft.digest import b64u, canonical
from weft.errors import Malformed
from weft.jws import eddsa_verifies, parse_jws

from schemas.base import Wire
from workers.revocation.ledger import BrokenLedger

MAX_BYTES = 16_384  # schemas.base.Compact
PayloadT = TypeVar("PayloadT", bound=Wire)


class KeySigner:
    """The revocation key of this process; its `repr` shows the id alone."""

    def __init__(self, key: Ed25519PrivateKey, kid: str) -> None:
        self._key = key
        self.kid = kid

    def sign(self, payload: Wire, typ: str) -> str:
        """As compact JWS."""
        return self.sign_bytes(payload.wire(), typ)

    def sign_bytes(self, payload: bytes, typ: str) -> str:
        """The same, of what is JSON already."""
        header = b64u(canonical({"alg": "EdDSA", "typ": typ, "kid": self.kid}))
        signing_input = f"{header}.{b64u(payload)}"
        return f"{signing_input}.{b64u(self._key.sign(signing_input.encode()))}"

    def __repr__(self) -> str:
        return f"KeySigner({self.kid})"


def verify_own(jws: str, typ: str, model: type[PayloadT], keys: Mapping[str, bytes]) -> PayloadT:
    """What an earlier writer signed.  Raises BrokenLedger, without a word of the content."""
    try:
        parsed = parse_jws(jws, MAX_BYTES)
        key = keys.get(parsed.kid("EdDSA", typ))
        if key is not None and eddsa_verifies(key, parsed):
            return model.model_validate_json(parsed.payload)
    except (Malformed, ValidationError):
        pass
    raise BrokenLedger(f"a stored {typ} does not verify")

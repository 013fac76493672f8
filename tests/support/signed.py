"""Signers of the tests: Transaction Tokens, and the revocation stream's entries and beacons.  They sign whatever they are told to."""

from __future__ import annotations

import json
import os
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from nacl.signing import SigningKey
from weft import wire
from weft.digest import b64u, call_digest, call_parts, sha256, target_digest

NOW = 1_800_000_000
ADVISOR = "spiffe://88mph.com/agents/advisor"
PAYMENTS = "spiffe://88mph.com/tools/payments"
INSTANCE = "i" + "a" * 26
ISSUER = "https://txn-svc.88mph.com"
BODY = b'{"order":"84729","amount":"120.00"}'
PARTS = ("method", "path", "body")


def compact(header: Any, payload: bytes, sign: Any) -> str:
    """A compact JWS over exactly these bytes."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    signing_input = f"{b64u(raw)}.{b64u(payload)}"
    return f"{signing_input}.{b64u(sign(signing_input.encode()))}"


class TokenKey:
    """A P-256 key that signs tokens."""

    def __init__(self, kid: str = "t1", key: ec.EllipticCurvePrivateKey | None = None) -> None:
        self.kid = kid
        self._key = key or ec.generate_private_key(ec.SECP256R1())
        self.public = self._key.public_key()

    @property
    def jwk(self) -> dict[str, str]:
        numbers = self.public.public_numbers()
        x, y = (b64u(n.to_bytes(32, "big")) for n in (numbers.x, numbers.y))
        return {"kty": "EC", "crv": "P-256", "x": x, "y": y}

    def raw_sign(self, message: bytes) -> bytes:
        r, s = decode_dss_signature(self._key.sign(message, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    def sign(self, claims: Any, **header: Any) -> str:
        head = {"alg": "ES256", "typ": "txntoken+jwt", "kid": self.kid} | header
        payload = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
        return compact({k: v for k, v in head.items() if v is not None}, payload, self.raw_sign)


def call_claim(body: bytes = BODY, method: str = "POST", path: str = "/refunds", **changes: Any) -> dict[str, Any]:
    """`call` for a refund of that body."""
    digest = call_digest(call_parts(method, path, body), PARTS)  # type: ignore[arg-type]
    call = {
        "tool": "payments-processing",
        "workload": PAYMENTS,
        "resource": "https://payments.flux.88mph.com",
        "actions": ["refund"],
        "bound": list(PARTS),
        "digest": digest,
        "single_use": False,
    }
    return call | changes


def claims(now: int = NOW, **changes: Any) -> dict[str, Any]:
    """A token's payload as the broker makes it; a change to None leaves a claim out."""
    made = {
        "iss": ISSUER,
        "aud": "88mph.com",
        "iat": now,
        "exp": now + 60,
        "jti": os.urandom(8).hex(),
        "txn": os.urandom(8).hex(),
        "sub": "marty",
        "scope": "process.refund",
        "purp": "process.refund",
        "req_wl": "apigateway.88mph.com",
        "rctx": {},
        "tctx": {"purposes": ["process.refund"], "tools": ["*"], "actions": ["*"], "depth": 2},
        "call": call_claim(),
        "act": {"sub": ADVISOR, "instance": INSTANCE},
        "act_chain": [],
        "agentic_ctx": {},
        "evidence": [],
        "cnf": {"jkt": "k" * 43},
        "rev": 0,
        "facts": 1,
    } | changes
    return {name: value for name, value in made.items() if value is not None}


class Writer:
    """A revocation writer: the chain and its beacons, as the stream would hold them."""

    def __init__(self, kid: str = "r1", key: SigningKey | None = None) -> None:
        self.kid = kid
        self._key = key or SigningKey.generate()
        self.public = bytes(self._key.verify_key)
        self.n, self.head, self.epoch, self.floor = 0, "A" * 43, 1, 1

    @property
    def jwk(self) -> dict[str, str]:
        return {"kty": "OKP", "crv": "Ed25519", "x": b64u(self.public)}

    def sign(self, payload: dict[str, Any], typ: str, **header: Any) -> str:
        head = {"alg": "EdDSA", "typ": typ, "kid": self.kid} | header
        return compact(head, json.dumps(payload).encode(), lambda message: self._key.sign(message).signature)

    def entry(self, *targets: tuple[str, str], at: int = NOW, **changes: Any) -> str:
        """The next entry."""
        named = [{"kind": kind, "digest": target_digest(kind, value)} for kind, value in targets]  # type: ignore[arg-type]
        payload = {"n": self.n + 1, "prev": self.head, "epoch": self.epoch, "at": at, "targets": named} | changes
        jws = self.sign(payload, "weft-revocation+jwt")
        self.n, self.head = payload["n"], sha256(jws)
        return jws

    def beacon(self, at: float = NOW, facts: int = 1, **changes: Any) -> str:
        """A beacon of where it stands."""
        payload = {"n": self.n, "head": self.head, "epoch": self.epoch, "at": at, "facts": facts, "floor": self.floor}
        return self.sign(payload | changes, "weft-beacon+jwt")


def entry_event(jws: str) -> bytes:
    """As REVOCATIONS holds an entry."""
    return wire.event("org.weft.revocation.entry.v1", {"jws": jws}, source="/weft/revocation")


def beacon_event(jws: str) -> bytes:
    """As REVOCATIONS holds a beacon."""
    return wire.event("org.weft.revocation.beacon.v1", {"jws": jws}, source="/weft/revocation")

"""An agent's side of an invocation, made without the SDK: its key, its SVID, what it signs, and what it publishes."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from weft.digest import b64u, call_parts, sha256
from weft.nkey import KeyPair
from weft.spiffeid import SpiffeID

from schemas.facts import Key
from streams.subjects import connection_name
from tests.support.identities import Signer

TRUST_DOMAIN = "88mph.com"
RESEARCHER = f"spiffe://{TRUST_DOMAIN}/agents/researcher"
ADVISOR = f"spiffe://{TRUST_DOMAIN}/agents/advisor"
SEARCH = f"spiffe://{TRUST_DOMAIN}/agents/search"
CALL = call_parts("GET", "/search?q=flux", b"")


@dataclass
class AgentSide:
    """One instance of an agent.  `issuer` signs its SVIDs."""

    issuer: Signer
    id: str = RESEARCHER
    instance: str = "i" + "b2" * 13
    key: KeyPair = field(default_factory=lambda: KeyPair("U"))

    @property
    def name(self) -> str:
        return connection_name(self.instance, SpiffeID.parse(self.id))

    def svid(self, now: float, **changes: Any) -> str:
        """A good one, or one with claims replaced; None removes."""
        claims = {
            "sub": self.id,
            "aud": f"weft:{TRUST_DOMAIN}:{self.key.public}",
            "iat": int(now),
            "exp": int(now) + 300,
            "weft_instance": self.instance,
            "weft_assurance": "development",
            **changes,
        }
        return self.issuer.sign({name: value for name, value in claims.items() if value is not None})

    def payload(self, now: float, **changes: Any) -> dict[str, Any]:
        """The researcher's search, or what it is changed into; None removes."""
        good = {
            "id": uuid4().hex,
            "tool": "web-search",
            "actions": ["search"],
            "purpose": "web.search.execute",
            "call": CALL,
            "iat": int(now),
        }
        return {name: value for name, value in {**good, **changes}.items() if value is not None}

    def sign(self, payload: dict[str, Any] | bytes, *, key: KeyPair | None = None, header: Any = None) -> str:
        """A compact JWS as the contract asks, or with another header or key."""
        key = key or self.key
        head = {"alg": "EdDSA", "typ": "weft-request+jwt", "kid": key.public} if header is None else header
        parts = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (head, payload)]
        signing_input = ".".join(b64u(part) for part in parts)
        return f"{signing_input}.{b64u(key.sign(signing_input.encode()))}"

    def carried(self, now: float, *, parent: str | None = None, user: str | None = None, **changes: Any) -> dict[str, Any]:
        """`data` of an invocation that carries these tokens and names them in what it signs."""
        intent = changes.pop("intent_text", None)
        named = {"parent": parent, "user": user, "intent": intent}
        digests = {name: None if text is None else sha256(text) for name, text in named.items()}
        tokens = {"parent_token": parent, "user_token": user, "intent": intent}
        return {
            "request": self.sign(self.payload(now, **{**digests, **changes})),
            "svid": self.svid(now),
            **{name: text for name, text in tokens.items() if text is not None},
        }

    def body(self, now: float, **changes: Any) -> bytes:
        """The message that is published."""
        return envelope("org.weft.invocation.requested.v1", self.carried(now, **changes))


def envelope(type_: str, data: Any) -> bytes:
    """A CloudEvent as the contract asks."""
    event = {"specversion": "1.0", "id": uuid4().hex, "source": "/test", "type": type_, "time": "2026-01-01T00:00:00Z", "data": data}
    return json.dumps(event).encode()


def svid_fact(issuer: Signer) -> Key:
    """The issuer's key, as the fabric knows it."""
    return issuer.fact(TRUST_DOMAIN, assurance="development")

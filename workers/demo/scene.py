"""What the steps share: the stage, the report, the actors, and the two parties outside the fabric that sign things."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from weft.digest import sha256

from schemas.commands import Change
from schemas.facts import Fact, FactBody, Kind, Transmitter, TransmitterCeiling, UserIssuer
from schemas.signals import CAEP
from streams.facts_keys import key_of
from workers.demo.report import Report
from workers.demo.stage import Program, Stage

MARTY = "martymcfly@88mph.com"
ADVISOR = "spiffe://88mph.com/agents/advisor/payments"
RESEARCHER = "spiffe://88mph.com/agents/einstein-research"
SEARCH_AGENT = "spiffe://88mph.com/agents/search"
REFUND = {"order": "84729", "amount": "120.00"}
RISK_LEVEL_CHANGE = CAEP + "risk-level-change"


class Signer:
    """A party with an ES256 key of its own."""

    def __init__(self, iss: str) -> None:
        self.iss = iss
        self._key = ec.generate_private_key(ec.SECP256R1())
        public: dict[str, Any] = jwt.algorithms.ECAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        self._kid = sha256(iss)[:16]
        self.jwks = {"keys": [{**public, "kid": self._kid, "use": "sig", "alg": "ES256"}]}

    def sign(self, typ: str, claims: dict[str, Any]) -> str:
        """A compact JWS."""
        now = int(time.time())
        return jwt.encode(
            {"iss": self.iss, "iat": now, "jti": uuid.uuid4().hex, **claims}, self._key, "ES256", {"typ": typ, "kid": self._kid}
        )


@dataclass
class Scene:
    """One run of the demonstration.  `broken` is the step in which a fault is planted, 0 for none."""

    stage: Stage
    report: Report
    broken: int = 0
    login: Signer = field(default_factory=lambda: Signer("https://login.88mph.com"))
    partner: Signer = field(default_factory=lambda: Signer("https://login.partner.example"))
    risk: Signer = field(default_factory=lambda: Signer("https://risk.88mph.com"))
    actors: dict[str, Program] = field(default_factory=dict)
    kept: dict[str, Any] = field(default_factory=dict)  # what a later step looks at again

    @property
    def audience(self) -> str:
        """The fabric, as issuers and transmitters name it."""
        return self.stage.settings.issuer

    def user_token(self, scope: str = "process.refund", by: Signer | None = None) -> str:
        """Marty's RFC 9068 access token for the advisor; or that of his namesake at another provider."""
        claims = {"sub": MARTY, "aud": self.audience, "client_id": ADVISOR, "scope": scope, "exp": int(time.time()) + 300}
        return (by or self.login).sign("at+jwt", claims)

    def risk_level_set(self, workload: str, instance: str, level: str) -> str:
        """A CAEP risk-level-change about one instance (CAEP 1.0 section 3.8)."""
        subject = {
            "format": "complex",
            "workload": {"format": "uri", "uri": workload},
            "instance": {"format": "opaque", "id": instance},
        }
        now = int(time.time())
        event = {"principal": "WORKLOAD", "current_level": level.upper(), "previous_level": "LOW", "event_timestamp": now}
        claims = {"aud": self.audience, "txn": uuid.uuid4().hex, "sub_id": subject, "events": {RISK_LEVEL_CHANGE: event}}
        return self.risk.sign("secevent+jwt", claims)

    def outsiders(self) -> tuple[FactBody, ...]:
        """Marty's identity provider, a partner's, and the risk engine, as facts."""
        ceiling = TransmitterCeiling(
            namespaces=("spiffe://88mph.com/agents",), strongest="record" if self.broken == 5 else "quarantine", subjects_per_minute=60
        )
        return (
            UserIssuer(iss=self.login.iss, jwks=self.login.jwks, aud=self.audience),
            UserIssuer(iss=self.partner.iss, jwks=self.partner.jwks, aud=self.audience, namespace="partner"),
            Transmitter(iss=self.risk.iss, aud=self.audience, jwks=self.risk.jwks, trust={"*": "high"}, ceiling=ceiling),
        )

    async def put(self, *bodies: FactBody, reason: str) -> None:
        """Writes facts as the operator."""
        await self.stage.operator.apply([Change(kind=body.kind, key=key_of(body), body=body) for body in bodies], reason=reason)

    async def delete(self, body: FactBody, reason: str) -> None:
        """Deletes a fact as the operator."""
        await self.stage.operator.apply([Change(kind=body.kind, key=key_of(body))], reason=reason)

    async def fact(self, kind: Kind, key: str) -> FactBody:
        """Reads a fact as the operator."""
        answer = await self.stage.operator.query(what="get", kind=kind, key=key)
        body = Fact.model_validate(answer.rows[0]["fact"], strict=False).body
        if body is None:
            raise LookupError(f"{kind}/{key} is deleted")
        return body

    async def reason(self, explanation: str) -> str:
        """Why something was refused, as the operator may know it."""
        answer = await self.stage.operator.explain(explanation)
        return str(answer.rows[0].get("reason", "")) if answer.rows else ""

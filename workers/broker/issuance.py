"""One grant on its way out: what RECORD is to hold of it, and what is released once RECORD does.

The event is put together from parts that are JSON already; `tests/unit/broker/test_issuance.py` holds it to `schemas.record.Issued`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import orjson

from schemas.decision import Decision, DecisionInput, Grant
from schemas.invocation import Granted
from schemas.minting import MintRequest
from schemas.reasons import DenyReason
from schemas.record import Issued
from workers.broker.bounds import Agreement
from workers.broker.forms import token_types
from workers.common.requests import RequestRefused


@dataclass(frozen=True, slots=True)
class Issuance:
    """`payload` are the claims as they are signed, `kid` names the key."""

    request_id: str
    request_digest: str
    txn: str
    exp: int
    grant: Grant
    explanation: str
    payload: bytes = field(repr=False)
    kid: str

    @classmethod
    def recorded(cls, first: Issued) -> Issuance:
        """What an earlier record says was granted."""
        asked, claims = first.input, first.claims
        return cls(
            asked.request_id,
            asked.request_digest,
            claims.txn,
            claims.exp,
            grant_in(first.decision),
            first.explanation,
            claims.wire(),
            first.kid,
        )

    def granted(self, token: str | None) -> Granted:
        """For the agent."""
        return Granted(
            request_id=self.request_id,
            txn=self.txn,
            endpoint=self.grant.endpoint,
            token=token,
            expires_at=self.exp,
            actions=self.grant.actions,
            proof=self.grant.proof,
            explanation=self.explanation,
            **token_types(self.grant),
        )


def grant_in(decision: Decision) -> Grant:
    """The grant of a decision that allows; any other is a bug, and a bug denies."""
    if decision.grant is None:
        raise RequestRefused(DenyReason.INTERNAL, "issued without a grant")
    return decision.grant


def issued_json(asked: DecisionInput, word: Agreement, mint: MintRequest, payload: bytes, kid: str) -> bytes:
    """`schemas.record.Issued`, as JSON."""
    issued = {
        "input": orjson.Fragment(asked.wire()),
        "gateway": word.differing,
        "decision": word.recorded,
        "claims": orjson.Fragment(payload),
        "kid": kid,
        "explanation": mint.explanation,
        "caller": mint.caller,
        "intent": mint.request.intent,
    }
    return orjson.dumps({name: value for name, value in issued.items() if value is not None})

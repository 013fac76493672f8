"""Who may connect.  Pure: the attempt, the facts and `now` come in, a decision goes out.  Design section 5, Instance and Binding."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import Literal

from weft import nkey as nkeys

from schemas.reasons import DenyReason
from streams.access import TEMPLATES
from workers.admission.standing import Facts, lost_agent, lost_operator, lost_point
from workers.common.identity import IdentityRefused, TrustBundles, VerifiedSVID, verify_svid

OPERATOR_LIFE_S = 3_600
Kind = Literal["agent", "point", "operator"]


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a connection shows; all of it unverified."""

    nkey: str
    nonce: str
    signature: str = field(repr=False)
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Fabric:
    """What SVIDs are compared with."""

    trust_domain: str
    mode: Literal["development", "production"]


@dataclass(frozen=True, slots=True)
class Admit:
    """The connection comes in under this name, into the account of its kind, until it expires."""

    kind: Kind
    name: str
    id: str
    expires_at: int
    svid: VerifiedSVID | None = None

    @property
    def account(self) -> str:
        """A constant per kind."""
        return TEMPLATES[self.kind].account


@dataclass(frozen=True, slots=True)
class Refuse:
    """The connection stays out.  Falsy, so that a careless `if` still refuses.  `id` is told as far as it was verified."""

    kind: str
    reason: DenyReason
    detail: str
    id: str | None = None

    def __bool__(self) -> bool:
        return False


def decide_admission(attempt: Attempt, facts: Facts, bundles: TrustBundles, fabric: Fabric, *, now: float, fresh: bool) -> Admit | Refuse:
    """1. The views are fresh.  2. A kind is named.  3. The key signed this connection's nonce.  4. The SVID is good and names that key;
    an operator has none, the key is the person.  5. Registered, active, and neither the instance nor the agent nor a namespace above it
    is quarantined.  6. The name.
    """
    kind, _, svid = attempt.token.partition(" ")
    if kind not in TEMPLATES:  # 2, first, so that the refusal can name it
        return Refuse("unknown", DenyReason.MALFORMED, "no kind of connection is named")
    if not fresh:  # 1
        return Refuse(kind, DenyReason.VIEW_STALE, "the views are not fresh")
    if not _signed(attempt):  # 3
        return Refuse(kind, DenyReason.SIGNATURE_INVALID, "the key did not sign this connection's nonce")
    if kind == "operator":
        return _operator(attempt, svid, facts, now)
    try:
        verified = verify_svid(svid, bundles, now=now, trust_domain=fabric.trust_domain, nkey=attempt.nkey, mode=fabric.mode)  # 4
    except IdentityRefused as refused:
        return Refuse(kind, refused.reason, refused.detail)
    return _workload("agent" if kind == "agent" else "point", verified, facts)


def _workload(kind: Literal["agent", "point"], svid: VerifiedSVID, facts: Facts) -> Admit | Refuse:
    lost = (lost_agent if kind == "agent" else lost_point)(svid.instance, svid.id, facts)  # 5
    if lost is not None:
        return Refuse(kind, lost.reason, lost.detail, id=str(svid.id))
    return Admit(kind, svid.name, str(svid.id), svid.exp, svid)  # 6


def _operator(attempt: Attempt, rest: str, facts: Facts, now: float) -> Admit | Refuse:
    if rest:
        return Refuse("operator", DenyReason.MALFORMED, "an operator shows a key and nothing else")
    lost = lost_operator(attempt.nkey, facts)
    if lost is not None:
        return Refuse("operator", lost.reason, lost.detail, id=attempt.nkey)
    return Admit("operator", attempt.nkey, attempt.nkey, int(now) + OPERATOR_LIFE_S)


def _signed(attempt: Attempt) -> bool:
    """An empty nonce was never a challenge: whoever has seen one signature over nothing could show it for ever."""
    if not attempt.nonce:
        return False
    try:
        raw = base64.b64decode(_standard(attempt.signature), validate=True)
        nkeys.verify(attempt.nkey, "U", attempt.nonce.encode(), raw)
    except (binascii.Error, ValueError):  # InvalidKey and InvalidSignature are ValueErrors
        return False
    return True


def _standard(text: str) -> str:
    """Base64url without padding, as Go clients send, to the base64 that nats-py sends."""
    text = text.rstrip("=").replace("-", "+").replace("_", "/")
    return text + "=" * (-len(text) % 4)

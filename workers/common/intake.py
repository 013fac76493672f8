"""From an invocation to what `decide` reads.  Gateway and broker take the same two steps, each over its own views.

1. `read_invocation`: who calls, and what the signed payload says.  The signature itself is checked by the broker alone: the gateway
   relies on the connection, whose key and name the server attests, and whatever it concludes gets no token without the broker.
2. `decision_input`: what the parent token and the person's token are worth, put together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from schemas.decision import DecisionInput
from schemas.invocation import InvocationRequest
from schemas.reasons import DenyReason
from schemas.token import Evidence
from workers.common.identity import VerifiedSVID
from workers.common.requests import RequestRefused, UnverifiedRequest, check_carried, check_fresh, parse_request
from workers.common.verification import Verifier


@dataclass(frozen=True, slots=True)
class Invocation:
    """An invocation whose caller is verified; its payload is the caller's word only after `verify_signature`."""

    carried: InvocationRequest
    request: UnverifiedRequest
    caller: VerifiedSVID


ChallengedAt = Callable[[str | None], int | None]  # when a challenge was made; none for one that is not ours


def _by_none(_: str | None) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a decision reads that is neither asked nor a fact."""

    now: int
    views_fresh: bool
    revocations: int
    environment: Mapping[str, str]
    challenged_at: ChallengedAt = _by_none


def read_invocation(carried: InvocationRequest, name: str, verifier: Verifier, now: float, *, members_once: bool = True) -> Invocation:
    """The caller by its SVID and its connection's name, and the request: fresh, by that key, for exactly what it carries.

    Raises RequestRefused or IdentityRefused.  Does NOT verify the signature.
    """
    caller = verifier.caller(carried.svid, name, now)
    request = parse_request(carried.request, members_once=members_once)
    if request.nkey != caller.nkey:
        raise RequestRefused(DenyReason.SIGNATURE_INVALID, "kid is not the key of the SVID")
    check_fresh(request.claims, now)
    check_carried(request.claims, carried)
    return Invocation(carried, request, caller)


def decision_input(
    invocation: Invocation, verifier: Verifier, about: Circumstances, now: float, evidence: tuple[Evidence, ...] | None = None
) -> DecisionInput:
    """What `decide` reads.  `evidence` is none where it was not read (the gateway).  Raises RequestRefused or IdentityRefused."""
    asked, carried, caller = invocation.request.claims, invocation.carried, invocation.caller
    return DecisionInput(
        request_id=asked.id,
        request_digest=invocation.request.digest,
        tool=asked.tool,
        actions=asked.actions,
        purpose=asked.purpose,
        call=asked.call,
        intent=asked.intent,
        ttl_s=asked.ttl_s,
        authorization_details=asked.authorization_details,
        caller=caller.caller,
        user=None if carried.user_token is None else verifier.user(carried.user_token, caller, now),
        parent=None if carried.parent_token is None else verifier.parent(carried.parent_token, caller, now),
        evidence=evidence or (),
        evidence_wanted=asked.evidence,
        evidence_read=evidence is not None,
        challenged_at=about.challenged_at(asked.challenge),
        environment=dict(about.environment),
        now=about.now,
        views_fresh=about.views_fresh,
        revocations=about.revocations,
    )

"""Whether a verified token fits the call a tool is about to serve: the guard's steps that need neither time to pass nor the bus.

The numbers are those of `weft.guard`.  Pure: what is asked, what is known and `now` come in; a refusal is raised.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from weft.claims import VerifiedToken
from weft.digest import call_digest, call_parts
from weft.dpop import VerifiedProof, verify_proof
from weft.errors import GuardReason, ProofRefused, Refused
from weft.objects import digest_of, extract
from weft.records import EvidenceRule, Tool, typ_of
from weft.revocation import RevocationView
from weft.svid import BundleKeys, verify_caller
from weft.token import SKEW_S


@dataclass(frozen=True, slots=True)
class Asked:
    """The call as it arrived.  `path` comes after the tool's endpoint, with its query, as sent."""

    tool: str
    actions: tuple[str, ...]
    method: str
    path: str
    body: bytes
    proven_jkt: str | None = None  # thumbprint of the key whose possession the caller proved, where something else has verified it
    proof: str | None = field(default=None, repr=False)  # the `DPoP` header
    svid: str | None = field(default=None, repr=False)  # the caller's JWT-SVID, where the tool takes one


def check_call(token: VerifiedToken, asked: Asked, tool: Tool, now: float) -> str | None:
    """Steps 4 to 8; raises Refused.  Returns the digest of what the call is about, where the record tells what that is."""
    check_addressed(token, tool)  # 4, 5
    if not asked.actions or not tool.actions.issuperset(asked.actions) or not set(asked.actions) <= set(token.call.actions):
        raise Refused(GuardReason.WRONG_ACTION, "the token does not allow this action")
    _check_digest(token, asked, tool)  # 6
    if asked.proven_jkt is not None and asked.proven_jkt != token.jkt:  # 7
        raise Refused(GuardReason.NOT_BOUND, "the caller proved another key")
    fields = extract(asked.body, tool.object_fields)
    _check_chain(token, tool)  # 8
    for rule in tool.evidence:
        _check_evidence(token, rule, fields, now)
    return digest_of(fields, tool.object_fields)


def check_addressed(token: VerifiedToken, tool: Tool) -> None:
    """Step 4, and 5 but for the actions; raises Refused."""
    if token.typ != typ_of(tool.form) or token.aud != tool.audience:  # 4
        raise Refused(GuardReason.AUDIENCE, "another form of token")
    if token.call.tool != tool.name or token.call.workload != tool.workload or token.call.resource != tool.resource:  # 5
        raise Refused(GuardReason.WRONG_TOOL, "the token is for another tool")


def check_proof(token: VerifiedToken, asked: Asked, tool: Tool, now: float) -> VerifiedProof | None:
    """Step 7 where the tool's record asks for a proof of possession, or one is shown unasked; raises Refused."""
    if asked.proof is None:
        if tool.proof is not None:
            raise ProofRefused(GuardReason.PROOF_MISSING, "the tool's record asks for a DPoP proof")
        return None
    url = tool.endpoint.rstrip("/") + asked.path
    return verify_proof(asked.proof, method=asked.method, url=url, now=now, token=token.raw, jkt=token.jkt)


def check_caller(token: VerifiedToken, asked: Asked, tool: Tool, keys: BundleKeys, now: float) -> None:
    """Step 7 where the tool takes JWT-SVIDs: the caller is the workload and instance that the decision was made for; raises Refused."""
    if tool.form != "jwt_svid":
        return
    caller = verify_caller(asked.svid, keys, audience=tool.resource, now=now)
    if caller.id != token.act.sub or caller.instance not in (None, token.act.instance):
        raise Refused(GuardReason.NOT_BOUND, "the SVID is another workload's than the token's")


def check_view(token: VerifiedToken, tool: Tool, view: RevocationView, now: float) -> None:
    """Step 9; raises Refused.  Who can, has waited for what the view is behind."""
    if view.age(now) > tool.staleness_s:
        raise Refused(GuardReason.VIEW_STALE, view.poisoned or "no beacon within the budget")
    if view.behind(token):
        raise Refused(GuardReason.VIEW_BEHIND, "entries are missing")
    if view.revoked(token) is not None:
        raise Refused(GuardReason.REVOKED, "revoked")


def _check_digest(token: VerifiedToken, asked: Asked, tool: Tool) -> None:
    if not tool.bind.issubset(token.call.bound):
        raise Refused(GuardReason.WRONG_CALL, "the token binds less than the tool's record asks for")
    if token.call.bound and call_digest(call_parts(asked.method, asked.path, asked.body), token.call.bound) != token.call.digest:
        raise Refused(GuardReason.WRONG_CALL, "the token is for another call")


def _check_chain(token: VerifiedToken, tool: Tool) -> None:
    for wanted in tool.chain:
        if not any(past.sub == wanted or past.sub.startswith(f"{wanted}/") for past in token.act_chain):
            raise Refused(GuardReason.CHAIN_MISSING, "who had to act before did not")


def _check_evidence(token: VerifiedToken, rule: EvidenceRule, fields: Mapping[str, str] | None, now: float) -> None:
    steps = [step for step in token.evidence if step.tool == rule.tool]
    if not steps:
        raise Refused(GuardReason.EVIDENCE_MISSING, f"no evidence of {rule.tool}")
    wanted = digest_of(fields, rule.fields)
    if not any(step.object == wanted and now - step.at <= rule.max_age_s + SKEW_S for step in steps):
        raise Refused(GuardReason.EVIDENCE_MISMATCH, f"the evidence of {rule.tool} is old or of another object")

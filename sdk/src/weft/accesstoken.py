"""An access token for one call of a tool, as the guard reads it: the payload's shape.  RFC 9068 section 2.2, RFC 8693 section 4.1.

It holds what a guard needs of a Transaction Token (`call`, the chain in `act`, `rev`) under its own `typ`, for tools that take OAuth
access tokens.  It is a leaf: nothing follows from it, so its ceiling is empty.  Signature, times and audience are `weft.token`'s.
"""

from __future__ import annotations

from typing import Any

from weft import reading as read
from weft.claims import Actor, Ceiling, PastActor, VerifiedToken, parse_call, parse_evidence, parse_nested, parse_requests
from weft.errors import Malformed

ACCESS_TYP = "at+jwt"
_NOTHING = Ceiling((), (), (), (), 0)


def parse_access_claims(claims: read.Members, *, raw: str, digest: str, kid: str) -> VerifiedToken:
    """The payload's shape; raises Malformed.  The caller has verified everything else."""
    actor, chain = _actors(read.obj(claims, "act"))
    purpose = read.text(claims, "purp")
    if read.text(claims, "client_id") != actor.sub:
        raise Malformed("client_id is not who acts")
    return VerifiedToken(
        iss=read.text(claims, "iss"),
        aud=read.text(claims, "aud"),
        iat=read.seconds(claims, "iat"),
        exp=read.seconds(claims, "exp"),
        jti=read.text(claims, "jti"),
        txn=read.text(claims, "txn"),
        sub=read.text(claims, "sub"),
        scope=purpose,
        purp=purpose,
        req_wl=read.text(claims, "req_wl"),
        rctx={},
        tctx=_NOTHING,
        call=parse_call(read.obj(claims, "call"), claims),
        act=actor,
        act_chain=chain,
        req_chain=parse_requests(claims),
        agentic_ctx={},
        evidence=tuple(parse_evidence(item) for item in read.objects(claims, "evidence")),
        jkt=read.digest(read.obj(claims, "cnf"), "jkt") if claims.get("cnf") is not None else "",
        rev=read.count(claims, "rev"),
        facts=read.count(claims, "facts"),
        raw=raw,
        digest=digest,
        kid=kid,
        typ=ACCESS_TYP,
    )


def _actors(outermost: dict[str, Any]) -> tuple[Actor, tuple[PastActor, ...]]:
    """Who acts now, and who acted before, the oldest first.

    Whoever acted in this transaction's calls has an instance and a token that it acted under; who acted before them may have neither, and
    stays nested.
    """
    chain: list[PastActor] = []
    before = parse_nested(outermost)
    while before is not None and "instance" in before and "jti" in before and "iss" not in before:
        chain.append(PastActor(read.spiffe_id(before, "sub"), read.instance(before), read.text(before, "jti"), "", 0))
        before = before.get("act")
    return Actor(read.spiffe_id(outermost, "sub"), read.instance(outermost), None, None, before), tuple(reversed(chain))

"""The form in which a grant leaves: what an agent is handed for one call, by what the tool's record says it takes.

RECORD holds the claims of a Transaction Token, whatever the form.  An access token is a part of them under another `typ`: the same `jti`,
`txn` and times, so that the record, revocation and replay know one kind of thing.  A function of recorded claims alone, and so the
same for a request that is answered twice.
"""

from __future__ import annotations

from typing import Any, assert_never

import orjson

from schemas.accesstoken import ACCESS_TYP, AccessTokenClaims
from schemas.actors import AGENT
from schemas.decision import Grant
from schemas.token import TOKEN_TYP

ACCESS_TOKEN_TYPE = "urn:ietf:params:oauth:token-type:access_token"
OURS = frozenset(("txn", "resource"))  # what is signed exactly as it is recorded


def signed_form(grant: Grant, payload: bytes) -> tuple[bytes, str] | None:
    """Payload and `typ` of what is to be signed; none where the tool takes nothing that we sign, and so nothing of ours may reach it.

    A Transaction Token stays within its trust domain (draft-ietf-oauth-transaction-tokens-10 section 1): a tool without a guard that
    takes JWT-SVIDs sees the SVID alone.
    """
    if grant.audience in OURS:
        return payload, TOKEN_TYP
    if grant.audience == "external":
        return None
    if grant.audience == "access_token":
        return access_claims(orjson.loads(payload), bound=grant.proof is not None).wire(), ACCESS_TYP
    return (payload, TOKEN_TYP) if grant.revocation is None else None


def access_claims(claims: dict[str, Any], *, bound: bool) -> AccessTokenClaims:
    """RFC 9068 section 2.2, of the claims of a Transaction Token for one call.

    `client_id` is the agent, `scope` the actions, `act` who acts and who acted before (RFC 8693 section 4.1); `cnf` only where the tool
    asks for proof, since a resource server that knows DPoP refuses a bound token as a bearer's (RFC 9449 section 7.2).
    """
    call, actor = claims["call"], claims["act"]
    made = {name: claims[name] for name in ("iss", "aud", "sub", "iat", "exp", "jti", "txn", "purp", "req_wl", "rev", "facts", "evidence")}
    return AccessTokenClaims.model_validate_json(
        orjson.dumps(
            made
            | {
                "client_id": actor["sub"],
                "scope": " ".join(call["actions"]),
                "workload": actor["sub"],
                "act": nested(actor, claims["act_chain"], claims["iss"]),
                "cnf": claims["cnf"] if bound else None,
                "call": {name: value for name, value in call.items() if name != "authorization_details"},
                "authorization_details": [
                    {name: value for name, value in detail.items() if value} for detail in call.get("authorization_details", ())
                ],
                "req_chain": claims.get("req_chain", []),
                "status": claims.get("status"),
            }
        )
    )


def token_types(grant: Grant) -> dict[str, Any]:
    """What the answer says of the token, RFC 8693 section 2.2.1 and RFC 9449 section 5."""
    match grant.audience:
        case "access_token":
            return {"token_type": "DPoP" if grant.proof else "Bearer", "issued_token_type": ACCESS_TOKEN_TYPE, "leaf": True}
        case "jwt_svid":
            return {"svid_audience": grant.resource, "leaf": True if grant.revocation is not None else None}
        case "external":
            return {"token_type": "Bearer", "issued_token_type": ACCESS_TOKEN_TYPE, "leaf": True}
        case "resource":
            return {"leaf": True}
        case "txn":
            return {}
        case never:
            assert_never(never)


def nested(actor: dict[str, Any], chain: list[dict[str, Any]], iss: str) -> dict[str, Any]:
    """`act` as RFC 8693 section 4.1 has it: the outermost acts now; the oldest lies innermost, and under it who acted before any call.

    Every agent on the bus is this fabric's, so only who acts now says whose name it has.
    """
    inner: dict[str, Any] | None = actor.get("act")
    for past in chain:
        known = {name: past[name] for name in ("sub", "instance", "jti")}
        inner = known if inner is None else {**known, "act": inner}
    now = {"sub": actor["sub"], "iss": iss, "sub_profile": AGENT, "instance": actor["instance"]}
    return now if inner is None else {**now, "act": inner}

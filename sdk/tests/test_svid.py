"""A caller's JWT-SVID at a tool: what its guard takes, and PyPI's `spiffe` as the plain verifier of the very same."""

import json
import time

import pytest
from spiffe import JwtBundle, JwtSvid, TrustDomain
from spiffe.errors import PySpiffeError
from weft.claims import Actor
from weft.enforcement import Asked, check_caller
from weft.errors import GuardReason, Refused
from weft.records import parse_attachment
from weft.svid import bundle_key, verify_caller

from tests.support.identities import INSTANCE, Signer
from tests.support.signed import ADVISOR, PAYMENTS

NOW = int(time.time())
AUDIENCE = "https://payments.flux.88mph.com"
SIGNER, OTHER = Signer(kid="k1"), Signer(kid="k1")
KEYS = {("88mph.com", "k1"): bundle_key(SIGNER.jwk)}


def svid(signer=SIGNER, header=(), **changes):
    claims = {"sub": ADVISOR, "aud": [AUDIENCE], "exp": NOW + 300, "iat": NOW, "weft_instance": INSTANCE} | changes
    return signer.sign({name: value for name, value in claims.items() if value is not None}, **dict(header))


def by_another(token, audience=AUDIENCE):
    """PyPI's client, with the bundle it would have from its Workload API."""
    jwks = json.dumps({"keys": [SIGNER.jwk | {"use": "jwt-svid"}]}).encode()
    return JwtSvid.parse_and_validate(token, JwtBundle.parse(TrustDomain("88mph.com"), jwks), {audience})


@pytest.mark.parametrize("alg", ["ES256", "ES384", "ES512", "RS256", "PS512"])
def test_a_good_one_in_every_algorithm(alg):
    signer = Signer(alg, "k2")
    token = signer.sign({"sub": ADVISOR, "aud": AUDIENCE, "exp": NOW + 300})
    caller = verify_caller(token, {("88mph.com", "k2"): bundle_key(signer.jwk)}, audience=AUDIENCE, now=NOW)
    assert (caller.id, caller.instance) == (ADVISOR, None)


def test_a_plain_verifier_takes_it_too():
    token = svid()
    assert str(by_another(token).spiffe_id) == ADVISOR == verify_caller(token, KEYS, audience=AUDIENCE, now=NOW).id


REFUSED = {
    "none": None,
    "not a JWS": "x.y",
    "signed by another key": svid(OTHER),
    "of a trust domain whose bundle is not held": svid(sub="spiffe://biff.com/agents/advisor"),
    "for another tool": svid(aud=["https://elsewhere"]),
    "for two audiences": svid(aud=[AUDIENCE, "https://elsewhere"]),
    "of the connection": svid(aud="weft:88mph.com:UABC"),
    "for nobody": svid(aud=None),
    "expired": svid(exp=NOW),
    "without an end": svid(exp=None),
    "of the future": svid(iat=NOW + 60),
    "a Transaction Token": svid(header={"typ": "txntoken+jwt"}),
    "an access token": svid(header={"typ": "at+jwt"}),
    "with something critical": svid(header={"crit": ["b64"]}),
    "without a kid": svid(header={"kid": None}),
    "by no one": svid(sub=None),
    "by something else": svid(sub="advisor"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_svid_for_this_tool(name):
    """INVARIANT: a JWT-SVID counts at the one audience it was fetched for, by a key of its own trust domain (JWT-SVID sections 3 and 5).

    Broken by taking the connection's SVID, another tool's, or any JWT of the issuer.
    """
    with pytest.raises(Refused) as refusal:
        verify_caller(REFUSED[name], KEYS, audience=AUDIENCE, now=NOW)
    assert refusal.value.reason is GuardReason.SVID_INVALID


@pytest.mark.parametrize("name", ["signed by another key", "for another tool", "expired"])
def test_a_plain_verifier_refuses_those_too(name):
    with pytest.raises(PySpiffeError):
        by_another(REFUSED[name])


RECORD = {
    "name": "payments-processing",
    "workload": PAYMENTS,
    "resource": AUDIENCE,
    "actions": ["refund"],
    "token_form": "jwt_svid",
}


class Token:
    """The decision's token, as far as it is compared."""

    def __init__(self, sub=ADVISOR, instance=INSTANCE):
        self.act = Actor(sub, instance, None, None)


def attachment():
    key = {"purpose": "svid", "kid": "k1", "jwk": SIGNER.jwk, "trust_domain": "88mph.com"}
    unreadable = {"purpose": "svid", "kid": "k9", "jwk": {"kty": "oct", "k": "c2VjcmV0"}, "trust_domain": "88mph.com"}
    return parse_attachment({"tools": [RECORD], "keys": [key, unreadable], "trust_domain": "88mph.com", "issuer": "i"})


def test_the_caller_is_whom_the_decision_was_made_for():
    """INVARIANT: at a tool that takes SVIDs, the token of one workload or instance is worth nothing beside the SVID of another.

    Broken by verifying each by itself.
    """
    known = attachment()
    tool = known.tools["payments-processing"]
    assert set(known.svid_keys) == {("88mph.com", "k1")}

    def check(token, shown):
        check_caller(token, Asked("payments-processing", ("refund",), "POST", "/", b"", svid=shown), tool, known.svid_keys, NOW)

    check(Token(), svid())
    check(Token(), svid(weft_instance=None))
    for token, shown in ((Token(sub=PAYMENTS), svid()), (Token(instance="i" + "c" * 26), svid()), (Token(), svid(sub=PAYMENTS))):
        with pytest.raises(Refused) as refusal:
            check(token, shown)
        assert refusal.value.reason is GuardReason.NOT_BOUND
    with pytest.raises(Refused):
        check(Token(), None)

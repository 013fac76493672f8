"""The guard's pure steps as a table: what a verified token must say about the call, the object, the chain and the evidence."""

from dataclasses import replace

import pytest
from weft.digest import object_digest
from weft.dpop import make_proof
from weft.enforcement import Asked, check_call, check_proof, check_view
from weft.errors import GuardReason, Refused
from weft.nkey import KeyPair
from weft.objects import digest_of, extract
from weft.records import EvidenceRule, parse_attachment
from weft.revocation import RevocationView
from weft.token import verify_token

from tests.support.signed import ADVISOR, BODY, INSTANCE, ISSUER, NOW, PAYMENTS, TokenKey, Writer, call_claim, claims
from workers.common.identity import thumbprint

KEY = TokenKey()
RESOURCE = "https://payments.flux.88mph.com"
RECORD = {
    "name": "payments-processing",
    "workload": PAYMENTS,
    "resource": RESOURCE,
    "actions": ["refund", "payout"],
    "object_fields": {"order": "/order", "amount": "/amount"},
}
TOOL = parse_attachment({"tools": [RECORD], "keys": [], "trust_domain": "88mph.com", "issuer": ISSUER}).tools["payments-processing"]
ASKED = Asked("payments-processing", ("refund",), "POST", "/refunds", BODY)
OBJECT = object_digest({"order": "84729", "amount": "120.00"})
RULE = EvidenceRule("fraud-check", ("amount", "order"), 300)
CHECKED = {"tool": "fraud-check", "seq": 9, "object": OBJECT, "at": NOW - 10}
OF_ANOTHER = CHECKED | {"object": "o" * 43}
ACTOR = {"sub": ADVISOR, "instance": INSTANCE}
PAST = {"sub": ADVISOR, "instance": INSTANCE, "jti": "j0", "tool": "search-agent", "iat": NOW}


def token(call=None, **changes):
    raw = KEY.sign(claims(call=call_claim(**(call or {})), **changes))
    return verify_token(raw, {KEY.kid: KEY.public}, issuer=ISSUER, audiences=["88mph.com", RESOURCE], now=NOW)


def check(made, asked=ASKED, now=NOW, **record):
    return check_call(made, asked, replace(TOOL, **record), now)


def test_a_call_that_fits_tells_what_it_is_about():
    assert check(token()) == OBJECT


REFUSALS = {
    "the other form of token": (token(aud=RESOURCE), {}, {}, GuardReason.AUDIENCE),
    "a leaf where the record asks for a leaf of another": (token(), {}, {"audience": RESOURCE}, GuardReason.AUDIENCE),
    "another tool": (token({"tool": "fraud-check"}), {}, {}, GuardReason.WRONG_TOOL),
    "another workload": (token({"workload": ADVISOR}), {}, {}, GuardReason.WRONG_TOOL),
    "another resource": (token({"resource": "https://other"}), {}, {}, GuardReason.WRONG_TOOL),
    "an action the token does not allow": (token(), {"actions": ("payout",)}, {}, GuardReason.WRONG_ACTION),
    "one action too many": (token(), {"actions": ("refund", "payout")}, {}, GuardReason.WRONG_ACTION),
    "an action the tool no longer offers": (token(), {}, {"actions": frozenset({"payout"})}, GuardReason.WRONG_ACTION),
    "no action at all": (token(), {"actions": ()}, {}, GuardReason.WRONG_ACTION),
    "another body": (token(), {"body": BODY + b" "}, {}, GuardReason.WRONG_CALL),
    "another path": (token(), {"path": "/payouts"}, {}, GuardReason.WRONG_CALL),
    "another query": (token(), {"path": "/refunds?dry=1"}, {}, GuardReason.WRONG_CALL),
    "another method": (token(), {"method": "PUT"}, {}, GuardReason.WRONG_CALL),
    "a token bound to less than the record asks": (token({"bound": ["method"], "digest": "d" * 43}), {}, {}, GuardReason.WRONG_CALL),
    "a token bound to nothing": (token({"bound": [], "digest": None}), {}, {}, GuardReason.WRONG_CALL),
    "a key it is not bound to": (token(), {"proven_jkt": "x" * 43}, {}, GuardReason.NOT_BOUND),
    "nobody before": (token(), {}, {"chain": (ADVISOR,)}, GuardReason.CHAIN_MISSING),
    "who acts now did not act before": (
        token(act={"sub": ADVISOR, "instance": INSTANCE}),
        {},
        {"chain": (ADVISOR,)},
        GuardReason.CHAIN_MISSING,
    ),
    "a namespace that only looks alike": (
        token(act_chain=[PAST]),
        {},
        {"chain": ("spiffe://88mph.com/agents/adv",)},
        GuardReason.CHAIN_MISSING,
    ),
    "one of two before": (token(act_chain=[PAST]), {}, {"chain": (ADVISOR, PAYMENTS)}, GuardReason.CHAIN_MISSING),
    "no evidence": (token(), {}, {"evidence": (RULE,)}, GuardReason.EVIDENCE_MISSING),
    "evidence of another tool": (token(evidence=[CHECKED | {"tool": "kyc"}]), {}, {"evidence": (RULE,)}, GuardReason.EVIDENCE_MISSING),
    "evidence of another object": (
        token(evidence=[CHECKED | {"object": "o" * 43}]),
        {},
        {"evidence": (RULE,)},
        GuardReason.EVIDENCE_MISMATCH,
    ),
    "evidence that is too old": (token(evidence=[CHECKED | {"at": NOW - 306}]), {}, {"evidence": (RULE,)}, GuardReason.EVIDENCE_MISMATCH),
    "fields nobody can tell": (token(evidence=[CHECKED]), {}, {"evidence": (RULE,), "object_fields": {}}, GuardReason.EVIDENCE_MISMATCH),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_does_not_fit_is_refused(name):
    """INVARIANT: a token is good for the one call it was minted for: this tool, these actions, these bytes, after these steps.

    Dropping any of the comparisons would break it.
    """
    made, asked, record, reason = REFUSALS[name]
    with pytest.raises(Refused) as refusal:
        check(made, replace(ASKED, **asked), **record)
    assert refusal.value.reason is reason


ACCEPTED = {
    "the agent acted before": (token(act_chain=[PAST]), {}, {"chain": (ADVISOR,)}),
    "a namespace it is in": (token(act_chain=[PAST]), {}, {"chain": ("spiffe://88mph.com/agents",)}),
    "evidence of the same object": (token(evidence=[CHECKED]), {}, {"evidence": (RULE,)}),
    "evidence among others": (token(evidence=[OF_ANOTHER, CHECKED]), {}, {"evidence": (RULE,)}),
    "its own key": (token(), {"proven_jkt": "k" * 43}, {}),
    "a tool that binds nothing": (token({"bound": [], "digest": None}), {}, {"bind": frozenset()}),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_fits_is_accepted(name):
    made, asked, record = ACCEPTED[name]
    check(made, replace(ASKED, **asked), **record)


def test_a_token_that_binds_more_than_asked_is_held_to_it():
    with pytest.raises(Refused):
        check(token(), replace(ASKED, body=b"other"), bind=frozenset({"method"}))


# --- objects ------------------------------------------------------------------------------------------------------------------------

FIELDS = {"order": "/order", "amount": "/items/0/amount"}

BODIES = {
    b'{"order":"1","items":[{"amount":"2"}]}': {"order": "1", "amount": "2"},
    b'{"order":1,"items":[{"amount":1.50}]}': {"order": "1", "amount": "1.50"},
    b'{"order":true,"items":[{"amount":1e2}]}': {"order": "true", "amount": "1e2"},
    b'{"order":"1","order":"2","items":[{"amount":"2"}]}': None,
    b'{"order":"1"}': None,
    b'{"order":null,"items":[{"amount":"2"}]}': None,
    b'{"order":{},"items":[{"amount":"2"}]}': None,
    b'{"order":"\\ud800","items":[{"amount":"2"}]}': None,
    b'{"order":NaN,"items":[{"amount":"2"}]}': None,
    b'{"order":"1","items":{"0":{"amount":"2"}}}': {"order": "1", "amount": "2"},
    b"[1]": None,
    b"": None,
    b"\xff": None,
    b"[" * 100_000: None,
}


@pytest.mark.parametrize("number", range(len(BODIES)))
def test_fields_of_a_body(number):
    body, fields = list(BODIES.items())[number]
    assert extract(body, FIELDS) == fields


@pytest.mark.parametrize(
    ("pointer", "value"), [("/a~1b", "1"), ("/m~0n", "2"), ("/list/1", "4"), ("/list/01", None), ("/list/9", None), ("/list/-", None)]
)
def test_pointers(pointer, value):
    found = extract(b'{"a/b":1,"m~n":2,"list":[3,4]}', {"x": pointer})
    assert found == (None if value is None else {"x": value})


def test_an_object_is_of_named_fields_alone():
    assert digest_of({"order": "84729", "amount": "120.00", "note": "x"}, ("order", "amount")) == OBJECT
    assert digest_of({"order": "84729"}, ("order", "amount")) is None
    assert digest_of(None, ("order",)) is None
    assert digest_of({"order": "84729"}, ()) is None, "an object of no fields would be every object"


# --- the view -----------------------------------------------------------------------------------------------------------------------


def seen(view, made, now=NOW):
    with pytest.raises(Refused) as refusal:
        check_view(made, TOOL, view, now)
    return refusal.value.reason


def test_the_view_is_asked_for_its_age_then_for_what_it_lacks_then_for_what_it_holds():
    writer = Writer()
    view = RevocationView({writer.kid: writer.public}.get)
    assert seen(view, token()) is GuardReason.VIEW_STALE
    view.apply_beacon(writer.beacon(NOW))
    check_view(token(), TOOL, view, NOW + 3)
    assert seen(view, token(), NOW + 3.1) is GuardReason.VIEW_STALE
    assert seen(view, token(rev=1)) is GuardReason.VIEW_BEHIND
    entry = writer.entry(("user", "marty"))
    view.apply_beacon(writer.beacon(NOW + 1))
    assert seen(view, token()) is GuardReason.VIEW_BEHIND, "an entry was announced that is not here"
    view.apply_entry(entry)
    assert seen(view, token()) is GuardReason.REVOKED
    check_view(token(rev=1), TOOL, view, NOW + 1)


# --- possession -----------------------------------------------------------------------------------------------------------------------

HOLDER, THIEF = KeyPair("U"), KeyPair("U")
URL = f"{RESOURCE}/refunds"


def shown(key=HOLDER, method="POST", url=URL, of=None, now=NOW):
    return make_proof(key, method, url, of, now=now)


def test_a_tool_that_asks_for_proof_gets_it_from_the_tokens_own_holder():
    """INVARIANT: where a tool asks for proof of possession, a token in other hands than those it was minted for is worth nothing.

    Taking a token without a proof, with a proof of another token or by another key, would break it.
    """
    held = token(cnf={"jkt": thumbprint(HOLDER.public)})
    wants = replace(TOOL, proof="dpop")
    assert check_proof(held, replace(ASKED, proof=shown(of=held.raw)), wants, NOW) is not None
    for proof, reason in {
        None: GuardReason.PROOF_MISSING,
        shown(THIEF, of=held.raw): GuardReason.NOT_BOUND,
        shown(of="another"): GuardReason.PROOF_INVALID,
        shown(): GuardReason.PROOF_INVALID,
        shown(method="PUT", of=held.raw): GuardReason.PROOF_INVALID,
        shown(url=URL + "/1", of=held.raw): GuardReason.PROOF_INVALID,
        shown(of=held.raw, now=NOW - 36): GuardReason.PROOF_INVALID,
        "x.y.z": GuardReason.PROOF_INVALID,
    }.items():
        with pytest.raises(Refused) as refusal:
            check_proof(held, replace(ASKED, proof=proof), wants, NOW)
        assert refusal.value.reason is reason


def test_a_proof_that_nobody_asked_for_is_held_to_what_it_says():
    held = token(cnf={"jkt": thumbprint(HOLDER.public)})
    assert check_proof(held, ASKED, TOOL, NOW) is None
    with pytest.raises(Refused):
        check_proof(held, replace(ASKED, proof=shown(THIEF, of=held.raw)), TOOL, NOW)


def test_the_proof_is_for_where_the_tool_lives_not_for_what_a_host_header_says():
    held, wants = token(cnf={"jkt": thumbprint(HOLDER.public)}), replace(TOOL, proof="dpop", endpoint="http://127.0.0.1:9004/api/")
    proof = shown(url="http://127.0.0.1:9004/api/refunds", of=held.raw)
    assert check_proof(held, replace(ASKED, path="/refunds?dry=1", proof=proof), wants, NOW) is not None

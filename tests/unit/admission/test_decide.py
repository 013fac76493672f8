"""decide_admission: who may connect, as a table."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from weft.nkey import KeyPair

from schemas.reasons import DenyReason
from streams.facts_table import FactsTable
from tests.support.actors import PERSON, TOOL_ID, agent, person, posture, tool, world
from tests.support.facts import put
from tests.support.identities import ADVISOR, INSTANCE, NOW, TRUST_DOMAIN, Keys, Signer, svid_claims
from workers.admission.decide import Admit, Attempt, Fabric, Refuse, decide_admission
from workers.admission.standing import TableFacts, lost_connection
from workers.common.identity import FactBundles

SIGNER = Signer()
KEY, OTHER = KeyPair("U"), KeyPair("U")
NONCE = "nonce-of-this-connection"
BUNDLES = FactBundles(Keys(SIGNER.fact(assurance="development")))
FABRIC = Fabric(TRUST_DOMAIN, "development")


def signed(key: KeyPair = KEY, nonce: str = NONCE) -> str:
    return base64.b64encode(key.sign(nonce.encode())).decode()


def attempt(kind: str = "agent", key: KeyPair = KEY, **changes: Any) -> Attempt:
    svid = changes.pop("svid", None) or SIGNER.sign(svid_claims(key.public, **changes.pop("claims", {})))
    token = "operator" if kind == "operator" else f"{kind} {svid}"
    values = {"nkey": key.public, "nonce": NONCE, "signature": signed(key), "token": token}
    return Attempt(**{**values, **changes})


def decide(one: Attempt, facts: FactsTable | None = None, *, fresh: bool = True, now: float = NOW) -> Admit | Refuse:
    return decide_admission(one, TableFacts(facts or world()), BUNDLES, FABRIC, now=now, fresh=fresh)


def admitted(one: Attempt, facts: FactsTable | None = None) -> Admit:
    decision = decide(one, facts)
    assert isinstance(decision, Admit), decision
    return decision


def refused(one: Attempt, facts: FactsTable | None = None, **options: Any) -> DenyReason:
    decision = decide(one, facts, **options)
    assert isinstance(decision, Refuse)
    assert not decision
    return decision.reason


def test_an_agent() -> None:
    found = admitted(attempt())
    assert (found.account, found.name, found.id) == ("AGENTS", f"{INSTANCE}.88mph~com.agents.advisor", ADVISOR)
    assert found.expires_at == NOW + 300  # the SVID's


def test_a_point() -> None:
    found = admitted(attempt("point", claims={"sub": TOOL_ID}))
    assert (found.account, found.name) == ("POINTS", f"{INSTANCE}.88mph~com.tools.payments")


def test_an_operator() -> None:
    found = admitted(attempt("operator", PERSON))
    assert (found.account, found.name, found.expires_at) == ("OPERATORS", PERSON.public, NOW + 3600)


def test_a_signature_in_base64url_counts_too() -> None:
    url = base64.urlsafe_b64encode(KEY.sign(NONCE.encode())).decode().rstrip("=")
    assert admitted(attempt(signature=url))


ROWS: list[tuple[str, Attempt, DenyReason]] = [
    ("no token", attempt(token=""), DenyReason.MALFORMED),
    ("an SVID without a kind", attempt(token=SIGNER.sign(svid_claims(KEY.public))), DenyReason.MALFORMED),
    ("a worker's kind", attempt(token="gateway x"), DenyReason.MALFORMED),
    ("a kind in upper case", attempt(token="AGENT x"), DenyReason.MALFORMED),
    ("no SVID", attempt(token="agent"), DenyReason.SVID_INVALID),
    ("two tokens", attempt(svid="a b"), DenyReason.SVID_INVALID),
    ("an operator with more to say", attempt("operator", PERSON, token="operator x"), DenyReason.MALFORMED),
    ("no nonce", attempt(nonce="", signature=signed(nonce="")), DenyReason.SIGNATURE_INVALID),
    ("another nonce", attempt(signature=signed(nonce="earlier")), DenyReason.SIGNATURE_INVALID),
    ("no signature", attempt(signature=""), DenyReason.SIGNATURE_INVALID),
    ("half a signature", attempt(signature=signed()[:40]), DenyReason.SIGNATURE_INVALID),
    ("another key's signature", attempt(signature=signed(OTHER)), DenyReason.SIGNATURE_INVALID),
    ("no key", attempt(nkey=""), DenyReason.SIGNATURE_INVALID),
    ("an account's key", attempt(nkey=KeyPair("A").public), DenyReason.SIGNATURE_INVALID),
    ("a copied SVID", attempt(key=OTHER, svid=SIGNER.sign(svid_claims(KEY.public))), DenyReason.SVID_NOT_BOUND),
    ("expired", attempt(claims={"exp": NOW - 1}), DenyReason.SVID_EXPIRED),
    ("early", attempt(claims={"nbf": NOW + 60}), DenyReason.SVID_INVALID),
    ("a foreign issuer", attempt(svid=Signer().sign(svid_claims(KEY.public))), DenyReason.SVID_INVALID),
    ("a foreign trust domain", attempt(claims={"sub": "spiffe://elsewhere/agents/advisor"}), DenyReason.SVID_INVALID),
    ("not registered", attempt(claims={"sub": ADVISOR + "/other"}), DenyReason.AGENT_UNKNOWN),
    ("a tool as an agent", attempt(claims={"sub": TOOL_ID}), DenyReason.AGENT_UNKNOWN),
    ("an agent as a point", attempt("point"), DenyReason.TOOL_UNKNOWN),
    ("an agent as an operator", attempt("operator"), DenyReason.NOT_AUTHORIZED),
]


@pytest.mark.parametrize(("one", "reason"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_who_does_not_get_in(one: Attempt, reason: DenyReason) -> None:
    assert refused(one) is reason


@pytest.mark.parametrize("state", ["suspended", "retired"])
def test_who_is_not_active(state: str) -> None:
    facts = world(agent(state=state), tool(state=state), person(state=state))
    assert refused(attempt(), facts) is DenyReason.AGENT_INACTIVE
    assert refused(attempt("point", claims={"sub": TOOL_ID}), facts) is DenyReason.TOOL_INACTIVE
    assert refused(attempt("operator", PERSON), facts) is DenyReason.NOT_AUTHORIZED


def test_one_active_tool_is_enough_for_its_workload() -> None:
    facts = world(tool(state="suspended"), tool(name="other"))
    assert admitted(attempt("point", claims={"sub": TOOL_ID}), facts)
    put(facts, tool(name="other", workload=ADVISOR))
    assert refused(attempt("point", claims={"sub": TOOL_ID}), facts) is DenyReason.TOOL_INACTIVE


@pytest.mark.parametrize("kind", ["agent", "point", "operator"])
def test_stale_views_admit_nobody(kind: str) -> None:
    """INVARIANT: silence denies: without fresh views nobody comes in, whoever it is.

    Deciding on the last known facts would admit who was quarantined since.
    """
    key = PERSON if kind == "operator" else KEY
    assert refused(attempt(kind, key), fresh=False) is DenyReason.VIEW_STALE


QUARANTINES = [
    ("instance", INSTANCE),
    ("agent", ADVISOR),
    ("namespace", ADVISOR),
    ("namespace", "spiffe://88mph.com/agents"),
    ("namespace", "spiffe://88mph.com"),
]


@pytest.mark.parametrize(("scope", "value"), QUARANTINES)
def test_a_quarantine_at_any_level(scope: str, value: str) -> None:
    assert refused(attempt(), world(posture(scope, value))) is DenyReason.QUARANTINED
    for level in ("normal", "narrowed", "step_up"):
        assert admitted(attempt(), world(posture(scope, value, level)))


def test_a_quarantined_instance_with_a_new_key_and_a_new_svid() -> None:
    """INVARIANT: a quarantined instance that returns with a new key and a new SVID is refused; its siblings are not.

    Deriving the instance from the connection's key, or remembering keys or SVIDs instead of instances, would let it in.
    """
    facts = world(posture("instance", INSTANCE))
    again = KeyPair("U")
    renewed = SIGNER.sign(svid_claims(again.public, jti="renewed", exp=NOW + 299))
    assert refused(attempt(key=again, svid=renewed), facts) is DenyReason.QUARANTINED
    sibling = KeyPair("U")
    assert admitted(attempt(key=sibling, claims={"weft_instance": "i" + "b" * 26}), facts)


def test_a_posture_of_something_else_hits_nobody() -> None:
    others = [
        posture("instance", "i" + "b" * 26),
        posture("agent", ADVISOR + "/x"),
        posture("namespace", ADVISOR + "/x"),
        posture("user", ADVISOR),
    ]
    assert admitted(attempt(), world(*others))


def test_the_standing_of_connections() -> None:
    facts = TableFacts(world())
    advisor, payments = f"{INSTANCE}.88mph~com.agents.advisor", f"{INSTANCE}.88mph~com.tools.payments"
    assert lost_connection("AGENTS", advisor, facts) is None
    assert lost_connection("POINTS", payments, facts) is None
    assert lost_connection("OPERATORS", PERSON.public, facts) is None
    for account, name in (
        ("AGENTS", payments),
        ("POINTS", advisor),
        ("OPERATORS", KEY.public),
        ("AGENTS", ""),
        ("POINTS", "x"),
        ("AGENTS", "a..b"),
    ):
        assert lost_connection(account, name, facts) is not None


def test_no_refusal_tells_the_token() -> None:
    for _, one, _ in ROWS:
        text = repr(decide(one)) + repr(one)
        assert not any(part in text for part in one.token.split(".")[1:] if part)
        assert one.signature == "" or one.signature not in text


@given(st.text(max_size=200), st.text(max_size=80), st.text(max_size=80), st.text(max_size=80))
def test_garbage_is_refused(token: str, nkey: str, nonce: str, signature: str) -> None:
    assert isinstance(decide(Attempt(nkey, nonce, signature, token)), Refuse)
    assert isinstance(decide(Attempt(KEY.public, NONCE, signed(), f"agent {token}")), Refuse)

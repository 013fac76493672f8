"""`decide_exchange` by itself: what the token endpoint gives without a tool, over facts that a test makes up."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from weft.digest import target_digest

from schemas.clients import TOKEN_EXCHANGE
from schemas.decision import Gate
from schemas.exchange import ExchangeInput
from schemas.reasons import DenyReason
from streams.facts_table import FactsTable
from tests.support import world
from tests.support.facts import put, table_of
from tests.support.identities import Signer
from tests.support.oauth import client
from workers.common.decision.exchange import decide_exchange
from workers.common.decision.patterns import matches

SIGNER = Signer()
CODES = ["process.refund", "process.payout", "web.search.execute", "other"]


def facts(**changes: Any) -> FactsTable:
    return table_of([*world.bodies().values(), client("front", SIGNER, **changes)])


def asked(scope: tuple[str, ...] = ("process.refund",), **changes: Any) -> ExchangeInput:
    subject = {"type": "access_token", "sub": "marty", "iss": "https://op", "scope": scope, "exp": 1100, "digest": "A" * 43}
    good: dict[str, Any] = {
        "request_id": "r",
        "request_digest": "A" * 43,
        "grant": TOKEN_EXCHANGE,
        "client_id": "front",
        "auth_method": "private_key_jwt",
        "subject": subject | changes.pop("subject", {}),
        "scope": scope,
        "now": 1000,
        "views_fresh": True,
        "revocations": 3,
    }
    return ExchangeInput.model_validate({**good, **changes}, strict=False)


def test_a_good_one() -> None:
    decision = decide_exchange(asked(), facts())
    assert decision
    assert decision.ttl_s == 60
    assert [line.gate for line in decision.lines][-1] is Gate.CONSTRAINTS


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"client_id": "nobody"}, DenyReason.CLIENT_UNKNOWN),
        ({"views_fresh": False}, DenyReason.VIEW_STALE),
        ({"grant": "client_credentials", "subject": {"scope": ()}, "scope": ("other",)}, DenyReason.OUT_OF_CEILING),
        ({"workload": "spiffe://88mph.com/agents/advisor"}, DenyReason.CLIENT_UNKNOWN),
        ({"subject": {"sub": "biff"}}, DenyReason.USER_LACKS_RIGHT),
        ({"subject": {"scope": ()}}, DenyReason.OUT_OF_SUBJECT_SCOPE),
        ({"subject": {"exp": 1000}}, DenyReason.PARENT_EXPIRED),
        ({"scope": ()}, DenyReason.OUT_OF_CEILING),
        ({"resources": ("https://other",)}, DenyReason.RESOURCE_NOT_ALLOWED),
    ],
)
def test_what_is_refused(changes: dict[str, Any], reason: DenyReason) -> None:
    decision = decide_exchange(asked(**changes), facts())
    assert (decision.outcome, decision.reason) == ("deny", reason)
    assert not decision.lines[-1].passed


def test_who_handed_it_on_counts_without_having_acted() -> None:
    """INVARIANT: a transaction that a quarantined workload handed on is not continued, whatever stands in `act`.

    Whoever continues a transaction for itself is in the chain of its tokens alone.
    """
    link = {"wl": "spiffe://88mph.com/agents/search", "jti": "j", "iat": 990}
    handed = asked(subject={"type": "txn_token", "txn": "t", "chain": (link,)})
    table = facts(ceilings={"txn_token": ["process.refund"]})
    assert decide_exchange(handed, table)
    target = target_digest("agent", link["wl"])
    put(table, {"kind": "posture", "scope": "agent", "target": target, "value": link["wl"], "level": "quarantined", "causes": []})
    assert decide_exchange(handed, table).reason is DenyReason.QUARANTINED


def test_unknown_is_never_unconstrained() -> None:
    """INVARIANT: a type of subject token without a ceiling is refused, and where a token says nothing of scope its ceiling is the scope.

    Reading "none" as "everything" would give whoever may exchange at all whatever it asks for.
    """
    bare = asked(subject={"scope": None, "type": "id_token"})
    assert decide_exchange(bare, facts(ceilings={"access_token": ["*"]})).reason is DenyReason.SUBJECT_TYPE_NOT_ALLOWED
    assert decide_exchange(bare, facts(ceilings={"id_token": ["other"]})).reason is DenyReason.OUT_OF_CEILING
    assert decide_exchange(bare, facts(ceilings={"id_token": ["process.*"]}))


def test_a_consent_bounds_what_an_agent_gets() -> None:
    """INVARIANT: an agent gets for a person no purpose that the person did not consent to, and nothing that outlives the consent.

    Broken by asking only whether there is a consent.
    """
    advisor = "spiffe://88mph.com/agents/advisor"
    table = facts(spiffe_id=advisor)
    consent = {"kind": "relation", "subject": "user:marty", "relation": "delegates_to", "object": f"agent:{advisor}"}
    put(table, {**consent, "purposes": ["process.refund"], "expires_at": 1020})
    decision = decide_exchange(asked(workload=advisor), table)
    assert decision
    assert decision.ttl_s == 20
    put(table, {**consent, "purposes": ["process.payout"]})
    assert decide_exchange(asked(workload=advisor), table).reason is DenyReason.USER_NOT_DELEGATING


def test_a_bug_in_a_gate_denies(monkeypatch: pytest.MonkeyPatch) -> None:
    """INVARIANT: an exception in a gate is a refusal (promise 7)."""
    table = facts()
    monkeypatch.setattr(table, "relations_from", lambda *_: 1 / 0)
    decision = decide_exchange(asked(), table)
    assert (decision.outcome, decision.reason, decision.lines[-1].note) == ("deny", DenyReason.INTERNAL, "ZeroDivisionError")


_PATTERNS = st.lists(st.sampled_from([*CODES, "process.*", "*", "web.*"]), max_size=3).map(tuple)
_SCOPES = st.lists(st.sampled_from(CODES), max_size=3, unique=True).map(tuple)


@settings(max_examples=150, deadline=None)
@given(wanted=_SCOPES, held=st.none() | _SCOPES, ceiling=_PATTERNS, exp=st.integers(990, 1400), ttl=st.integers(1, 300))
def test_granted_is_within_everything(
    wanted: tuple[str, ...], held: tuple[str, ...] | None, ceiling: tuple[str, ...], exp: int, ttl: int
) -> None:
    """INVARIANT: whatever is asked, what is granted lies within the subject token's scope, the ceiling, and both lives (promise 3)."""
    table = facts(ceilings={"access_token": list(ceiling)}, txn_ttl_s=ttl)
    decision = decide_exchange(asked(scope=wanted, subject={"scope": held, "exp": exp}), table)
    if decision:
        assert wanted
        assert all(matches(ceiling, code) for code in wanted)
        assert held is None or set(wanted) <= set(held)
        assert 0 < decision.ttl_s <= min(ttl, exp - 1000)

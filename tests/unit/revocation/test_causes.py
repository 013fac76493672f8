"""Why an entry is written, and about whom."""

from __future__ import annotations

import pytest
from weft.digest import target_digest

from schemas.facts import Posture, Scope
from schemas.revocation import Order, Target
from workers.revocation.causes import of_completion, of_order, of_posture

VALUES: dict[Scope, str] = {
    "instance": "i" + "a2" * 13,
    "agent": "spiffe://88mph.com/agents/advisor",
    "namespace": "spiffe://88mph.com/agents",
    "user": "marty",
}


def posture(scope: Scope, *, revoke: bool = True) -> Posture:
    value = VALUES[scope]
    return Posture(scope=scope, target=target_digest(scope, value), value=value, level="quarantined", causes=(), revoke=revoke)


@pytest.mark.parametrize("scope", VALUES)
def test_a_posture_that_revokes_hits_exactly_its_target(scope: Scope) -> None:
    """INVARIANT: a posture that revokes becomes an entry about its own target, no narrower, no wider, under the posture's revision.

    Widening an instance to its agent would take its siblings along; missing a scope would leave live tokens behind.
    """
    cause = of_posture(posture(scope), 17, "signals")
    assert cause is not None
    assert cause.targets == (Target(kind=scope, digest=target_digest(scope, VALUES[scope])),)
    assert (cause.key, cause.posture) == ("posture:17", 17)
    assert ("marty" in "".join(cause.names)) is False


@pytest.mark.parametrize("scope", VALUES)
def test_a_posture_that_does_not_revoke_makes_no_entry(scope: Scope) -> None:
    assert of_posture(posture(scope, revoke=False), 17, "signals") is None


def test_an_order_names_each_target_once_and_people_as_digests() -> None:
    order = Order(id="o1", targets=(("token", "j1"), ("user", "marty"), ("token", "j1")), cause="operator", by="UDOC")
    cause = of_order(order)
    assert [target.digest for target in cause.targets] == [target_digest("token", "j1"), target_digest("user", "marty")]
    assert cause.names == ("token:j1", f"user:{target_digest('user', 'marty')}")
    assert of_order(order).key == cause.key


def test_a_completion_ends_one_token_and_may_share_an_entry() -> None:
    cause = of_completion("j1", "someone")
    assert (cause.key, [target.digest for target in cause.targets]) == (None, [target_digest("token", "j1")])

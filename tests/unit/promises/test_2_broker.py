"""Promise 2 as data: between an agent and the broker stand two walls, and each would do.  The real server's walls are walked in
tests/integration/test_access_walk.py.
"""

from __future__ import annotations

from streams import access, subjects

NAME = "i" + "a2" * 13 + ".88mph~com.agents.advisor"
BROKERS = subjects.MINT.filter


def covers(pattern: str, subject: str) -> bool:
    """As NATS matches them."""
    wanted, named = pattern.split("."), subject.split(".")
    for at, part in enumerate(wanted):
        if part == ">":
            return len(named) > at
        if at >= len(named) or part not in ("*", named[at]):
            return False
    return len(wanted) == len(named)


def test_what_covers_what() -> None:
    assert covers("weft.*.mint", "weft.broker.mint")
    assert covers("weft.>", "weft.broker.mint")
    assert not covers("weft.broker", "weft.broker.mint")
    assert not covers("weft.broker.mint.x", "weft.broker.mint")


def test_no_outer_account_is_offered_the_brokers_subject() -> None:
    """INVARIANT: nothing that FABRIC exports, to whatever account, covers the broker's subject (promise 2).

    An export of it "for operators to debug", or of a family that holds it, would break it: then one permission is all that is left.
    """
    assert not [export.subject for export in access.EXPORTS if covers(export.subject, BROKERS)]


def test_nobody_but_a_gateway_asks_and_nobody_but_a_broker_listens() -> None:
    """INVARIANT: of all credentials and templates the gateway's alone publishes to the broker, and the broker's alone hears it (promise 2).

    A wildcard in a template or in another worker's row would break it.
    """
    held = {name: credential.permissions for name, credential in access.CREDENTIALS.items()}
    held |= {role: template.permissions for role, template in access.TEMPLATES.items()}
    asks = {name for name, may in held.items() if any(covers(pattern.replace(access.NAME, NAME), BROKERS) for pattern in may.publish)}
    hears = {name for name, may in held.items() if any(covers(pattern.replace(access.NAME, NAME), BROKERS) for pattern in may.subscribe)}
    assert (asks, hears) == ({"gateway"}, {"broker"})

"""Which key a broker signs with: what the facts say, at this time, of those it holds."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from schemas.reasons import DenyReason
from streams.keys import SigningKey
from streams.tokenkeys import signing_key
from tests.support.facts import put, table_of
from tests.support.hotpath import FixedClock
from workers.broker.keyring import Keyring
from workers.broker.signer import Committed
from workers.common.keyperiods import GRACE_S, LAST_TOKEN_S
from workers.common.requests import RequestRefused

T = 1_800_000_000


def fact(key: SigningKey, **changes):
    return {"kind": "key", "purpose": "tokens", "kid": key.kid, "jwk": key.jwk, "trust_domain": "88mph.com", **changes}


@pytest.fixture
def keys() -> tuple[SigningKey, SigningKey]:
    return signing_key(generate_private_key(SECP256R1())), signing_key(generate_private_key(SECP256R1()))


def test_it_changes_over_by_the_clock_alone(keys):
    old, new = keys
    table, clock = table_of([fact(old, not_after=T), fact(new, not_before=T)]), FixedClock(T - 1)
    ring = Keyring(table, clock, keys)
    assert ring.kid == old.kid
    clock.at = T
    assert ring.kid == new.kid


def test_without_the_next_key_the_last_one_serves_a_minute_more(keys):
    old, new = keys
    table, clock = table_of([fact(old, not_after=T), fact(new, not_before=T)]), FixedClock(T + GRACE_S - 1)
    ring = Keyring(table, clock, [old])
    assert (ring.kid, ring.missing()) == (old.kid, (new.kid,))
    clock.at = T + GRACE_S
    assert not ring.ready
    with pytest.raises(RequestRefused) as refused:
        _ = ring.kid
    assert refused.value.reason is DenyReason.BROKER_UNAVAILABLE
    ring.add(new)
    assert (ring.kid, ring.missing()) == (new.kid, ())


def test_a_key_that_no_fact_names_signs_nothing(keys):
    """INVARIANT: a broker signs with no key that the facts do not let sign at that moment.

    Signing with whatever lies in the folder would break it: a prepared key, a retired one, a compromised one.
    """
    old, new = keys
    table, clock = table_of([fact(old)]), FixedClock(T)
    ring = Keyring(table, clock, keys)
    payload = b'{"iss":"x"}'
    assert ring.kid == old.kid
    with pytest.raises(RequestRefused):
        ring.issue_token(Committed(payload, 1, new.kid))
    assert ring.issue_token(Committed(payload, 1, old.kid)).count(".") == 2
    put(table, fact(old, state="compromised"), fact(new))
    assert ring.kid == new.kid
    with pytest.raises(RequestRefused):
        ring.issue_token(Committed(payload, 1, old.kid))


def test_a_request_recorded_under_the_last_key_is_answered_under_it(keys):
    old, new = keys
    table, clock = table_of([fact(old, not_after=T), fact(new, not_before=T)]), FixedClock(T + 100)
    ring = Keyring(table, clock, keys)
    assert ring.issue_token(Committed(b"{}", 1, old.kid)).startswith(ring._signers[old.kid].issue_token(Committed(b"{}", 1, old.kid))[:20])
    clock.at = T + LAST_TOKEN_S
    with pytest.raises(RequestRefused):
        ring.issue_token(Committed(b"{}", 1, old.kid))


def test_it_shows_names_alone(keys):
    text = repr(Keyring(table_of([]), FixedClock(T), keys))
    assert text == f"Keyring({keys[0].kid}, {keys[1].kid})"

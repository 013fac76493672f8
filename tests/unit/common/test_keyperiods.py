"""When a key signs, and how long what it signed is verified.  NIST SP 800-57 part 1 section 5.3.5."""

from __future__ import annotations

import math

import pytest

from schemas.facts import Key
from workers.common.keyperiods import GRACE_S, LAST_TOKEN_S, next_change, phase, signing, verifying

T = 1_800_000_000
ALWAYS = {}
OLD, NEW = {"kid": "old", "not_after": T}, {"kid": "new", "not_before": T}


def key(**changes) -> Key:
    return Key.model_validate({"purpose": "tokens", "kid": "k", "jwk": {}, "trust_domain": "88mph.com", **changes})


def kids(keys) -> list[str]:
    return [found.kid for found in keys]


@pytest.mark.parametrize(
    ("changes", "at", "expected"),
    [
        (ALWAYS, T, "signing"),
        ({"not_before": T}, T - 1, "published"),
        ({"not_before": T}, T, "signing"),
        ({"not_after": T}, T - 1, "signing"),
        ({"not_after": T}, T, "verifying"),
        ({"not_after": T}, T + LAST_TOKEN_S - 1, "verifying"),
        ({"not_after": T}, T + LAST_TOKEN_S, "retired"),
        ({"not_after": T, "state": "retired"}, T + 1, "verifying"),
        ({"state": "retired"}, T, "retired"),
        ({"state": "compromised"}, T, "compromised"),
        ({"not_before": T, "state": "compromised"}, T - 1, "compromised"),
    ],
)
def test_phases(changes, at, expected):
    assert phase(key(**changes), at) == expected


@pytest.mark.parametrize(
    ("at", "signs", "verifies"),
    [
        (T - 1, ["old"], ["old", "new"]),
        (T, ["new", "old"], ["old", "new"]),
        (T + GRACE_S - 1, ["new", "old"], ["old", "new"]),
        (T + GRACE_S, ["new"], ["old", "new"]),
        (T + LAST_TOKEN_S, ["new"], ["new"]),
    ],
)
def test_a_rotation(at, signs, verifies):
    """INVARIANT: a key is verified before any broker signs with it, and until the last token that it can have signed has expired.

    A JWKS of the signing key alone, or one that forgets a key with its period, would break it.
    """
    keys = [key(**OLD), key(**NEW)]
    assert (kids(signing(keys, at)), kids(verifying(keys, at))) == (signs, verifies)
    assert set(kids(signing(keys, at))) <= set(kids(verifying(keys, at)))


def test_the_compromised_neither_sign_nor_are_believed():
    stolen = key(state="compromised", kid="stolen")
    assert kids(signing([stolen, key()], T)) == kids(verifying([stolen, key()], T)) == ["k"]


def test_every_change_is_foreseen():
    keys = [key(**OLD), key(**NEW)]
    at, seen = T - 10.0, []
    while (at := next_change(keys, at)) != math.inf:
        seen.append(at)
    assert seen == [T, T + GRACE_S, T + LAST_TOKEN_S]

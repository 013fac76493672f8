"""Which key of SETs and receipts signs, and what becomes of the private halves."""

from __future__ import annotations

import stat
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from config.settings import Settings
from schemas.facts import Key
from streams.keys import SignalsPurpose, SigningKey, first_kid, held_keys, load_or_create, next_key
from tests.support.hotpath import FixedClock
from workers.cli.signalkeys import sweep
from workers.common.keyperiods import GRACE_S
from workers.signals.ring import AGAIN_S, NoSigningKey, Ring
from workers.signals.transmitter.service import LAST_SET_S, jwks

PURPOSES: tuple[SignalsPurpose, ...] = ("signals", "signals-rs256")


class Facts:
    def __init__(self) -> None:
        self.held: dict[str, Key] = {}

    def say(self, purpose: SignalsPurpose, key: SigningKey, **more: Any) -> None:
        self.held[key.kid] = Key(purpose=purpose, kid=key.kid, jwk=key.jwk, trust_domain="88mph.com", **more)

    def keys(self, purpose: str | None = None) -> tuple[Key, ...]:
        return tuple(key for key in self.held.values() if key.purpose == purpose)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state=tmp_path)


@pytest.mark.parametrize("purpose", PURPOSES)
def test_the_next_key_signs_from_its_time_on(settings: Settings, purpose: SignalsPurpose) -> None:
    """INVARIANT: a key of SETs signs from the time that its fact names, and not before; every copy changes over by the clock.

    Signing with a key when it is made would break it: no receiver has it yet.
    """
    facts, clock = Facts(), FixedClock()
    old = load_or_create(settings, purpose)
    facts.say(purpose, old)
    ring = Ring(facts, clock, settings, purpose)
    assert ring.current.kid == old.kid
    new = next_key(settings, purpose)  # put there after this worker began
    assert ring.current.kid == old.kid
    clock.at += AGAIN_S
    starts = int(clock.now()) + 100
    facts.say(purpose, old, not_after=starts)
    facts.say(purpose, new, not_before=starts)
    assert ring.current.kid == old.kid
    clock.at = starts
    assert (ring.current.kid, ring.alg) == (new.kid, old.alg)
    assert new.kid in repr(ring)


def test_a_key_that_is_not_here_yet_is_waited_for_and_not_for_ever(settings: Settings) -> None:
    facts, clock = Facts(), FixedClock()
    old, starts = load_or_create(settings, "signals"), int(clock.now())
    ring = Ring(facts, clock, settings, "signals")
    facts.say("signals", old, not_after=starts)
    elsewhere = next_key(Settings(state=settings.state / "elsewhere"), "signals")
    facts.say("signals", elsewhere, not_before=starts)
    assert ring.current.kid == old.kid
    clock.at = starts + GRACE_S
    with pytest.raises(NoSigningKey):
        _ = ring.current
    (settings.state / "elsewhere" / "keys" / "signals").rename(settings.keys / "signals")
    clock.at += AGAIN_S
    assert ring.current.kid == elsewhere.kid


def test_nothing_is_said_with_a_key_that_the_facts_do_not_let_sign(settings: Settings) -> None:
    """INVARIANT: neither a compromised key nor one that no fact names signs anything in the fabric's name.

    Falling back on whatever lies there would break it: the thief's copy would go on being ours.
    """
    facts, clock = Facts(), FixedClock()
    ring = Ring(facts, clock, settings, "signals")
    with pytest.raises(NoSigningKey):
        _ = ring.current
    facts.say("signals", load_or_create(settings, "signals"), state="compromised", not_after=int(clock.now()))
    with pytest.raises(NoSigningKey):
        _ = ring.current


def test_private_halves_that_sign_no_more_are_destroyed(settings: Settings) -> None:
    """And the one that signs takes the place of the first, which every worker loads and every start would make anew."""
    facts, client, now = Facts(), SimpleNamespace(settings=settings), int(time.time())
    old, new, stray = load_or_create(settings, "signals"), next_key(settings, "signals"), next_key(settings, "signals")

    def swept() -> set[str]:
        return set(sweep(client, "signals", {kid: (key, 1) for kid, key in facts.held.items()}))  # type: ignore[arg-type]

    facts.say("signals", old, not_after=now - 10)
    facts.say("signals", new, not_before=now - 10)
    assert swept() == {stray.kid}, "the last one may still be needed for a minute"
    facts.say("signals", old, not_after=now - GRACE_S - 1)
    assert swept() == {old.kid}
    assert [key.kid for key in held_keys(settings, "signals")] == [new.kid] == [first_kid(settings, "signals")]
    assert swept() == set()
    path = settings.keys / "signals.pem"
    assert (stat.S_IMODE(path.stat().st_mode), list((settings.keys / "signals").iterdir())) == (0o600, [])


def test_receivers_are_told_of_a_key_for_as_long_as_something_that_it_signed_may_arrive(settings: Settings) -> None:
    facts, now = Facts(), 1_800_000_000
    old, new, stolen = (next_key(settings, "signals") for _ in range(3))
    facts.say("signals", old, not_after=now)
    facts.say("signals", new, not_before=now)
    facts.say("signals", stolen, state="compromised")

    def told(at: float) -> set[str]:
        return {key["kid"] for key in jwks(facts, at)["keys"]}  # type: ignore[arg-type]

    assert told(now - 3600) == {old.kid, new.kid}, "published before use"
    assert told(now + LAST_SET_S - 1) == {old.kid, new.kid}
    assert told(now + LAST_SET_S) == {new.kid}
    assert "d" not in jwks(facts, now)["keys"][0]  # type: ignore[arg-type]

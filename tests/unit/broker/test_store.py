"""What the broker keeps sealed opens for what it was kept for, and for nothing else."""

from __future__ import annotations

import pytest

from config.settings import Settings
from schemas.facts import Credential, CredentialVersion, Kind
from streams import tokenkeys
from streams.envelope import LocalKEK, name_of
from streams.facts_table import FactsTable
from tests.support.facts import put, table_of, tombstone
from tests.support.hotpath import FixedClock
from workers.broker.keyring import Keyring
from workers.broker.rotation import Rotation
from workers.broker.store import NotHeld, Store, context_of
from workers.broker.vault import Vault, digest_of
from workers.common.keyperiods import LAST_TOKEN_S

KEK = LocalKEK({name_of(b"k" * 32): b"k" * 32})
VALUE = b"sk-live-1234567890"


def fact(**changes) -> Credential:
    plain = {"name": "weather", "type": "api_key", "hosts": ("api.weather.example",), "current": 1, "versions": ()}
    return Credential.model_validate(plain | changes)


@pytest.fixture
async def store(tmp_path):
    vault = await Vault.open(tmp_path / "broker" / "vault.db")
    yield Store(Settings(state=tmp_path), KEK, vault)
    await vault.close()


async def test_a_sealed_value_opens_for_its_own_fact_alone(store):
    """INVARIANT: a value opens for the name, version, type and hosts that its custodian meant; changed in a fact, it does not.

    A context of less than all of these would break it: whoever writes facts could send a credential to another host.
    """
    secret = await store.seal_value(fact(), 1, VALUE)
    version = CredentialVersion(version=1, digest=digest_of(secret.sealed), at=1)
    assert await store.value(fact(versions=(version,))) == VALUE
    second = version.model_copy(update={"version": 2})
    for changed in (
        fact(hosts=("evil.example",), versions=(version,)),
        fact(hosts=("api.weather.example", "evil.example"), versions=(version,)),
        fact(type="password", versions=(version,)),
        fact(current=2, versions=(second,)),
    ):
        with pytest.raises(NotHeld):
            await store.value(changed)
    await store.vault.put(secret.model_copy(update={"name": "other"}), "moved")
    with pytest.raises(NotHeld):
        await store.value(fact(name="other", versions=(version,)))


def test_every_context_is_another():
    kinds = (fact(), fact(name="x"), fact(type="password"), fact(hosts=("a.example",)), fact(hosts=("a.example", "b.example")))
    assert len({context_of(one, version) for one in kinds for version in (1, 2)}) == 2 * len(kinds)


async def test_what_the_facts_let_go_is_deleted_and_nothing_else(store):
    """Verifies that a vault on another machine forgets too, and never what no fact has named: a restored FACTS would take it along."""
    kept = fact()
    one, two = [await store.seal_value(kept, version, VALUE) for version in (1, 2)]
    await store.seal_value(fact(name="unknown"), 1, VALUE)
    await store.seal_value(fact(name="gone"), 1, VALUE)
    in_flight = await store.seal_value(kept, 3, VALUE)
    table = FactsTable()
    version = {"version": 2, "digest": digest_of(two.sealed), "at": 1}
    put(table, {**kept.plain(), "kind": "credential", "current": 2, "versions": [version]})
    table.apply(2, *tombstone(Kind.CREDENTIAL, "gone"))
    await store.sweep(table, before=0)
    assert len(await store.vault.versions(before=2**40)) == 5  # too young
    await store.sweep(table, before=2**40)
    left = {(name, digest) for name, digest, _ in await store.vault.versions(before=2**40)}
    assert {name for name, _ in left} == {"weather", "unknown"}
    assert {digest for name, digest in left if name == "weather"} == {digest_of(two.sealed), digest_of(in_flight.sealed)}
    assert digest_of(one.sealed) not in {digest for _, digest in left}


async def test_private_halves_go_when_nothing_needs_them(store, tmp_path):
    settings, clock, now = Settings(state=tmp_path), FixedClock(1_900_000_000), 1_900_000_000
    made = [tokenkeys.create(settings, KEK) for _ in range(4)]
    signs, retired, stolen, unnamed = made
    plain = {"kind": "key", "purpose": "tokens", "trust_domain": "88mph.com"}
    table = table_of(
        [
            {**plain, "kid": signs.kid, "jwk": signs.jwk},
            {**plain, "kid": retired.kid, "jwk": retired.jwk, "not_after": now - LAST_TOKEN_S},
            {**plain, "kid": stolen.kid, "jwk": stolen.jwk, "state": "compromised"},
        ]
    )
    ring = Keyring(table, clock, made)
    await Rotation(table, ring, store, clock).sweep()
    assert [key.kid for key in tokenkeys.stored(settings)] == [signs.kid]  # the unnamed one is from another age
    assert [kid for kid in (key.kid for key in made) if ring.holds(kid)] == [signs.kid]
    clock.at = float(next(tokenkeys.stored(settings)).at)
    young = tokenkeys.create(settings, KEK)
    await Rotation(table, ring, store, clock).sweep()
    assert young.kid in {key.kid for key in tokenkeys.stored(settings)}  # its fact may be on its way
    assert unnamed.kid not in {key.kid for key in tokenkeys.stored(settings)}

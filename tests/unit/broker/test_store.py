"""What the broker keeps sealed opens for what it was kept for, and for nothing else."""

from __future__ import annotations

import pytest

from config.settings import Settings
from schemas.facts import Credential, CredentialVersion
from streams.envelope import LocalKEK, name_of
from workers.broker.store import NotHeld, Store, context_of
from workers.broker.vault import Vault, digest_of

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

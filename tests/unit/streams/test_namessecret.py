"""What other domains know people by lies sealed, stays the same, and is one for all brokers of a folder."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from weft.digest import b64u

from config.settings import Settings
from streams import namessecret
from streams.envelope import CannotOpen, LocalKEK, load_or_create_kek, name_of
from streams.secretfile import LooseSecret, write_secret
from workers.broker.store import BOX_FILE, Store
from workers.broker.vault import Vault

OLD, NEW = b"k" * 32, b"n" * 32
KEK = LocalKEK({name_of(OLD): OLD})
BOTH = LocalKEK({name_of(NEW): NEW, name_of(OLD): OLD})


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state=tmp_path)


def test_it_lies_sealed_and_stays(settings: Settings) -> None:
    """INVARIANT: what people are named by toward other domains lies on no disk in clear: whoever reads it could link their names.

    Broken by a plain file, as it was.
    """
    secret = namessecret.load_or_create(settings, KEK)
    assert len(secret) == 32
    assert namessecret.load_or_create(settings, KEK) == secret
    for path in (path for path in settings.state.rglob("*") if path.is_file()):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert not any(clear in path.read_bytes() for clear in (secret, b64u(secret).encode(), secret.hex().encode()))


def test_the_one_of_an_earlier_version_is_taken_over_and_its_file_goes(settings: Settings) -> None:
    write_secret(settings.keys / "names.secret", b"o" * 32)
    assert namessecret.load_or_create(settings, KEK) == b"o" * 32
    assert not (settings.keys / "names.secret").exists()
    assert namessecret.load_or_create(settings, KEK) == b"o" * 32


def test_another_file_of_that_name_is_left_where_it_is(settings: Settings) -> None:
    secret = namessecret.load_or_create(settings, KEK)
    write_secret(settings.keys / "names.secret", b"o" * 32)
    assert namessecret.load_or_create(settings, KEK) == secret
    assert (settings.keys / "names.secret").exists()


def test_of_brokers_that_begin_at_once_one_makes_it(settings: Settings) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(lambda _: namessecret.load_or_create(settings, KEK), range(8)))
    assert len(made) == 1
    assert [path.name for path in (settings.state / "broker").iterdir()] == ["names.json"]


def test_under_another_key_or_for_everybody_to_read_it_is_refused(settings: Settings) -> None:
    namessecret.load_or_create(settings, KEK)
    with pytest.raises(CannotOpen):
        namessecret.load_or_create(settings, LocalKEK({name_of(NEW): NEW}))
    (settings.state / "broker" / "names.json").chmod(0o644)
    with pytest.raises(LooseSecret):
        namessecret.load_or_create(settings, KEK)


async def test_a_new_kek_wraps_it_and_the_vaults_box_anew(settings: Settings) -> None:
    """Verifies that the old KEK may go once the broker has started under the new one."""
    load_or_create_kek(settings)
    secret = namessecret.load_or_create(settings, KEK)
    vault = await Vault.open(settings.state / "broker" / "vault.db")
    box = await Store(settings, KEK, vault).box_key()
    counts = [await Store(settings, BOTH, vault).rewrap() for _ in range(2)]
    new = LocalKEK({name_of(NEW): NEW})
    assert (counts, namessecret.load_or_create(settings, new)) == ([2, 0], secret)
    assert await Store(settings, new, vault).box_key() == box
    assert (settings.state / "broker" / BOX_FILE).exists()
    await vault.close()

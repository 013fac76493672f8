"""Signing keys and the files of secrets.  RFC 7638 section 3.1, RFC 8037 appendix A.3."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from config.settings import Settings
from streams.keys import PURPOSES, Purpose, WrongKey, load_or_create, thumbprint
from streams.secretfile import LooseSecret, read_secret, write_secret


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state=tmp_path)


@pytest.mark.parametrize("purpose", PURPOSES)
def test_a_key_is_made_once(settings: Settings, purpose: Purpose) -> None:
    key = load_or_create(settings, purpose)
    again = load_or_create(settings, purpose)
    assert (key.kid, key.jwk) == (again.kid, again.jwk)
    kinds = {"revocation": (Ed25519PrivateKey, "EdDSA"), "signals-rs256": (RSAPrivateKey, "RS256")}
    kind, alg = kinds.get(purpose, (EllipticCurvePrivateKey, "ES256"))
    assert isinstance(key.private, kind)
    assert key.alg == alg
    assert not {"d", "p", "q", "dp", "dq", "qi"} & key.jwk.keys()
    path = settings.keys / f"{purpose}.pem"
    assert (stat.S_IMODE(path.stat().st_mode), stat.S_IMODE(path.parent.stat().st_mode)) == (0o600, 0o700)
    assert path.read_text().splitlines()[1] not in repr(key)


def test_purposes_do_not_share_a_key(settings: Settings) -> None:
    assert len({load_or_create(settings, purpose).kid for purpose in PURPOSES}) == len(PURPOSES)


def test_a_key_of_another_kind_is_refused(settings: Settings) -> None:
    """INVARIANT: a purpose is served by its own kind of key alone.

    Signing with whatever the file holds would break it.
    """
    load_or_create(settings, "signals")
    load_or_create(settings, "revocation")
    (settings.keys / "signals.pem").replace(settings.keys / "kept.pem")
    (settings.keys / "revocation.pem").replace(settings.keys / "signals.pem")
    (settings.keys / "kept.pem").replace(settings.keys / "revocation.pem")
    for purpose in ("signals", "revocation"):
        with pytest.raises(WrongKey):
            load_or_create(settings, purpose)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o622, 0o777])
def test_a_secret_that_others_may_touch_is_refused(tmp_path: Path, mode: int) -> None:
    """INVARIANT: a secret that another user could read or replace is not used.

    Reading it whatever its mode would break it.
    """
    path = tmp_path / "secret"
    write_secret(path, b"x")
    assert read_secret(path) == b"x"
    path.chmod(mode)
    with pytest.raises(LooseSecret):
        read_secret(path)


def test_a_secret_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "secret"
    write_secret(path, b"one")
    write_secret(path, b"two")
    assert path.read_bytes() == b"two"
    assert [held.name for held in path.parent.iterdir()] == ["secret"]


def test_thumbprints_are_the_specifications() -> None:
    okp = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "kid": "ignored"}
    assert thumbprint(okp) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"

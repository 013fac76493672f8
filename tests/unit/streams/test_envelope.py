"""Envelope encryption and the files of token keys."""

from __future__ import annotations

import stat

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from weft.digest import b64u

from config.settings import Settings
from streams import tokenkeys
from streams.envelope import CannotOpen, KEKUnavailable, LocalKEK, load_kek, load_or_create_kek, name_of, rewrap, seal, unseal
from streams.keys import WrongKey
from streams.secretfile import LooseSecret, write_secret

SECRET = b"an-api-key-of-some-tool"


def kek(*seeds: int) -> LocalKEK:
    return LocalKEK({name_of(bytes([seed]) * 32): bytes([seed]) * 32 for seed in seeds})


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(state=tmp_path / "s")


def test_what_is_sealed_opens_in_its_context_alone():
    """INVARIANT: what the broker keeps is ciphertext, bound to what it is kept for.

    Storing it in clear, or without its context authenticated (so that one row could stand for another), would break it.
    """
    sealed = seal(kek(1), SECRET, "credential weather 1")
    assert SECRET not in sealed.wire()
    assert b64u(SECRET).encode() not in sealed.wire()
    assert unseal(kek(1), sealed, "credential weather 1") == SECRET
    for other, context in ((kek(1), "credential weather 2"), (kek(2), "credential weather 1")):
        with pytest.raises(CannotOpen):
            unseal(other, sealed, context)


@pytest.mark.parametrize("member", ["wrapped", "nonce", "ciphertext"])
def test_a_changed_bit_does_not_open(member):
    sealed = seal(kek(1), SECRET, "c")
    text = getattr(sealed, member)
    changed = sealed.model_copy(update={member: ("B" if text[0] == "A" else "A") + text[1:]})
    with pytest.raises(CannotOpen):
        unseal(kek(1), changed, "c")


def test_no_two_are_sealed_alike():
    one, two = seal(kek(1), SECRET, "c"), seal(kek(1), SECRET, "c")
    assert len({one.wrapped, two.wrapped}) == len({one.nonce, two.nonce}) == len({one.ciphertext, two.ciphertext}) == 2


def test_an_older_kek_opens_until_all_is_wrapped_anew():
    sealed = seal(kek(1), SECRET, "c")
    both = kek(2, 1)
    again = rewrap(both, sealed, "c")
    assert (again.ciphertext, again.nonce) == (sealed.ciphertext, sealed.nonce)
    assert unseal(kek(2), again, "c") == SECRET
    assert rewrap(both, again, "c") is again


def test_the_kek_comes_from_the_environment_or_a_private_file(settings):
    with pytest.raises(KEKUnavailable, match="WEFT_BROKER_KEK"):
        load_kek(settings, {})
    made = load_or_create_kek(settings)
    assert stat.S_IMODE(settings.kek.stat().st_mode) == 0o600
    assert load_kek(settings, {}).current == made.current == load_or_create_kek(settings).current
    given = b64u(b"\1" * 32)
    assert load_kek(settings, {"WEFT_BROKER_KEK": given}).current == kek(1).current
    assert given not in repr(load_kek(settings, {"WEFT_BROKER_KEK": given}))
    settings.kek.chmod(0o644)
    with pytest.raises(LooseSecret):
        load_kek(settings, {})


@pytest.mark.parametrize("text", ["", "\n", "short", b64u(b"x" * 31), b64u(b"x" * 32) + "=", "ä"])
def test_what_is_no_kek_is_refused_without_being_repeated(text):
    with pytest.raises(KEKUnavailable) as refused:
        LocalKEK.parse(text, "here")
    assert text.strip() == "" or text not in str(refused.value)


def test_a_token_key_lies_sealed_and_its_public_half_in_clear(settings):
    """INVARIANT: no private key of tokens lies on a disk in clear.

    Writing it as plain PEM, as the other purposes' keys are, would break it.
    """
    key = tokenkeys.first(settings)
    assert tokenkeys.first(settings).kid == key.kid
    (path,) = tokenkeys.folder(settings).iterdir()
    assert (stat.S_IMODE(path.stat().st_mode), stat.S_IMODE(path.parent.stat().st_mode)) == (0o600, 0o700)
    private = key.private.private_numbers().private_value.to_bytes(32, "big")
    der = key.private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    pem = key.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).splitlines()[1]
    for file in settings.state.rglob("*"):
        content = file.read_bytes() if file.is_file() else b""
        assert not any(clear in content for clear in (private, der, pem, b64u(private).encode(), private.hex().encode()))
    assert next(tokenkeys.stored(settings)).jwk == key.jwk


def test_the_key_of_an_earlier_version_is_taken_over_and_its_file_goes(settings):
    private = generate_private_key(SECP256R1())
    write_secret(settings.keys / "tokens.pem", private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    key = tokenkeys.first(settings)
    assert key.private.private_numbers() == private.private_numbers()
    assert not (settings.keys / "tokens.pem").exists()


def test_a_file_that_is_not_the_key_it_names_is_refused(settings):
    one, kek_ = tokenkeys.first(settings), load_or_create_kek(settings)
    two = tokenkeys.create(settings, kek_)
    stored = tokenkeys.find(settings, one.kid)
    tokenkeys._path(settings, two.kid).write_bytes(stored.wire())
    with pytest.raises(WrongKey):
        tokenkeys.find(settings, two.kid)
    with pytest.raises(CannotOpen):
        tokenkeys.open_key(kek_, stored.model_copy(update={"kid": two.kid}))
    for bad in ("../x", ".x"):
        with pytest.raises(WrongKey):
            tokenkeys.find(settings, bad)


def test_files_are_wrapped_anew_under_a_new_kek(settings):
    key = tokenkeys.first(settings)
    old = settings.kek.read_text()
    settings.kek.write_text(f"{b64u(b'n' * 32)}\n{old}")
    both = load_kek(settings, {})
    assert tokenkeys.rewrap_all(settings, both) == 1
    assert tokenkeys.rewrap_all(settings, both) == 0
    settings.kek.write_text(b64u(b"n" * 32))
    assert tokenkeys.open_key(load_kek(settings, {}), tokenkeys.find(settings, key.kid)).kid == key.kid

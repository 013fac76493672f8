"""NATS JWTs and sealed boxes, against PyPI `nkeys` where the two overlap.  NATS ADR-14, ADR-26."""

from __future__ import annotations

import json
from collections.abc import Callable

import nkeys
import pytest
from weft.digest import b64u, unb64u
from weft.nkey import InvalidKey, KeyPair, encode_seed

from streams import natsjwt
from streams.natsjwt import CurveKey, InvalidBox, InvalidJWT

NOW = 1_800_000_000
HEADER = b64u(b'{"typ":"JWT","alg":"ed25519-nkey"}')


def _signed(signer: KeyPair, claims: object, header: str = HEADER) -> str:
    body = f"{header}.{b64u(json.dumps(claims).encode())}"
    return f"{body}.{b64u(signer.sign(body.encode()))}"


def test_the_official_library_verifies_what_we_sign() -> None:
    signer = KeyPair("A")
    token = natsjwt.encode({"sub": "x", "nats": {"type": "user"}}, signer, now=NOW)
    head, body, signature = token.split(".")
    official = nkeys.from_seed(bytearray(signer.seed.encode()))
    assert official.verify(f"{head}.{body}".encode(), unb64u(signature))
    assert official.public_key.decode() == signer.public
    assert json.loads(unb64u(head)) == {"typ": "JWT", "alg": "ed25519-nkey"}
    claims = natsjwt.decode(token, "A", now=NOW)
    assert (claims["iss"], claims["iat"], claims["sub"]) == (signer.public, NOW, "x")
    assert len(claims["jti"]) == 52


def test_we_verify_what_the_official_library_signs() -> None:
    official = nkeys.from_seed(bytearray(encode_seed("O", bytes(range(32))).encode()))
    body = f"{HEADER}.{b64u(json.dumps({'iss': official.public_key.decode()}).encode())}"
    token = f"{body}.{b64u(official.sign(body.encode()))}"
    assert natsjwt.decode(token, "O", now=NOW)["iss"] == official.public_key.decode()


@pytest.mark.parametrize(
    "break_it",
    [
        lambda token, _: token + "A",
        lambda token, _: token.rsplit(".", 1)[0],
        lambda token, _: token.rsplit(".", 1)[0] + ".",
        lambda token, _: "." + token.split(".", 1)[1],
        lambda token, _: token + "." + token,
        lambda _, signer: _signed(signer, {"iss": KeyPair("A").public}),
        lambda _, signer: _signed(signer, {"iss": 1}),
        lambda _, signer: _signed(signer, {}),
        lambda _, signer: _signed(signer, [signer.public]),
        lambda _, signer: _signed(signer, {"iss": signer.public}, b64u(b'{"typ":"JWT","alg":"none"}')),
        lambda _, signer: _signed(signer, {"iss": signer.public}, b64u(b'{"typ":"JWT","alg":"ed25519"}')),
        lambda _, signer: _signed(signer, {"iss": signer.public}, b64u(b'{"alg":"ed25519-nkey"}')),
        lambda _, signer: _signed(signer, {"iss": signer.public, "exp": NOW - 1}),
        lambda _, signer: _signed(signer, {"iss": signer.public, "exp": "never"}),
        lambda _, signer: _signed(signer, {"iss": signer.public, "x": "y" * natsjwt.MAX_JWT_BYTES}),
        lambda _, signer: _signed(signer, "[" * 20_000),
        lambda *_: _signed(user := KeyPair("U"), {"iss": user.public}),
        lambda *_: "é.é.é",
        lambda *_: "",
    ],
)
def test_anything_else_is_refused(break_it: Callable[[str, KeyPair], str]) -> None:
    """INVARIANT: a NATS JWT counts only when its own issuer, a key of the expected kind, signed exactly these bytes.

    Taking the algorithm from the header, or the key from anywhere but `iss`, would break it.
    """
    signer = KeyPair("A")
    token = break_it(_signed(signer, {"iss": signer.public}), signer)
    with pytest.raises(InvalidJWT) as refused:
        natsjwt.decode(token, "A", now=NOW)
    assert signer.public not in str(refused.value)


def test_a_box_opens_for_its_recipient_from_its_sender_alone() -> None:
    """INVARIANT: a sealed box says who sealed it and opens for one key.

    Boxing with a fresh key (an anonymous box) would break it: anyone could answer the server.
    """
    alice, bob, eve = CurveKey(), CurveKey(), CurveKey()
    sealed = alice.seal(b"hello", bob.public)
    assert sealed[:4] == b"xkv1"
    assert bob.open(sealed, alice.public) == b"hello"
    for key, sender in ((eve, alice), (bob, eve)):
        with pytest.raises(InvalidBox):
            key.open(sealed, sender.public)
    assert alice.seal(b"hello", bob.public) != sealed


@pytest.mark.parametrize("sealed", [b"", b"xkv1", b"xkv2" + bytes(60), b"xkv1" + bytes(23), b"xkv1" + bytes(60)])
def test_no_box(sealed: bytes) -> None:
    with pytest.raises(InvalidBox):
        CurveKey().open(sealed, CurveKey().public)


def test_curve_keys_are_kept_apart_from_signing_keys() -> None:
    key = CurveKey()
    assert key.public.startswith("X")
    assert CurveKey.from_seed(key.seed).public == key.public
    assert key.seed not in repr(key)
    with pytest.raises(InvalidKey):
        CurveKey.from_seed(KeyPair("A").seed)
    with pytest.raises(InvalidKey):
        key.seal(b"", KeyPair("A").public)

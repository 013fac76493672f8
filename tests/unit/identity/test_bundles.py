"""SPIFFE bundle documents and keys, as TRUST-DOMAIN-AND-BUNDLE section 4 asks."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from tests.support.identities import Keys, Signer
from workers.common.bundles import MAX_BUNDLE_BYTES, BundleRefused, FactBundles, parse_bundle
from workers.common.jose import KeyRefused, public_key

ONE, TWO = Signer(kid="one"), Signer("RS256", kid="two")


def document(*elements: dict[str, Any], **members: Any) -> bytes:
    return json.dumps({"keys": list(elements), **members}).encode()


def element(signer: Signer, **changes: Any) -> dict[str, Any]:
    return {name: value for name, value in {**signer.jwk, "use": "jwt-svid", **changes}.items() if value is not None}


def test_a_bundle_of_two() -> None:
    found = parse_bundle(document(element(ONE), element(TWO), spiffe_sequence=42, spiffe_refresh_hint=300))
    assert found == {"one": ONE.public, "two": TWO.public}


@pytest.mark.parametrize(
    "changes", [{"use": "x509-svid"}, {"use": None}, {"use": "JWT-SVID"}, {"use": "sig"}, {"kty": "OKP"}, {"kty": "x"}]
)
def test_an_element_of_another_use_or_type_is_ignored(changes: dict[str, Any]) -> None:
    assert parse_bundle(document(element(ONE, **changes), element(TWO))) == {"two": TWO.public}


def test_empty_keys_trust_nothing() -> None:
    assert parse_bundle(document()) == {}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"{}",
        b'{"keys":{}}',
        b"[" * 100_000,
        b" " * (MAX_BUNDLE_BYTES + 1),
        document(element(ONE, kid=None)),
        document(element(ONE, kid="")),
        document(element(ONE), element(TWO, kid="one")),
        document(element(ONE, x="AA")),
        document(element(ONE, d="AA")),
    ],
)
def test_a_broken_document_is_refused(raw: bytes) -> None:
    with pytest.raises(BundleRefused):
        parse_bundle(raw)


@given(st.binary(max_size=200))
def test_garbage_is_refused(raw: bytes) -> None:
    with pytest.raises(BundleRefused):
        parse_bundle(raw)


@pytest.mark.parametrize(
    "jwk",
    [
        {},
        {"kty": "oct", "k": "AAAA"},
        {"kty": "EC"},
        {"kty": "EC", "crv": "P-256", "x": 1, "y": 2},
        json.loads(ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256K1()).public_key())),
        json.loads(RSAAlgorithm.to_jwk(rsa.generate_private_key(public_exponent=65537, key_size=1024).public_key())),
        json.loads(ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()))),
    ],
)
def test_keys_we_do_not_verify_with(jwk: dict[str, Any]) -> None:
    with pytest.raises(KeyRefused):
        public_key(jwk)


def test_a_key_fact_that_cannot_be_read_is_absent() -> None:
    assert FactBundles(Keys(ONE.fact(jwk={"kty": "EC"}))).svid_key("88mph.com", "one") is None

"""What a provider that speaks SAML may be registered with."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pydantic import ValidationError

from schemas.facts import UserIssuer
from tests.support.identities import Signer
from tests.support.saml import PROVIDER, Provider
from tests.unit.registry.test_validate import problems, put
from workers.registry.rules_trust import certificate_fault


def fact(**changes: Any) -> UserIssuer:
    return UserIssuer.model_validate_json(json.dumps(PROVIDER.fact(**changes)))


def test_keys_of_openid_certificates_of_saml_or_both() -> None:
    """INVARIANT: a provider of people has a key, of one kind or the other: one without any would be nobody's word."""
    jwks = {"keys": [Signer().jwk]}
    assert problems([], [put(fact())]) == ""
    assert problems([], [put(fact(jwks=jwks))]) == ""
    assert problems([], [put(fact(jwks=jwks, saml_certificates=[]))]) == ""
    assert "neither jwks nor saml_certificates" in problems([], [put(fact(saml_certificates=[]))])
    assert "jwks" in problems([], [put(fact(jwks={"keys": []}))])
    assert "names one twice" in problems([], [put(fact(saml_certificates=[PROVIDER.der, PROVIDER.der]))])


def test_a_fact_from_before_is_read_as_it_was() -> None:
    before = {"kind": "issuer", "iss": "https://op", "aud": "https://fabric", "jwks": {"keys": [Signer().jwk]}}
    body = UserIssuer.model_validate_json(json.dumps(before))
    assert body.saml_certificates == ()
    assert body.jwks == before["jwks"]


def test_a_certificate_is_written_as_metadata_or_openssl_have_it() -> None:
    pem = PROVIDER.certificate.public_bytes(Encoding.PEM).decode()
    lines = "\n   ".join(PROVIDER.der[i : i + 64] for i in range(0, len(PROVIDER.der), 64))
    for text in (PROVIDER.der, pem, f"\n   {lines}\n"):
        assert fact(saml_certificates=[text]).saml_certificates == (PROVIDER.der,)


CERTIFICATES = {
    "rsa": (Provider(rsa.generate_private_key(65537, 3072)), None),
    "P-256": (Provider(ec.generate_private_key(ec.SECP256R1())), None),
    "P-521": (Provider(ec.generate_private_key(ec.SECP521R1())), None),
    "out of its period": (Provider(days=(-30, -1)), None),
    "short": (Provider(rsa.generate_private_key(65537, 1024)), "shorter than 2048"),
    "a curve of its own": (Provider(ec.generate_private_key(ec.SECP256K1())), "no signature algorithm"),
    "ed25519": (Provider(ed25519.Ed25519PrivateKey.generate(), hash_=lambda: None), "SHA-256"),
    "sha224": (Provider(hash_=hashes.SHA224), "less than SHA-256"),
}


@pytest.mark.parametrize("what", CERTIFICATES)
def test_certificates(what: str) -> None:
    provider, words = CERTIFICATES[what]
    text = problems([], [put(fact(saml_certificates=[PROVIDER.der, provider.der]))])
    assert text == "" if words is None else "saml_certificates[1]" in text and words in text
    assert provider.der not in text


def test_a_certificate_signed_with_sha1_is_refused() -> None:
    """The library signs none any more: RFC 6194's is taken from one of 2010 by its algorithm identifier."""
    sha256 = bytes.fromhex("06092a864886f70d01010b")  # sha256WithRSAEncryption
    sha1 = bytes.fromhex("06092a864886f70d010105")
    der = base64.b64decode(PROVIDER.der).replace(sha256, sha1)
    assert "less than SHA-256" in (certificate_fault(base64.b64encode(der).decode()) or "")


def test_what_is_no_certificate() -> None:
    key = PROVIDER.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    for text in (key, "", "not base64!", "-----BEGIN CERTIFICATE-----"):
        with pytest.raises(ValidationError) as no:
            fact(saml_certificates=[text])
        assert key[40:80] not in str(no.value)
    bare = "".join(key.splitlines()[1:-1])
    assert "is not a certificate" in problems([], [put(fact(saml_certificates=[bare, base64.b64encode(b"x").decode()]))])

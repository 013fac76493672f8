"""Clients that hold a certificate of their own: what the registry takes, and what it must not."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from jwt.algorithms import ECAlgorithm
from pydantic import ValidationError

from schemas.clients import TOKEN_EXCHANGE
from schemas.commands import Change
from schemas.facts import Kind
from streams.facts_keys import key_of
from tests.support.facts import body, table_of
from workers.registry.prospect import Prospect
from workers.registry.rules import Fabric
from workers.registry.validate import validate

FABRIC = Fabric("88mph.com", frozenset(), "development")
KEY, OTHER = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())


def certificate(*, ca: bool | None) -> str:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "client")])
    start = datetime(2026, 1, 1, tzinfo=UTC)
    made = x509.CertificateBuilder(name, name, KEY.public_key(), x509.random_serial_number(), start, start + timedelta(days=3650))
    if ca is not None:
        made = made.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    return base64.b64encode(made.sign(KEY, hashes.SHA256()).public_bytes(serialization.Encoding.DER)).decode()


def jwk(private: Any = KEY, **more: Any) -> dict[str, Any]:
    return {**json.loads(ECAlgorithm.to_jwk(private.public_key())), "kid": "one", **more}


def problems(key: dict[str, Any]) -> str:
    made = body({
        "kind": "client", "client_id": "gate", "owner": "o", "auth_method": "self_signed_tls_client_auth", "jwks": {"keys": [key]},
        "grant_types": ["client_credentials"], "scopes": ["read"],
    })  # fmt: skip
    change = Change(kind=Kind.CLIENT, key=key_of(made), body=made)
    return "; ".join(problem.text for problem in validate(Prospect(table_of([]), [change]), [change], FABRIC))


@pytest.mark.parametrize(
    ("actors", "grants", "words"),
    [
        (["spiffe://88mph.com/agents/a"], True, ""),
        (["spiffe://88mph.com/agents/*"], True, ""),
        (["spiffe://88mph.com/*"], True, "every workload there is"),
        (["spiffe://88mph.com"], True, "every workload there is"),
        (["spiffe://other.org/agents/a"], True, "another trust domain"),
        (["spiffe://88mph.com/agents/a"], False, "belong together"),
    ],
)
def test_whose_actor_tokens_a_client_may_bring(actors: list[str], grants: bool, words: str) -> None:
    exchange = {"grant_types": [TOKEN_EXCHANGE], "ceilings": {"jwt": ["a"]}}
    own = exchange if grants else {"grant_types": ["client_credentials"], "scopes": ["a"]}
    good = {"kind": "client", "client_id": "gate", "owner": "o", "auth_method": "private_key_jwt", "jwks": {"keys": [jwk()]}}
    made = body({**good, "actors": actors, **own})
    change = Change(kind=Kind.CLIENT, key=key_of(made), body=made)
    text = "; ".join(problem.text for problem in validate(Prospect(table_of([]), [change]), [change], FABRIC))
    assert words in text if words else text == ""


@pytest.mark.parametrize(
    "actor", ["agents/a", "spiffe://88mph.com/agents/a*", "spiffe://88mph.com/agents/*/b", "*", "spiffe://88MPH.com/a", ""]
)
def test_an_actor_is_a_workload_or_whole_segments_of_its_path(actor: str) -> None:
    with pytest.raises(ValidationError):
        body({"kind": "client", "client_id": "gate", "owner": "o", "auth_method": "private_key_jwt", "actors": [actor]})


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (jwk(x5c=[certificate(ca=False)]), ""),
        (jwk(x5c=[certificate(ca=None)]), ""),
        (jwk(OTHER, x5c=[certificate(ca=False)]), "not the key of its certificate"),
        (jwk(x5c=["AAAA"]), "no certificate"),
        (jwk(x5c=[]), "no certificate"),
        (jwk(x5c="AAAA"), "no certificate"),
    ],
)
def test_rfc8705_2_2_the_certificate_stands_in_x5c(key: dict[str, Any], words: str) -> None:
    text = problems(key)
    assert words in text if words else text == ""


def test_a_clients_own_certificate_signs_for_nobody() -> None:
    """INVARIANT: no registered client certificate is an authority's.

    It becomes a trust anchor of the edge's TLS: an authority's would let its holder make certificates with anybody's SPIFFE ID.
    """
    assert "authority" in problems(jwk(x5c=[certificate(ca=True)]))

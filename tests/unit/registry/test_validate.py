"""The rules, as a table: tests/unit/registry/cases.yaml."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jwt
import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from weft.nkey import KeyPair

from schemas.commands import Change
from schemas.facts import FactBody, Grant, Key, Kind, Person, UserIssuer
from schemas.reasons import DenyReason
from streams.facts_keys import key_of
from tests.support.facts import body, table_of
from tests.support.world import merged
from workers.registry.prospect import Prospect
from workers.registry.rules import Fabric
from workers.registry.validate import validate

TABLE = yaml.safe_load(Path(__file__).with_name("cases.yaml").read_text())
FACTS = {**TABLE["base"], **TABLE["more"]}
FABRIC = Fabric(
    "88mph.com",
    frozenset({"environment", "region"}),
    "development",
    issuer="https://weft.88mph.com",
    egress_id="spiffe://88mph.com/weft/egress",
    egress_url="https://egress.88mph.com:8444",
)


def put(made: FactBody) -> Change:
    return Change(kind=made.kind, key=key_of(made), body=made)


def delete(made: FactBody) -> Change:
    return Change(kind=made.kind, key=key_of(made))


def problems(before: list[dict[str, Any]], changes: list[Change], fabric: Fabric = FABRIC) -> str:
    return "; ".join(problem.text for problem in validate(Prospect(table_of(before), changes), changes, fabric))


@pytest.mark.parametrize("case", TABLE["cases"], ids=lambda case: case["name"])
def test_rule(case: dict[str, Any]) -> None:
    before = [name for name in (*TABLE["base"], *case.get("before", ())) if name not in case.get("without", ())]
    held = [merged(FACTS[name], case.get("was", {}).get(name, {})) for name in before]
    changes = [put(body(merged(FACTS[name], case.get("change", {}).get(name, {})))) for name in case.get("put", ())]
    changes += [delete(body(FACTS[name])) for name in case.get("delete", ())]
    text = problems(held, changes)
    if "refused" not in case:
        assert text == ""
    for words in case.get("refused", ()):
        assert words in text


def test_a_suspension_is_never_stopped_by_bounds_that_were_narrowed_later() -> None:
    """Verifies that an agent whose unchanged charter lies outside newer bounds can still be suspended."""
    wide = merged(FACTS["a"], {"charter": {"tools": ["*"]}})
    suspended = body(merged(wide, {"state": "suspended"}))
    assert problems([FACTS["agents"], wide], [put(suspended)]) == ""


def test_postures_are_not_the_registrys() -> None:
    """INVARIANT: the registry writes no posture.

    A registrar who could would lift a quarantine, or quarantine others, without a signal and without the role revoker.
    """
    posture = body({"kind": "posture", "scope": "agent", "target": "A" * 22, "level": "normal", "causes": []})
    found = validate(Prospect(table_of([]), [put(posture)]), [put(posture)], FABRIC)
    assert [problem.reason for problem in found] == [DenyReason.NOT_AUTHORIZED]


def test_a_key_that_is_not_the_bodys() -> None:
    made = body(FACTS["pay"])
    assert "not those of its body" in problems([], [Change(kind=Kind.TOOL, key="other", body=made)])
    assert "not those of its body" in problems([], [Change(kind=Kind.AGENT, key=key_of(made), body=made)])
    assert "can hold" in problems([], [Change(kind=Kind.TOOL, key="a.>")])
    assert "twice" in problems([], [put(made), put(made)])


@pytest.mark.parametrize("spiffe_id", ["spiffe://88mph.com/agents/a/", "spiffe://88mph.com/" + "a" * 512])
def test_spiffe_ids_that_cannot_be_registered(spiffe_id: str) -> None:
    """Verifies that a trailing slash and more than 512 bytes are refused with that reason, by the contract itself."""
    with pytest.raises(ValueError, match=r"trailing '/'|longer than 512"):
        body({**FACTS["a"], "id": spiffe_id})


# --- keys -----------------------------------------------------------------------------------------------------------------------


def jwk(private: Any, *, public: bool = True) -> dict[str, Any]:
    algorithm = {
        ec.EllipticCurvePrivateKey: jwt.algorithms.ECAlgorithm,
        rsa.RSAPrivateKey: jwt.algorithms.RSAAlgorithm,
        ed25519.Ed25519PrivateKey: jwt.algorithms.OKPAlgorithm,
    }
    maker = next(made for kind, made in algorithm.items() if isinstance(private, kind))
    return json.loads(maker.to_jwk(private.public_key() if public else private))


P256, ED = ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()
KEYS = {
    "P-256": (jwk(P256), ""),
    "Ed25519": (jwk(ED), ""),
    "RSA": (jwk(rsa.generate_private_key(65537, 2048)), ""),
    "short RSA": (jwk(rsa.generate_private_key(65537, 1024)), "shorter than 2048"),
    "private EC": (jwk(P256, public=False), "private members"),
    "private OKP": (jwk(ED, public=False), "private members"),
    "secret": ({"kty": "oct", "k": "c2VjcmV0"}, "private members"),
    "no point of the curve": ({**jwk(P256), "y": "AAAA"}, "not a key of its kty"),
    "no kty": ({"crv": "P-256"}, "neither EC, OKP nor RSA"),
    "nothing": ({}, "neither EC, OKP nor RSA"),
}


def test_nobody_but_the_fabric_vouches_in_its_name() -> None:
    """INVARIANT: no provider of people has the fabric's own issuer identifier.

    A provider under it could make tokens that look like the fabric's to whoever reads `iss` alone.
    """
    body = UserIssuer(iss="https://weft.88mph.com", aud="a", jwks={"keys": [{**jwk(P256), "kid": "1"}]})
    assert "this fabric's own" in problems([], [put(body)])


@pytest.mark.parametrize("name", KEYS)
def test_keys_of_issuers(name: str) -> None:
    """INVARIANT: FACTS never takes a private key, whoever pastes it.

    FACTS is kept for ever and read by every worker: a rule that looked at `kty` alone would publish it.
    """
    key, fault = KEYS[name]
    text = problems([], [put(UserIssuer(iss="https://i", aud="a", jwks={"keys": [{**key, "kid": "1"}]}))])
    assert fault in text if fault else text == ""
    assert not any(isinstance(value, str) and len(value) > 8 and value in text for value in key.values())


@pytest.mark.parametrize(
    "jwks", [{}, {"keys": []}, {"keys": "x"}, {"keys": [1]}, {"keys": [jwk(P256)]}, {"keys": [{**jwk(P256), "kid": "1"}] * 2}]
)
def test_key_sets_that_are_none(jwks: dict[str, Any]) -> None:
    assert "jwks" in problems([], [put(UserIssuer(iss="https://i", aud="a", jwks=jwks))])


def test_a_key_counts_for_its_purpose() -> None:
    def fact(purpose: str, key: dict[str, Any], **more: Any) -> Change:
        return put(Key.model_validate({"purpose": purpose, "kid": "1", "jwk": key, "trust_domain": "88mph.com", **more}))

    assert problems([], [fact("tokens", jwk(P256))]) == ""
    assert problems([], [fact("revocation", jwk(ED))]) == ""
    assert "is EC P-256" in problems([], [fact("tokens", jwk(ED))])
    assert "is OKP Ed25519" in problems([], [fact("revocation", jwk(P256))])
    assert "kid is not" in problems([], [fact("tokens", {**jwk(P256), "kid": "2"})])
    production = Fabric("88mph.com", frozenset(), "production")
    assert "takes no key of assurance development" in problems([], [fact("svid", jwk(P256), assurance="development")], production)


# --- people ---------------------------------------------------------------------------------------------------------------------


def person(role: str = "registrar", state: str = "active", pair: KeyPair | None = None) -> Person:
    grants = (Grant.model_validate({"role": role, "namespace": "spiffe://88mph.com"}),)
    return Person.model_validate({"nkey": (pair or KeyPair("U")).public, "name": "n", "roles": grants, "state": state})


def test_nobody_locks_everybody_out() -> None:
    """Verifies that the last registrar of the trust domain can be neither deleted, nor suspended, nor stripped."""
    pair = KeyPair("U")
    held = [person(pair=pair).plain()]
    for change in (delete(person(pair=pair)), put(person(state="suspended", pair=pair)), put(person("auditor", pair=pair))):
        assert "no active registrar" in problems(held, [change])
        assert problems(held, [change, put(person())]) == ""


def test_an_nkey_with_a_wrong_checksum() -> None:
    nkey = KeyPair("U").public
    wrong = nkey[:-1] + ("A" if nkey[-1] != "A" else "B")
    assert "checksum" in problems([], [put(person().model_copy(update={"nkey": wrong})), put(person())])

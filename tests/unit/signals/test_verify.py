"""A SET's ten steps, each with what breaks it.  RFC 8417, SSF 1.0 section 4.1, error codes of RFC 8935 section 2.4."""

from __future__ import annotations

import json
from typing import Any

import pytest
from weft.digest import b64u

from schemas.facts import Transmitter, TransmitterCeiling
from schemas.signals import CAEP
from tests.support.identities import Signer
from workers.signals.verify import MAX_SET_BYTES, SETRefused, verify_set

NOW = 1_800_000_000
ISS, AUD = "https://risk.example", "https://fabric.example/ssf"
EC, RSA, STRANGER = Signer(kid="ec-1"), Signer("RS256", "rsa-1"), Signer(kid="ec-1")
CEILING = TransmitterCeiling(namespaces=("spiffe://88mph.com",), strongest="quarantine")


def transmitter(**changes: Any) -> Transmitter:
    values: dict[str, Any] = {
        "iss": ISS,
        "aud": AUD,
        "jwks": {"keys": [EC.jwk, RSA.jwk]},
        "trust": {"*": "high"},
        "ceiling": CEILING,
        **changes,
    }
    return Transmitter(**values)


def claims(**changes: Any) -> dict[str, Any]:
    good = {
        "iss": ISS,
        "aud": AUD,
        "iat": NOW,
        "jti": "set-1",
        "sub_id": {"format": "uri", "uri": "spiffe://88mph.com/agents/a"},
        "events": {f"{CAEP}session-revoked": {"event_timestamp": NOW}},
    }
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def signed(signer: Signer = EC, header: dict[str, Any] | None = None, **changes: Any) -> str:
    return signer.sign(claims(**changes), **{"typ": "secevent+jwt", **(header or {})})


def verify(unverified: str, held: Transmitter | None = None) -> Any:
    known = held or transmitter()
    return verify_set(unverified, lambda iss: known if iss == known.iss else None, now=NOW)


@pytest.mark.parametrize("signer", [EC, RSA], ids=["ES256", "RS256"])
def test_a_good_set_is_verified(signer: Signer) -> None:
    verified = verify(signed(signer))
    assert verified.event == f"{CAEP}session-revoked"
    assert verified.claims.jti == "set-1"


def test_members_we_do_not_know_are_ignored() -> None:
    assert verify(signed(unknown={"a": 1}, aud=["https://other", AUD])).claims.iss == ISS


def without_signature(alg: str) -> str:
    header = b64u(json.dumps({"alg": alg, "typ": "secevent+jwt", "kid": "ec-1"}).encode())
    return f"{header}.{b64u(json.dumps(claims()).encode())}."


def twice(name: str) -> str:
    body = json.dumps(claims())
    return EC.raw(
        json.dumps({"alg": "ES256", "typ": "secevent+jwt", "kid": "ec-1"}).encode(),
        f'{{"{name}":{json.dumps(claims()[name])},{body[1:]}'.encode(),
    )


def nested_twice() -> str:
    body = json.dumps(claims()).replace('"event_timestamp"', '"event_timestamp": 1, "event_timestamp"')
    return EC.raw(json.dumps({"alg": "ES256", "typ": "secevent+jwt", "kid": "ec-1"}).encode(), body.encode())


EVENT = {"event_timestamp": NOW}
REFUSED: dict[str, tuple[str, str]] = {
    "garbage": ("x", "invalid_request"),
    "empty": ("", "invalid_request"),
    "two parts": ("a.b", "invalid_request"),
    "truncated": (signed()[:-42], "invalid_key"),
    "an integer beyond 64 bits": (signed(events={f"{CAEP}session-revoked": {"event_timestamp": 10**30}}), "invalid_request"),
    "an integer beyond 64 bits that nobody reads": (signed(events={"https://other.example/event": {"x": 10**30}}), "invalid_request"),
    "an event type without end": (signed(events={f"https://other.example/{'e' * 512}": {}}), "invalid_request"),
    "oversized": (signed(unknown="x" * MAX_SET_BYTES), "invalid_request"),
    "not ASCII": ("é" + signed(), "invalid_request"),
    "typ JWT": (signed(header={"typ": "JWT"}), "invalid_request"),
    "no typ": (signed(header={"typ": None}), "invalid_request"),
    "critical": (signed(header={"crit": ["b64"]}), "invalid_request"),
    "alg none": (without_signature("none"), "invalid_key"),
    "alg None": (without_signature("None"), "invalid_key"),
    "alg HS256": (without_signature("HS256"), "invalid_key"),
    "alg ES384": (without_signature("ES384"), "invalid_key"),
    "no kid": (signed(header={"kid": None}), "invalid_key"),
    "unknown kid": (signed(header={"kid": "ec-2"}), "invalid_key"),
    "kid of the other type": (signed(header={"kid": "rsa-1"}), "invalid_key"),
    "another key": (signed(STRANGER), "invalid_key"),
    "another issuer": (signed(iss="https://other.example"), "invalid_issuer"),
    "no issuer": (signed(iss=None), "invalid_issuer"),
    "issuer a list": (signed(iss=[ISS]), "invalid_issuer"),
    "another audience": (signed(aud="https://other"), "invalid_audience"),
    "no audience": (signed(aud=None), "invalid_audience"),
    "audience as prefix": (signed(aud=AUD + "/x"), "invalid_audience"),
    "from the future": (signed(iat=NOW + 120), "invalid_request"),
    "too old": (signed(iat=NOW - 7200), "invalid_request"),
    "no iat": (signed(iat=None), "invalid_request"),
    "iat as text": (signed(iat=str(NOW)), "invalid_request"),
    "no jti": (signed(jti=None), "invalid_request"),
    "empty jti": (signed(jti=""), "invalid_request"),
    "exp": (signed(exp=NOW + 60), "invalid_request"),
    "sub": (signed(sub="spiffe://88mph.com/agents/a"), "invalid_request"),
    "no events": (signed(events={}), "invalid_request"),
    "two events": (signed(events={"https://a": EVENT, "https://b": EVENT}), "invalid_request"),
    "events a list": (signed(events=["https://a"]), "invalid_request"),
    "no subject": (signed(sub_id=None), "invalid_request"),
    "a format we do not read": (signed(sub_id={"format": "passport", "number": "1"}), "invalid_request"),
    "an event without the members of its type": (signed(events={f"{CAEP}risk-level-change": EVENT}), "invalid_request"),
    "a level nobody defined": (
        signed(events={f"{CAEP}risk-level-change": {"principal": "USER", "current_level": "EXTREME"}}),
        "invalid_request",
    ),
    "a time that is text": (signed(events={f"{CAEP}session-revoked": {"event_timestamp": str(NOW)}}), "invalid_request"),
    "a time that is a boolean": (signed(events={f"{CAEP}session-revoked": {"event_timestamp": True}}), "invalid_request"),
    "a reason that is empty": (signed(events={f"{CAEP}session-revoked": {"reason_admin": {"en": ""}}}), "invalid_request"),
    "an initiator nobody defined": (signed(events={f"{CAEP}session-revoked": {"initiating_entity": "robot"}}), "invalid_request"),
    "a format without its member": (signed(sub_id={"format": "uri"}), "invalid_request"),
    "iss twice": (twice("iss"), "invalid_request"),
    "aud twice": (twice("aud"), "invalid_request"),
    "a member of the event twice": (nested_twice(), "invalid_request"),
}


@pytest.mark.parametrize(("unverified", "err"), REFUSED.values(), ids=REFUSED)
def test_a_bad_set_is_refused_with_its_code(unverified: str, err: str) -> None:
    """INVARIANT: nothing but a SET of an active transmitter, for this fabric, by that transmitter's key, counts.

    Broken by leaving out any one of the ten steps: each has a row here that only it refuses.
    """
    with pytest.raises(SETRefused) as refused:
        verify(unverified)
    assert refused.value.err == err
    assert "spiffe://" not in refused.value.detail


@pytest.mark.parametrize(
    ("held", "err"),
    [
        (transmitter(state="suspended"), "invalid_issuer"),
        (transmitter(jwks={"keys": [EC.jwk, EC.jwk]}), "invalid_key"),
        (transmitter(jwks={}), "invalid_key"),
        (transmitter(jwks={"keys": "none"}), "invalid_key"),
        (transmitter(jwks={"keys": [{"kid": "ec-1", "kty": "oct", "k": "AA"}]}), "invalid_key"),
    ],
    ids=["suspended", "one kid twice", "no keys", "keys are text", "a symmetric key"],
)
def test_a_transmitter_that_cannot_be_believed(held: Transmitter, err: str) -> None:
    with pytest.raises(SETRefused) as refused:
        verify(signed(), held)
    assert refused.value.err == err

"""JSON Web Token Best Current Practices (draft-ietf-oauth-rfc8725bis) wherever the OAuth face reads a token that another may have written.

One table of places, one of attacks: each place must refuse each attack, with what every reader refuses by.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from weft.digest import b64u, unb64u

from streams.keys import thumbprint
from tests.support.identities import Signer
from tests.support.oauth import BEARER, FRONT, ISSUER, RESEARCHER, SPIFFE, TYPE, OAuthWorld, client, header, payload

CC = {"grant_type": "client_credentials"}
TYPS = {  # our sheet, section 9.1
    "a Transaction Token": "txntoken+jwt",
    "an access token": "at+jwt",
    "a DPoP proof": "dpop+jwt",
    "a client assertion": "client-authentication+jwt",
    "a security event": "secevent+jwt",
    "a status list": "statuslist+jwt",
    "a workload token": "wit+jwt",
    "a grant of another domain": "txn-chain+jwt",
    "an identity assertion": "oauth-id-jag+jwt",
    "an introspection answer": "token-introspection+jwt",
}


class Place:
    """Where a token comes in: who signs a good one, and what is sent with it."""

    def __init__(
        self, signer: str, make: Callable[[OAuthWorld], str], form: Callable[[OAuthWorld, str], dict[str, Any]], takes: str
    ) -> None:
        self.signer, self.make, self.form, self.takes = signer, make, form, takes

    async def accepts(self, world: OAuthWorld, token: str) -> bool:
        """Whether the endpoint takes it.  A refusal is one of the standards' own and holds no part of the token."""
        answer = await world.post("/oauth/token", self.form(world, token))
        if answer.status_code == 200:
            return True
        assert answer.status_code in (400, 401), answer.text
        assert answer.json()["error"] in {"invalid_client", "invalid_request"}
        parts = [part for part in token.split(".") if len(part) > 16]
        assert not any(part in answer.text for part in parts), "a refusal repeats nothing"
        return False


def _claims(world: OAuthWorld, **more: Any) -> dict[str, Any]:
    now = int(world.clock.now())
    return {"iat": now, "exp": now + 60, **more}


def _subject(kind: str) -> Callable[[OAuthWorld, str], dict[str, Any]]:
    return lambda world, token: world.exchange("front", subject_token=token, subject_token_type=TYPE + kind)


def _actor(kind: str) -> Callable[[OAuthWorld, str], dict[str, Any]]:
    """Beside a subject that the client is itself."""
    own = {"subject_token": json.dumps({"sub": RESEARCHER}), "actor_token_type": TYPE + kind}
    return lambda world, token: world.exchange("researcher", actor_token=token, **own)


def _id_token(world: OAuthWorld) -> str:
    claims = _claims(world, iss="https://login.88mph.com", sub="marty", aud=FRONT)
    return world.keys["provider"].sign(claims)


def _own_word(world: OAuthWorld) -> str:
    return world.keys["front"].sign(_claims(world, iss="front", sub="marty", aud=ISSUER))


def _by_svid(world: OAuthWorld, token: str) -> dict[str, Any]:
    world.put(client("svid-researcher", auth_method="spiffe_jwt", spiffe_id=RESEARCHER, scopes=["web.search.execute"]))
    return {**CC, "client_assertion_type": SPIFFE, "client_assertion": token}


PLACES = {
    "a client assertion": Place(
        "console",
        lambda world: world.assertion(),
        lambda _, token: {**CC, "client_assertion_type": BEARER, "client_assertion": token},
        "client-authentication+jwt",
    ),
    "a JWT-SVID": Place(
        "svid",
        lambda world: world.svid()["client_assertion"],
        _by_svid,
        "",
    ),
    "an access token of a provider": Place("provider", lambda world: world.person(client_id=FRONT), _subject("access_token"), "at+jwt"),
    "an ID token": Place("provider", _id_token, _subject("id_token"), ""),
    "a JWT of a provider": Place(
        "provider",
        lambda world: world.keys["provider"].sign(
            _claims(world, iss="https://login.88mph.com", sub="marty", aud="https://fabric.88mph.com", scope="web.search.execute")
        ),
        _subject("jwt"),
        "",
    ),
    "a self-signed subject": Place("front", _own_word, _subject("self_signed"), ""),
    "an actor's JWT-SVID": Place("svid", lambda world: world.svid()["client_assertion"], _actor("jwt"), ""),
    "an actor's own word": Place(
        "researcher",
        lambda world: world.keys["researcher"].sign(_claims(world, iss="researcher", sub="researcher", aud=ISSUER, jti=uuid4().hex)),
        _actor("self_signed"),
        "",
    ),
}


def signed(world: OAuthWorld, place: Place, **head: Any) -> str:
    """The good token of a place, its header changed and signed again by whoever signs there."""
    good = place.make(world)
    return world.keys[place.signer].sign(payload(good), **{"typ": header(good).get("typ"), **head})


def _none(_: OAuthWorld, place: Place, good: str) -> str:
    head = {**header(good), "alg": "none"}
    return f"{b64u(json.dumps(head).encode())}.{good.split('.')[1]}."


def _mac_with_the_public_key(world: OAuthWorld, place: Place, good: str) -> str:
    import hashlib
    import hmac

    pem = world.keys[place.signer].public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    text = f"{b64u(json.dumps({**header(good), 'alg': 'HS256'}).encode())}.{good.split('.')[1]}"
    return f"{text}.{b64u(hmac.new(pem, text.encode(), hashlib.sha256).digest())}"


def _another_key(world: OAuthWorld, place: Place, good: str) -> str:
    return Signer(kid=world.keys[place.signer].kid).sign(payload(good), typ=header(good).get("typ"))


def _with_its_own_key(world: OAuthWorld, place: Place, good: str) -> str:
    forger = Signer(kid=world.keys[place.signer].kid)
    return forger.sign(payload(good), typ=header(good).get("typ"), jwk=forger.jwk, jku="https://127.0.0.1/keys", x5u="https://127.0.0.1/c")


def _twice(world: OAuthWorld, place: Place, good: str) -> str:
    body = json.dumps(payload(good)).rstrip("}") + ', "sub": "doc"}'
    return world.keys[place.signer].raw(json.dumps(header(good)).encode(), body.encode())


def _wrong_kid(world: OAuthWorld, place: Place, good: str) -> str:
    return signed(world, place, kid="../../etc/passwd' OR 1=1 --")


ATTACKS: dict[str, Callable[[OAuthWorld, Place, str], str]] = {
    "3.1 alg none": _none,
    "3.1 alg in another case": lambda world, place, _: _recased(world, place),
    "3.1 a MAC with the public key as its secret": _mac_with_the_public_key,
    "an extension that is critical (RFC 7515 section 4.1.11)": lambda world, place, _: signed(world, place, crit=["b64"], b64=False),
    "3.3 signed by another key of the same kid": _another_key,
    "3.3 one character of the signature": lambda _, __, good: good[:-6] + ("A" if good[-6] != "A" else "B") + good[-5:],
    "3.10 a kid that means something elsewhere": _wrong_kid,
    "3.10 a key of its own in the header": _with_its_own_key,
    "a member twice (RFC 7515 section 4)": _twice,
    "bis: JSON serialisation": lambda _, __, good: json.dumps(
        {"payload": good.split(".")[1], "protected": good.split(".")[0], "signature": good.split(".")[2]}
    ),
    "bis: a space": lambda _, __, good: f"{good} ",
    "bis: padded base64url": lambda _, __, good: good + "==",
    "bis: five parts, as an encrypted token has": lambda _, __, good: f"{good}.AAAA.AAAA",
    "3.1 no kid": lambda world, place, _: signed(world, place, kid=None),
    "expired": lambda world, place, good: world.keys[place.signer].sign({**payload(good), "iat": 1, "exp": 2}, typ=header(good).get("typ")),
    "3.8 no issuer or subject": lambda world, place, good: world.keys[place.signer].sign(
        {name: value for name, value in payload(good).items() if name not in ("iss", "sub")}, typ=header(good).get("typ")
    ),
    "3.9 no audience": lambda world, place, good: world.keys[place.signer].sign(
        {name: value for name, value in payload(good).items() if name != "aud"}, typ=header(good).get("typ")
    ),
    "3.9 the audience of somebody else": lambda world, place, good: world.keys[place.signer].sign(
        {**payload(good), "aud": "https://elsewhere.example"}, typ=header(good).get("typ")
    ),
}


def _recased(world: OAuthWorld, place: Place) -> str:
    good = place.make(world)
    return world.keys[place.signer].raw(json.dumps({**header(good), "alg": "es256"}).encode(), unb64u(good.split(".")[1]))


@pytest.mark.parametrize("where", PLACES)
async def test_the_good_one_is_taken_everywhere(world: OAuthWorld, where: str) -> None:
    """Else the refusals below would say nothing."""
    place = PLACES[where]
    assert await place.accepts(world, place.make(world))


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("where", PLACES)
async def test_3_refused_everywhere(world: OAuthWorld, where: str, attack: str) -> None:
    """INVARIANT: no reader of the OAuth face is laxer than the others.

    A reader that takes what the table's attack makes would break it.
    """
    place = PLACES[where]
    assert not await place.accepts(world, ATTACKS[attack](world, place, place.make(world)))


@pytest.mark.parametrize("typ", TYPS)
@pytest.mark.parametrize("where", PLACES)
async def test_3_11_explicit_typing(world: OAuthWorld, where: str, typ: str) -> None:
    """INVARIANT: a token of one kind is never taken for one of another, even signed by the right key.

    Reading `typ` as a hint would break it.
    """
    place = PLACES[where]
    for text in (TYPS[typ], f"application/{TYPS[typ]}"):
        assert await place.accepts(world, signed(world, place, typ=text)) is (TYPS[typ] == place.takes)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_any_flipped_character_is_refused(data: st.DataObject) -> None:
    world = OAuthWorld()
    place = PLACES[data.draw(st.sampled_from(sorted(PLACES)))]
    good = place.make(world)
    at = data.draw(st.integers(0, len(good) - 1))
    other = data.draw(st.sampled_from("ABCDwxyz0189-_.").filter(lambda c: c != good[at]))
    assert not await place.accepts(world, good[:at] + other + good[at + 1 :])
    await world.recorder.close()


def test_rfc7638_3_1_thumbprint_of_the_rsa_key() -> None:
    n = (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMs"
        "tn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn"
        "1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
    )
    jwk = {"kty": "RSA", "n": n, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29"}
    assert thumbprint(jwk) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"

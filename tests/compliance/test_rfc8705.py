"""RFC 8705: mutual TLS, and the X.509 half of draft-ietf-oauth-spiffe-client-auth-02.  The handshake: tests/integration/test_oauth.py."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.certificates import Leaf
from tests.support.identities import NOW
from tests.support.oauth import FRONT, OAuthWorld, client, payload
from workers.broker.oauth.certificates import x5t_of

CC = {"grant_type": "client_credentials", "scope": "ssf.read"}
CA = Leaf(subject="CN=ca", ca=True)


async def status(world: OAuthWorld, leaf: Leaf, anchor: str, client_id: str | None = "tls") -> tuple[int, str | None]:
    world.certificate = leaf.presented(anchor)
    answer = await world.post("/oauth/token", {**CC, **({} if client_id is None else {"client_id": client_id})})
    return answer.status_code, answer.json().get("error")


def tls(**certificate: str) -> dict[str, Any]:
    return client("tls", auth_method="tls_client_auth", certificate=certificate)


SUBJECTS: dict[str, tuple[dict[str, str], tuple[tuple[str, str], ...], str]] = {
    "subject_dn": ({"subject_dn": "CN=client,O=88mph"}, (), "CN=client,O=88mph"),
    "san_dns": ({"san_dns": "client.88mph.com"}, (("dns", "client.88mph.com"), ("dns", "other")), "CN=client"),
    "san_uri": ({"san_uri": "https://client.88mph.com"}, (("uri", "https://client.88mph.com"),), "CN=client"),
    "san_ip": ({"san_ip": "192.0.2.7"}, (("ip", "192.0.2.7"),), "CN=client"),
    "san_email": ({"san_email": "c@88mph.com"}, (("email", "c@88mph.com"),), "CN=client"),
}


@pytest.mark.parametrize("what", SUBJECTS)
async def test_2_1_2_the_subject_is_the_registered_one(world: OAuthWorld, what: str) -> None:
    registered, names, subject = SUBJECTS[what]
    world.put(tls(**registered))
    assert await status(world, Leaf(*names, by=CA, subject=subject), "ca") == (200, None)
    assert await status(world, Leaf(("dns", "else.88mph.com"), by=CA, subject="CN=else"), "ca") == (401, "invalid_client")
    assert await status(world, Leaf(by=CA, subject="CN=else"), "ca") == (401, "invalid_client")


async def test_2_client_id_is_needed(world: OAuthWorld) -> None:
    world.put(tls(san_dns="a"))
    assert await status(world, Leaf(("dns", "a"), by=CA), "ca", None) == (400, "invalid_request")
    assert await status(world, Leaf(("dns", "a"), by=CA), "ca", "nobody") == (401, "invalid_client")


async def test_2_1_a_chain_to_the_spiffe_bundle_or_to_itself_is_no_pki_chain(world: OAuthWorld) -> None:
    """INVARIANT: each method believes the anchors of its own kind alone.

    A certificate that the trust domain's authority made, or the client itself, may say any DNS name.
    """
    world.put(tls(san_dns="a"))
    for anchor in ("spiffe", "self_signed"):
        assert await status(world, Leaf(("dns", "a"), by=CA), anchor) == (401, "invalid_client")


async def test_2_an_expired_certificate_is_none(world: OAuthWorld) -> None:
    world.put(tls(san_dns="a"))
    assert await status(world, Leaf(("dns", "a"), by=CA, until=NOW), "ca") == (401, "invalid_client")


async def test_2_2_a_self_signed_certificate_is_one_of_the_registered(world: OAuthWorld) -> None:
    own, other = Leaf(), Leaf()
    world.put(client("tls", auth_method="self_signed_tls_client_auth", jwks={"keys": [own.jwk]}))
    assert await status(world, own, "self_signed") == (200, None)
    assert await status(world, other, "self_signed") == (401, "invalid_client")
    assert await status(world, own, "ca") == (401, "invalid_client")


async def test_3_tokens_bound_to_the_certificate(world: OAuthWorld) -> None:
    own = Leaf(until=NOW + 100)
    fact = client("tls", auth_method="self_signed_tls_client_auth", jwks={"keys": [own.jwk]}, certificate_bound=True)
    world.put(fact)
    world.certificate = own.presented("self_signed")
    made = (await world.post("/oauth/token", {**CC, "client_id": "tls"})).json()["access_token"]
    assert payload(made)["cnf"] == {"x5t#S256": x5t_of(own.der)}
    assert payload(made)["exp"] == NOW + 100, "it outlives no certificate"
    found = (await world.post("/oauth/introspect", {"client_id": "tls", "token": made})).json()
    assert found["cnf"] == {"x5t#S256": x5t_of(own.der)}


async def test_3_a_client_that_signs_may_bind_its_tokens_too(world: OAuthWorld) -> None:
    world.put(client("console", world.keys["console"], certificate_bound=True))
    assert (await world.post("/oauth/token", {**CC, **world.proven()})).json()["error"] == "invalid_request"
    shown = Leaf(by=CA)
    world.certificate = shown.presented("ca")
    made = (await world.post("/oauth/token", {**CC, **world.proven()})).json()["access_token"]
    assert payload(made)["cnf"] == {"x5t#S256": x5t_of(shown.der)}


# --- spiffe_x509 ------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def spiffe(world: OAuthWorld) -> OAuthWorld:
    world.put(client(FRONT, auth_method="spiffe_x509", spiffe_id=FRONT))
    return world


async def test_spiffe_x509(spiffe: OAuthWorld) -> None:
    assert await status(spiffe, Leaf(("uri", FRONT), by=CA), "spiffe", FRONT) == (200, None)
    assert await status(spiffe, Leaf(("uri", FRONT), ("dns", "a"), by=CA), "spiffe", FRONT) == (200, None)


@pytest.mark.parametrize(
    ("leaf", "anchor"),
    [
        (Leaf(("uri", FRONT), ("uri", "https://other"), by=CA), "spiffe"),
        (Leaf(("uri", FRONT + "x"), by=CA), "spiffe"),
        (Leaf(("uri", FRONT), by=CA, ca=True), "spiffe"),
        (Leaf(("uri", FRONT), by=CA, usage=False), "spiffe"),
        (Leaf(("dns", "a"), by=CA), "spiffe"),
        (Leaf(by=CA), "spiffe"),
        (Leaf(("uri", FRONT), by=CA), "ca"),
        (Leaf(("uri", FRONT)), "self_signed"),
    ],
)
async def test_spiffe_x509_refuses(spiffe: OAuthWorld, leaf: Leaf, anchor: str) -> None:
    assert await status(spiffe, leaf, anchor, FRONT) == (401, "invalid_client")


async def test_spiffe_x509_of_another_trust_domain(spiffe: OAuthWorld) -> None:
    """INVARIANT: a bundle vouches for its own trust domain alone (X509-SVID section 5, SPIFFE Trust Domain and Bundle section 5).

    Broken by believing whatever SPIFFE ID stands in a certificate of ours: our authority would speak for a partner's workloads.
    """
    foreign = "spiffe://partner.example/services/front"
    spiffe.put(client(foreign, auth_method="spiffe_x509", spiffe_id=foreign))
    assert await status(spiffe, Leaf(("uri", foreign), by=CA), "spiffe", foreign) == (401, "invalid_client")


async def test_spiffe_x509_client_id_is_the_spiffe_id(spiffe: OAuthWorld) -> None:
    assert (await status(spiffe, Leaf(("uri", FRONT), by=CA), "spiffe", "console"))[0] == 401


async def test_9_5_the_vector_of_appendix_a() -> None:
    """x5t#S256 of RFC 8705 appendix A, from the certificate printed there."""
    import base64

    text = (
        "MIIBBjCBrAIBAjAKBggqhkjOPQQDAjAPMQ0wCwYDVQQDDARtdGxzMB4XDTE4MTAxODEyMzcwOVoXDTIyMDUwMjEyMzcwOVowDzENMAsGA1UEAwwEbXRsczBZMBMGByqGSM49AgEG"
        "CCqGSM49AwEHA0IABNcnyxwqV6hY8QnhxxzFQ03C7HKW9OylMbnQZjjJ/Au08/coZwxS7LfA4vOLS9WuneIXhbGGWvsDSb0tH6IxLm8wCgYIKoZIzj0EAwIDSQAwRgIhAP0RC1E+vwJD"
        "/D1AGHGzuri+hlV/PpQEKTWUVeORWz83AiEA5x2eXZOVbUlJSGQgjwD5vaUaKlLR50Q2DmFfQj1L+SY="
    )
    assert x5t_of(base64.b64decode(text)) == "A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0"

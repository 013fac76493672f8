"""draft-ietf-oauth-client-id-metadata-document-02: resolving clients' documents.  SSRF itself is tests/integration/test_outbound.py."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import pytest

from schemas.cimd import MAX_DOCUMENT_BYTES, Resolved
from schemas.facts import Client
from schemas.fetching import Fetched
from tests.support.facts import body as fact_body
from tests.support.hotpath import FixedClock
from tests.support.identities import Signer
from tests.support.oauth import EXCHANGE, ISSUER, client
from tests.support.web import Web
from workers.cli.cimd import accepted_body
from workers.registry.cimd.document import DocumentRefused
from workers.registry.cimd.resolver import MAX_FRESH_S, MIN_FRESH_S, Resolver, Watcher, fresh_s, watched

URL = "https://agents.example/c/triage.json"
KEYS = "https://agents.example/c/triage.jwks"
JWK = Signer().jwk


def document(**changes: Any) -> dict[str, Any]:
    good: dict[str, Any] = {
        "client_id": URL,
        "client_name": "Triage agent",
        "grant_types": ["client_credentials", "authorization_code"],
        "token_endpoint_auth_method": "private_key_jwt",
        "jwks": {"keys": [JWK]},
        "scope": "ticket.read",
    }
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


async def resolve(web: Web, url: str = URL, held: Client | None = None) -> Resolved:
    return await Resolver(web, lambda _: held, ISSUER).resolve(url)


async def test_4_what_the_document_says(web: Web) -> None:
    web.put(URL, document(), cache="max-age=3600")
    found = await resolve(web)
    assert (found.client_id, found.name, found.auth_method, found.scope) == (URL, "Triage agent", "private_key_jwt", "ticket.read")
    assert found.grant_types == ("client_credentials",)
    assert found.jwks == {"keys": [JWK]}
    assert (found.fresh_s, found.accepted) == (3600, None)


async def test_4_keys_from_jwks_uri_are_part_of_what_is_accepted(web: Web) -> None:
    web.put(URL, document(jwks=None, jwks_uri=KEYS))
    web.put(KEYS, {"keys": [JWK]})
    first = await resolve(web)
    assert first.jwks == {"keys": [JWK]}
    web.put(KEYS, {"keys": [Signer(kid="k2").jwk]})
    assert (await resolve(web)).document != first.document, "other keys are another document"
    assert [asked.url for asked in web.asked[:2]] == [URL, KEYS]


@pytest.mark.parametrize(
    "url",
    [
        "http://agents.example/c",
        "https://agents.example",
        "https://agents.example/",
        "https://agents.example/a/../b",
        "https://agents.example/./b",
        "https://agents.example/c#f",
        "https://agents.example/c?q",
        "https://user@agents.example/c",
        "https:///c",
        "spiffe://agents.example/c",
    ],
)
async def test_3_what_is_no_client_identifier_url(web: Web, url: str) -> None:
    with pytest.raises(DocumentRefused, match="no client identifier URL"):
        await resolve(web, url)
    assert web.asked == []


@pytest.mark.parametrize(
    "client_id", [URL + "/", URL.upper(), URL.replace("https://", "https://:443@"), "https://agents.example:443/c/triage.json", None, 1]
)
async def test_4_1_client_id_is_compared_character_by_character(web: Web, client_id: Any) -> None:
    """INVARIANT: a document speaks for the URL that it was fetched from, by simple string comparison.

    Any normalisation would let one host's document name another's client.
    """
    web.put(URL, document(client_id=client_id))
    with pytest.raises(DocumentRefused, match="not the URL"):
        await resolve(web)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"client_secret": "hunter2"}, "client secret"),
        ({"client_secret_expires_at": 0}, "client secret"),
        ({"token_endpoint_auth_method": "client_secret_basic"}, "none of those"),
        ({"token_endpoint_auth_method": "client_secret_jwt"}, "none of those"),
        ({"token_endpoint_auth_method": "none"}, "none of those"),
        ({"token_endpoint_auth_method": None}, "none of those"),
        ({"jwks": {"keys": [{**JWK, "d": "AA"}]}}, "private key"),
        ({"jwks": {"keys": [{"kty": "oct", "k": "AA"}]}}, "private key"),
        ({"jwks": []}, "not a key set"),
        ({"jwks_uri": KEYS}, "does not stand beside"),
        ({"jwks": None, "jwks_uri": "http://agents.example/keys"}, "https URL"),
        ({"jwks": None, "jwks_uri": 1}, "https URL"),
        ({"grant_types": "client_credentials"}, "not a list"),
        ({"client_name": 1}, "not text"),
        ({"spiffe_id": "not-one"}, "spiffe_id"),
        ({"dpop_bound_access_tokens": "yes"}, "dpop_required"),
    ],
)
async def test_4_1_what_no_document_may_hold(web: Web, changes: dict[str, Any], words: str) -> None:
    web.put(URL, document(**changes))
    with pytest.raises(DocumentRefused, match=words) as refused:
        await resolve(web)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("media", ["text/html", "application/jwt", "", "text/json"])
async def test_4_other_media_types_are_refused(web: Web, media: str) -> None:
    web.put(URL, document(), media=media)
    with pytest.raises(DocumentRefused, match="application/json"):
        await resolve(web)


@pytest.mark.parametrize("media", ["application/json; charset=utf-8", "application/client+json", "Application/JSON"])
async def test_4_json_by_any_of_its_names(web: Web, media: str) -> None:
    web.put(URL, document(), media=media)
    assert (await resolve(web)).client_id == URL


@pytest.mark.parametrize("status", [201, 204, 301, 302, 307, 308, 400, 404, 500])
async def test_5_only_200_counts_and_redirects_are_not_followed(web: Web, status: int) -> None:
    web.put(URL, document(), status=status)
    with pytest.raises(DocumentRefused, match="not 200"):
        await resolve(web)
    assert len(web.asked) == 1


async def test_5_the_size_is_bounded_in_bytes_read(web: Web) -> None:
    """The edge stops reading there (`max_bytes`), whatever length was declared."""
    web.put(URL, document())
    await resolve(web)
    assert web.asked[0].max_bytes == MAX_DOCUMENT_BYTES == 5120
    web.put(URL, document(client_name="é" * 2600))
    with pytest.raises(DocumentRefused, match="longer"):
        await resolve(web)


async def test_6_5_an_address_that_may_not_be_called(web: Web) -> None:
    web.at[URL] = Fetched(refused="the address is not a global one")
    with pytest.raises(DocumentRefused, match="may not be called"):
        await resolve(web)
    web.put(URL, document(jwks=None, jwks_uri="https://10.0.0.1/keys"))
    web.at["https://10.0.0.1/keys"] = Fetched(refused="the address is not a global one")
    with pytest.raises(DocumentRefused, match="may not be called"):
        await resolve(web)


@pytest.mark.parametrize("text", ["", "[]", "null", '{"client_id":"a","client_id":"b"}', "{", "\x00"])
async def test_4_what_is_no_json_object(web: Web, text: str) -> None:
    web.put(URL, text)
    with pytest.raises(DocumentRefused):
        await resolve(web)


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("", MIN_FRESH_S),
        ("max-age=60", MIN_FRESH_S),
        ("public, max-age=3600", 3600),
        ("max-age=999999999", MAX_FRESH_S),
        ("no-store, max-age=3600", MIN_FRESH_S),
        ("no-cache", MIN_FRESH_S),
        ("s-maxage=3600", MIN_FRESH_S),
        ("nonsense", MIN_FRESH_S),
    ],
)
def test_5_freshness_within_our_bounds(said: str, kept: int) -> None:
    assert fresh_s(said) == kept


async def test_5_a_changed_document_is_told_once_and_changes_nothing(web: Web) -> None:
    """INVARIANT: what a document says becomes true by a registrar's hand alone.

    Taking over new keys at a re-fetch would make whoever holds the host the client.
    """
    web.put(URL, document())
    accepted = (await resolve(web)).document
    held = fact_body(client(URL, Signer(), document=accepted))
    assert isinstance(held, Client)
    told: list[Resolved] = []

    async def changed(about: str, found: Any) -> None:
        assert about == URL
        told.append(found)

    clock = FixedClock()
    resolver = Resolver(web, lambda _: held, ISSUER)
    watcher = Watcher(lambda: watched(resolver, [held], []), changed, clock)
    await watcher.look()
    assert told == []
    web.put(URL, document(jwks={"keys": [Signer(kid="thief").jwk]}))
    await watcher.look()
    assert told == [], "not due yet"
    clock.at += MIN_FRESH_S
    await watcher.look()
    clock.at += MIN_FRESH_S
    await watcher.look()
    assert [found.accepted for found in told] == [accepted]
    asked = len(web.asked)
    web.put(URL, "gone", status=500)
    clock.at += MIN_FRESH_S
    await watcher.look()
    await watcher.look()
    assert len(web.asked) == asked + 1, "an error is asked again later, and not at once"


async def test_accepting_takes_the_proof_from_the_document_and_the_rights_from_the_registrar(web: Web) -> None:
    """INVARIANT: no right of a client comes from its document.

    A document that asks for `ssf.manage` and every grant gets what the registrar says, and a new document keeps the old rights.
    """
    web.put(URL, document(scope="ssf.manage", grant_types=["client_credentials", EXCHANGE]))
    found = (await resolve(web)).plain()
    asked = {"owner": "ops", "scopes": ["ticket.read"], "ceilings": None, "resources": None, "actors": None}
    new = accepted_body(Namespace(**asked), found, None)
    assert (new.scopes, new.grant_types, new.ceilings, new.document) == (("ticket.read",), ("client_credentials",), {}, found["document"])
    nothing = dict.fromkeys(asked)
    other = Signer(kid="next").jwk
    web.put(URL, document(jwks={"keys": [other]}, scope="ssf.manage"))
    again = accepted_body(Namespace(**nothing), (await resolve(web)).plain(), new.plain())
    assert (again.scopes, again.owner, again.jwks) == (("ticket.read",), "ops", {"keys": [other]})
    wider = accepted_body(Namespace(**nothing | {"ceilings": ["access_token=a,b"]}), found, new.plain())
    assert wider.ceilings == {"access_token": ("a", "b")}
    assert len(wider.grant_types) == 2

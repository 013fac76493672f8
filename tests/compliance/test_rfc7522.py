"""RFC 7522 section 3, for SAML assertions as subject tokens (RFC 8693 section 3): the processing rules, in SAML 2.0 and in SAML 1.1."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support import saml
from tests.support.certificates import Leaf
from tests.support.oauth import ADVISOR, FRONT, ISSUER, NOW, RESEARCHER, TOKEN_URL, TYPE, OAuthWorld, client, payload
from tests.support.saml import FABRIC, IDP, MAKERS, PROVIDER, Provider, at, bearer1, bearer2, key_info, saml1, saml2, signed, subject1
from workers.broker.oauth.clients import Once
from workers.broker.oauth.saml.assertion import MAX_AGE_S
from workers.broker.oauth.saml.signed import MAX_ASSERTION_CHARS

API = "https://api.88mph.com"  # a resource that the client serves
PERSISTENT = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"


@pytest.fixture
def there(world: OAuthWorld) -> OAuthWorld:
    world.put(PROVIDER.fact())
    return world


async def ask(world: OAuthWorld, type_: str, xml: str, name: str = "front", **changes: Any) -> tuple[int, dict[str, Any]]:
    form = world.exchange(name, subject_token=saml.token(xml), subject_token_type=TYPE + type_, **changes)
    answer = await world.post("/oauth/token", form)
    return answer.status_code, answer.json()


async def claims(world: OAuthWorld, type_: str, xml: str, **changes: Any) -> dict[str, Any]:
    status, body = await ask(world, type_, xml, **changes)
    assert status == 200, body
    return payload(body["access_token"])


async def refusal(world: OAuthWorld, type_: str, xml: str, **changes: Any) -> str:
    """What the client hears, after `invalid_request` (RFC 8693 section 2.2.2)."""
    status, body = await ask(world, type_, xml, **changes)
    assert (status, body.get("error")) == (400, "invalid_request"), body
    return str(body.get("error_description"))


async def _released(world: OAuthWorld) -> list[dict[str, Any]]:
    return [event for event in await world.records() if event["type"] == "org.weft.record.exchanged.v1"]


# --- the good case ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("type_", MAKERS)
async def test_an_assertion_gives_a_transaction_token(there: OAuthWorld, type_: str) -> None:
    made = await claims(there, type_, signed(MAKERS[type_]()))
    assert (made["sub"], made["scope"], made["req_wl"], made["exp"]) == ("marty", "web.search.execute", FRONT, NOW + 60)
    (event,) = await there.records()
    subject = event["data"]["input"]["subject"]
    assert (subject["type"], subject["sub"], subject["iss"], subject["exp"]) == (type_, "marty", IDP, NOW + 120)
    assert "scope" not in subject, "an assertion says nothing of scope: the ceiling is its scope"


@pytest.mark.parametrize("type_", MAKERS)
async def test_for_a_tool_the_persons_rights_are_asked(there: OAuthWorld, type_: str) -> None:
    from weft.digest import sha256

    call = {"call": {"method": "GET", "path": sha256("/q"), "body": sha256(b"")}}
    tool = {"name": "researcher", "resource": "https://web-search.88mph.com", "request_details": json.dumps(call)}
    assert "not accepted" in await refusal(there, type_, signed(MAKERS[type_]()), **tool), "nobody lets it act"
    there.put({"kind": "relation", "subject": "user:marty", "relation": "delegates_to", "object": f"agent:{RESEARCHER}"})
    there.put({"kind": "relation", "subject": "user:marty", "relation": "operates", "object": "toolgroup:search"})
    assert (await claims(there, type_, signed(MAKERS[type_]()), **tool))["call"]["tool"] == "web-search"


@pytest.mark.parametrize("type_", MAKERS)
async def test_an_access_token_in_whose_name_somebody_acts(there: OAuthWorld, type_: str) -> None:
    """Verifies that what is asked of an assertion for a Transaction Token is asked of it for an access token: who acts, its end, once."""
    there.put({"kind": "relation", "subject": "user:marty", "relation": "delegates_to", "object": f"agent:{RESEARCHER}"})
    asked = {"name": "researcher", "requested_token_type": f"{TYPE}access_token", "audience": None, "resource": API}
    xml = signed(MAKERS[type_](ends=at(NOW + 20)))
    made = await claims(there, type_, xml, **asked)
    assert (made["sub"], made["act"]["sub"], made["aud"], made["exp"]) == ("marty", RESEARCHER, API, NOW + 20)
    assert "used before" in await refusal(there, type_, xml, **asked)
    assert "used before" in await refusal(there, type_, xml)


@pytest.mark.parametrize("type_", MAKERS)
async def test_scope_is_the_ceiling_of_its_type(there: OAuthWorld, type_: str) -> None:
    """INVARIANT: an assertion gives what the client's record says for its very type, and nothing where it says nothing.

    One ceiling for both, or that of `jwt`, would let the registrar's word about one kind of provider count for another.
    """
    other = {"saml1": "saml2", "saml2": "saml1"}[type_]
    there.put(client("front", there.keys["front"], spiffe_id=FRONT, ceilings={other: ["web.search.*"], "jwt": ["web.search.*"]}))
    status, body = await ask(there, type_, signed(MAKERS[type_]()))
    assert (status, body.get("error")) == (400, "unauthorized_client")
    there.put(client("front", there.keys["front"], spiffe_id=FRONT, ceilings={type_: ["web.search.*"]}))
    status, body = await ask(there, type_, signed(MAKERS[type_]()), scope="process.refund")
    assert (status, body.get("error")) == (400, "invalid_scope")
    assert await claims(there, type_, signed(MAKERS[type_]()))


@pytest.mark.parametrize("type_", MAKERS)
async def test_no_member_of_the_assertion_is_repeated(there: OAuthWorld, type_: str, caplog: pytest.LogCaptureFixture) -> None:
    """INVARIANT: an assertion is in no record, no answer and no log; its digest is.

    signxml writes what it canonicalizes to its debug log: whoever turned that on would log every person's attributes.
    """
    caplog.set_level(logging.DEBUG)
    good, bad = signed(MAKERS[type_](id="_planted")), signed(MAKERS[type_](id="_planted", name="planted me"))
    await claims(there, type_, good)
    status, body = await ask(there, type_, bad)
    assert status == 400
    written = json.dumps([body, await there.records()]) + caplog.text
    for secret in ("_planted", "planted me", "saml:Assertion", saml.token(good)[:40]):
        assert secret not in written


@pytest.mark.parametrize("type_", MAKERS)
async def test_a_name_is_its_providers_own(there: OAuthWorld, type_: str) -> None:
    """INVARIANT: marty of one provider is not marty of another, whichever protocol either speaks."""
    there.put(PROVIDER.fact(same_people_as=None, namespace="partner"))
    assert "not accepted" in await refusal(there, type_, signed(MAKERS[type_]())), "nobody knows partner::marty yet"
    there.put({"kind": "relation", "subject": "user:partner::marty", "relation": "member_of", "object": "team:office"})
    assert (await claims(there, type_, signed(MAKERS[type_]())))["sub"] == "partner::marty"


# --- items 1 and 9: the issuer, and its signature ---------------------------------------------------------------------------------


@pytest.mark.parametrize("type_", MAKERS)
async def test_issuer_is_one_of_the_facts_and_speaks_saml(there: OAuthWorld, type_: str) -> None:
    for issuer in ("https://other", "", IDP + "/", "https://login.88mph.com"):  # the last is known, for OpenID
        assert "no known issuer" in await refusal(
            there, type_, signed(MAKERS[type_](issuer=issuer)) if issuer else MAKERS[type_](issuer=" ")
        )


@pytest.mark.parametrize("type_", MAKERS)
async def test_signed_by_a_certificate_of_that_issuer(there: OAuthWorld, type_: str) -> None:
    """INVARIANT: the key is the fact's, whatever certificate the signature brings along.

    A verifier that took the one in KeyInfo would believe whoever can make a certificate.
    """
    xml, other = MAKERS[type_](), Provider()
    assert "not signed by a key" in await refusal(there, type_, signed(xml, other))
    assert "not signed, or" in await refusal(there, type_, xml)
    there.put(other.fact(iss="https://other"))
    assert "not signed by a key" in await refusal(there, type_, signed(xml, other))
    there.put(PROVIDER.fact(saml_certificates=[other.der, PROVIDER.der]))
    assert await claims(there, type_, signed(xml, PROVIDER)), "a provider that changes its key has two for a while"


@pytest.mark.parametrize("type_", MAKERS)
async def test_a_pinned_certificate_is_a_key_without_a_period(there: OAuthWorld, type_: str) -> None:
    expired = Provider(days=(-30, -1))
    there.put(expired.fact())
    assert await claims(there, type_, signed(MAKERS[type_](), expired))


@pytest.mark.parametrize("type_", MAKERS)
async def test_tampered(there: OAuthWorld, type_: str) -> None:
    xml = signed(MAKERS[type_](name="jennifer"))
    assert "not signed by a key" in await refusal(there, type_, xml.replace("jennifer", "marty"))
    assert "not signed by a key" in await refusal(there, type_, xml.replace(at(NOW + 120), at(NOW + 500)))


# --- item 2: audience -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("type_", MAKERS)
@pytest.mark.parametrize("audiences", [[[FABRIC]], [[ISSUER]], [[FRONT]], [[API]], [["https://other", FABRIC]], [[FABRIC], [FRONT, "x"]]])
async def test_audience_is_this_fabric_or_the_client(there: OAuthWorld, type_: str, audiences: list[list[str]]) -> None:
    assert await claims(there, type_, signed(MAKERS[type_](audiences=audiences)))


@pytest.mark.parametrize("type_", MAKERS)
@pytest.mark.parametrize(
    "audiences", [[], [[]], [["https://other"]], [["front"]], [[FABRIC + "/"]], [[FABRIC], ["https://other"]], [[RESEARCHER]]]
)
async def test_other_audiences_are_refused(there: OAuthWorld, type_: str, audiences: list[list[str]]) -> None:
    """Verifies that each restriction is asked, not one of them; and that an opaque client_id names nobody at a provider."""
    assert "neither for this fabric" in await refusal(there, type_, signed(MAKERS[type_](audiences=audiences)))


@pytest.mark.parametrize(
    ("type_", "condition", "known"),
    [
        ("saml2", "<saml:OneTimeUse/>", True),
        ("saml1", "<saml:DoNotCacheCondition/>", True),
        ("saml2", '<saml:ProxyRestriction Count="0"/>', False),
        ("saml2", '<saml:Condition xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="x"/>', False),
        ("saml1", "<saml:Condition/>", False),
        ("saml1", '<x:Mine xmlns:x="urn:x"/>', False),
    ],
)
async def test_conditions_that_are_not_understood_refuse(there: OAuthWorld, type_: str, condition: str, known: bool) -> None:
    xml = signed(MAKERS[type_](conditions=condition))
    if known:
        assert await claims(there, type_, xml)
    else:
        assert "a condition that is not understood" in await refusal(there, type_, xml)


# --- item 3: the subject ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "attributes",
    [
        f' Format="{PERSISTENT}" NameQualifier="{IDP}" SPNameQualifier="{FABRIC}"',
        ' Format="urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress"',
        f' SPNameQualifier="{API}"',
    ],
)
async def test_names_of_people(there: OAuthWorld, attributes: str) -> None:
    assert (await claims(there, "saml2", signed(saml2(name_attributes=attributes))))["sub"] == "marty"


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        (' Format="urn:oasis:names:tc:SAML:2.0:nameid-format:transient"', "nobody who could be known"),
        (' Format="urn:oasis:names:tc:SAML:2.0:nameid-format:entity"', "nobody who could be known"),
        (' NameQualifier="https://other"', "another provider"),
        (' SPNameQualifier="https://other"', "another service"),
    ],
)
async def test_names_that_are_nobodys_here(there: OAuthWorld, attributes: str, words: str) -> None:
    assert words in await refusal(there, "saml2", signed(saml2(name_attributes=attributes)))


@pytest.mark.parametrize("type_", MAKERS)
@pytest.mark.parametrize("name", ["mar ty", " marty", "", "m" * 513, "martÿ", ADVISOR, "console"])
async def test_names_that_are_no_persons(there: OAuthWorld, type_: str, name: str) -> None:
    """Verifies that a name is read as every `sub` is, and that a provider vouches neither for a workload nor for another client."""
    await refusal(there, type_, signed(MAKERS[type_](name=name)))


@pytest.mark.parametrize(
    "subject",
    [
        bearer2(),
        f"<saml:BaseID/>{bearer2()}",
        f"<saml:NameID>marty</saml:NameID><saml:NameID>biff</saml:NameID>{bearer2()}",
        f"<saml:NameID>mar<x:b xmlns:x='urn:x'>ty</x:b></saml:NameID>{bearer2()}",
    ],
)
async def test_subjects_that_name_nobody_or_several(there: OAuthWorld, subject: str) -> None:
    await refusal(there, "saml2", signed(saml2(subject=subject)))


async def test_saml1_names_its_subject_in_each_statement(there: OAuthWorld) -> None:
    """Verifies that no statement about somebody else, and none that is confirmed in another way, hides behind a good one."""

    def two(second: str) -> str:
        return signed(saml1(more=f"<saml:AttributeStatement>{second}</saml:AttributeStatement>"))

    assert await claims(there, "saml1", two(subject1("marty")))
    assert "names several" in await refusal(there, "saml1", two(subject1("biff")))


async def test_saml1_confirms_each_subject(there: OAuthWorld) -> None:
    other = subject1("marty", bearer1("urn:oasis:names:tc:SAML:1.0:cm:sender-vouches"))
    xml = saml1(more=f"<saml:AttributeStatement>{other}</saml:AttributeStatement>")
    assert "may not be presented" in await refusal(there, "saml1", signed(xml))
    assert "no subject" in await refusal(there, "saml1", signed(saml1(statements="<saml:Advice/>")))


# --- items 4 and 6: times ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("type_", MAKERS)
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ends": at(NOW)}, "expired"),
        ({"ends": at(NOW - 1)}, "expired"),
        ({"begins": at(NOW + 6)}, "future"),
        ({"issued": at(NOW + 6)}, "future"),
        ({"issued": at(NOW - 600), "begins": None}, "more than 600 seconds ago"),
        ({"issued": None}, "no IssueInstant"),
        ({"issued": "2026-11-24T10:00:00"}, "not in UTC"),
        ({"issued": "2026-11-24T10:00:00+01:00"}, "not in UTC"),
        ({"ends": "2027-02-30T10:00:00Z"}, "not in UTC"),
        ({"ends": "soon"}, "not in UTC"),
    ],
)
async def test_times_that_are_refused(there: OAuthWorld, type_: str, changes: dict[str, Any], words: str) -> None:
    assert words in await refusal(there, type_, signed(MAKERS[type_](**changes)))


@pytest.mark.parametrize("type_", MAKERS)
async def test_small_skew_for_what_begins_and_none_for_what_ends(there: OAuthWorld, type_: str) -> None:
    assert await claims(there, type_, signed(MAKERS[type_](begins=at(NOW + 5), issued=at(NOW + 5))))


async def test_an_end_stands_somewhere(there: OAuthWorld) -> None:
    assert "nowhere when it ends" in await refusal(there, "saml1", signed(saml1(ends=None)))
    endless = bearer2(NotOnOrAfter=None)
    assert "nowhere when it ends" in await refusal(there, "saml2", signed(saml2(ends=None, confirmation=endless)))
    assert await claims(there, "saml2", signed(saml2(ends=None))), "the confirmation's own"


@pytest.mark.parametrize(
    ("type_", "changes"),
    [
        ("saml1", {"ends": at(NOW + 20)}),
        ("saml2", {"ends": at(NOW + 20)}),
        ("saml2", {"confirmation": bearer2(NotOnOrAfter=at(NOW + 20))}),
        ("saml2", {"statements": f'<saml:AuthnStatement AuthnInstant="{at(NOW)}" SessionNotOnOrAfter="{at(NOW + 20)}"/>'}),
        ("saml2", {"issued": at(NOW - 580), "ends": at(NOW + 9999)}),
        ("saml1", {"issued": at(NOW - 580), "ends": at(NOW + 9999)}),
    ],
)
async def test_the_token_outlives_nothing_that_it_rests_on(there: OAuthWorld, type_: str, changes: dict[str, Any]) -> None:
    """INVARIANT: no token lives longer than the assertion, the confirmation, or the session at the provider.

    Taking the condition's end alone would keep a person's session alive that the provider had ended.
    """
    assert (await claims(there, type_, signed(MAKERS[type_](**changes))))["exp"] == NOW + 20


async def test_a_session_that_ended(there: OAuthWorld) -> None:
    over = f'<saml:AuthnStatement AuthnInstant="{at(NOW)}" SessionNotOnOrAfter="{at(NOW)}"/>'
    assert "expired" in await refusal(there, "saml2", signed(saml2(statements=over)))


# --- item 5: who may present it ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recipient", [TOKEN_URL, ISSUER, FABRIC, f"{API}/saml/acs"])
async def test_recipients(there: OAuthWorld, recipient: str) -> None:
    assert await claims(there, "saml2", signed(saml2(confirmation=bearer2(recipient))))


CONFIRMATIONS = {
    "another recipient": bearer2("https://other/token"),
    "a recipient that begins alike": bearer2(ISSUER + ".evil.example/token"),
    "no recipient": bearer2(None),
    "expired": bearer2(NotOnOrAfter=at(NOW)),
    "of the future": bearer2(NotBefore=at(NOW + 6)),
    "sender-vouches": bearer2(method="urn:oasis:names:tc:SAML:2.0:cm:sender-vouches"),
    "of 1.1": bearer2(method=saml.BEARER1),
    "of a named party": bearer2().replace("<saml:SubjectConfirmationData", "<saml:NameID>app</saml:NameID><saml:SubjectConfirmationData"),
    "a key that nobody showed": bearer2(method=saml.HOLDER2, inner=key_info(PROVIDER.der)),
    "a holder of no key": bearer2(method=saml.HOLDER2),
    "none": "",
}


@pytest.mark.parametrize("what", CONFIRMATIONS)
async def test_confirmations_that_are_refused(there: OAuthWorld, what: str) -> None:
    assert "may not be presented" in await refusal(there, "saml2", signed(saml2(confirmation=CONFIRMATIONS[what])))


async def test_one_confirmation_that_holds_is_enough_and_its_end_counts(there: OAuthWorld) -> None:
    two = bearer2("https://other/token", NotOnOrAfter=at(NOW + 90)) + bearer2(NotOnOrAfter=at(NOW + 30))
    assert (await claims(there, "saml2", signed(saml2(confirmation=two))))["exp"] == NOW + 30


@pytest.mark.parametrize("type_", MAKERS)
async def test_holder_of_key_is_the_certificate_of_the_connection(there: OAuthWorld, type_: str) -> None:
    """INVARIANT: what is for the holder of a key is taken from a connection that showed it, and from no other."""
    held, other = Leaf(subject="CN=front"), Leaf(subject="CN=other")
    info = key_info(held.jwk["x5c"][0])
    own = bearer2(method=saml.HOLDER2, inner=info) if type_ == "saml2" else bearer1(saml.HOLDER1, info)
    xml = signed(MAKERS[type_](confirmation=own))
    assert "may not be presented" in await refusal(there, type_, xml)
    there.certificate = other.presented("ca")
    assert "may not be presented" in await refusal(there, type_, xml)
    there.certificate = held.presented("ca")
    assert await claims(there, type_, xml)


@pytest.mark.parametrize("method", ["urn:oasis:names:tc:SAML:1.0:cm:sender-vouches", saml.BEARER2, saml.HOLDER1, ""])
async def test_saml1_confirmations_that_are_refused(there: OAuthWorld, method: str) -> None:
    await refusal(there, "saml1", signed(saml1(confirmation=bearer1(method))))


# --- once (SAML 2.0 profiles section 4.1.4.5) -------------------------------------------------------------------------------------


@pytest.mark.parametrize("type_", MAKERS)
async def test_an_assertion_counts_once(there: OAuthWorld, type_: str) -> None:
    """INVARIANT: an assertion is good for one token, whoever shows it, however it is encoded or its signature wrapped.

    Naming it by its bytes would let a space inside the signature make it new.
    """
    xml = signed(MAKERS[type_]())
    assert await claims(there, type_, xml)
    status, body = await ask(there, type_, xml)
    assert (status, body.get("error"), body.get("error_description")) == (400, "invalid_request", "the subject token was used before")
    for again in (xml.replace("</ds:SignatureValue>", " </ds:SignatureValue>"), xml + "\n", signed(MAKERS[type_](name="jennifer"))):
        status, body = await ask(there, type_, again)
        assert (status, len(await _released(there))) == (400, 1), body
    assert await claims(there, type_, signed(MAKERS[type_](id="_a2")))


async def test_it_is_remembered_for_as_long_as_anybody_could_show_it(there: OAuthWorld) -> None:
    """INVARIANT: what was shown once is remembered until no confirmation of it could hold, of another client or for longer.

    Remembering it for as long as this token may live would let the next recipient, whose confirmation ends later, show it again.
    """
    held: list[Once] = []
    claim = there.claims.claim

    async def seen(once: Once, now: float) -> bool:
        held.append(once)
        return await claim(once, now)

    there.claims.claim = seen  # type: ignore[method-assign]
    two = bearer2(NotOnOrAfter=at(NOW + 10)) + bearer2("https://other/acs", NotOnOrAfter=at(NOW + 90))
    assert (await claims(there, "saml2", signed(saml2(confirmation=two))))["exp"] == NOW + 10
    assert held[-1].exp == NOW + MAX_AGE_S


@pytest.mark.parametrize("type_", MAKERS)
async def test_what_was_refused_is_not_used(there: OAuthWorld, type_: str) -> None:
    """Verifies that who asked for too much may ask again: the claim comes last before the record."""
    xml = signed(MAKERS[type_]())
    status, _ = await ask(there, type_, xml, scope="other.scope")
    assert status == 400
    assert await claims(there, type_, xml)


# --- item 10: encryption; and the form --------------------------------------------------------------------------------------------


ENC = '<xenc:EncryptedData xmlns:xenc="http://www.w3.org/2001/04/xmlenc#"/>'


async def test_encrypted_is_refused_as_such(there: OAuthWorld) -> None:
    subject = f"<saml:EncryptedID>{ENC}</saml:EncryptedID>{bearer2()}"
    assert "encrypted" in await refusal(there, "saml2", signed(saml2(subject=subject)))
    assert "encrypted" in await refusal(
        there, "saml2", f'<saml:EncryptedAssertion xmlns:saml="{saml.SAML2}">{ENC}</saml:EncryptedAssertion>'
    )


async def test_each_type_takes_its_own_version(there: OAuthWorld) -> None:
    for type_, xml in (("saml1", signed(saml2())), ("saml2", signed(saml1()))):
        assert "not an Assertion of this version" in await refusal(there, type_, xml)
    assert "not of SAML 2.0" in await refusal(there, "saml2", signed(saml2(version="2.1")))
    assert "not of SAML 1.1" in await refusal(there, "saml1", signed(saml1(version="0")))


@pytest.mark.parametrize("subject", ["%%%", "PHg", "PHg+", "a" * (MAX_ASSERTION_CHARS + 1), "PHg-===", "gICA", "e30"])
@pytest.mark.parametrize("type_", MAKERS)
async def test_what_is_no_assertion(there: OAuthWorld, type_: str, subject: str) -> None:
    answer = await there.post("/oauth/token", there.exchange("front", subject_token=subject, subject_token_type=TYPE + type_))
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


@pytest.mark.parametrize("type_", MAKERS)
async def test_padding_is_taken_and_a_large_one_passes_every_limit(there: OAuthWorld, type_: str) -> None:
    """Section 2.1; an assertion of 16 KiB, hundreds of groups, with room for the client's own assertion beside it."""
    tag, name = ("Attribute", "Name") if type_ == "saml2" else ("Attribute", "AttributeName")
    groups = "".join(f"<saml:AttributeValue>CN=group-{n:04},OU=Groups,DC=88mph,DC=com</saml:AttributeValue>" for n in range(150))
    named = "" if type_ == "saml2" else subject1("marty")
    xml = signed(
        MAKERS[type_](more=f'<saml:AttributeStatement>{named}<saml:{tag} {name}="groups">{groups}</saml:{tag}></saml:AttributeStatement>')
    )
    assert 20_000 < len(saml.token(xml)) <= MAX_ASSERTION_CHARS
    padded = saml.token(xml) + "=" * (-len(saml.token(xml)) % 4)
    answer = await there.post("/oauth/token", there.exchange("front", subject_token=padded, subject_token_type=TYPE + type_))
    assert answer.status_code == 200, answer.text


async def test_ecdsa_providers(there: OAuthWorld) -> None:
    for curve in (ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()):
        provider = Provider(ec.generate_private_key(curve))
        there.put(provider.fact())
        xml = signed(saml2(id=f"_{curve.name}"), provider, method=f"{saml.MORE}ecdsa-sha{min(curve.key_size, 512)}")
        assert await claims(there, "saml2", xml)

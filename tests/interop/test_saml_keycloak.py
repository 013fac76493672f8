"""Verifies that what Keycloak says of a person after a login, as a SAML 2.0 identity provider, becomes a Transaction Token once; and that
what it can be configured to say and Weft does not take is refused with the reason.

Runs where KEYCLOAK_HOME names an unpacked distribution (docs/tokens.md).
"""

from __future__ import annotations

import asyncio
import base64
import html
import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from lxml import etree

from tests.support import saml
from tests.support.facts import body as fact_body
from tests.support.keycloak import Keycloak, keycloak
from tests.support.oauth import TYPE, payload
from tests.support.oauth_fabric import fabric
from tests.support.saml import FABRIC

REALM = {
    "realm": "people", "enabled": True,
    "users": [{
        "username": "marty", "enabled": True, "email": "marty@88mph.com", "emailVerified": True, "firstName": "Marty", "lastName": "McFly",
        "credentials": [{"type": "password", "value": "delorean"}],
    }],
    "clients": [{
        "clientId": FABRIC, "protocol": "saml", "enabled": True, "redirectUris": [f"{FABRIC}/*"],
        "attributes": {
            "saml_idp_initiated_sso_url_name": "weft", "saml_assertion_consumer_url_post": f"{FABRIC}/saml/acs",
            "saml.force.post.binding": "true", "saml.client.signature": "false", "saml.assertion.signature": "true",
            "saml.server.signature": "false", "saml_signature_canonicalization_method": saml.EXCLUSIVE,
            "saml.signature.algorithm": "RSA_SHA256", "saml.onetimeuse.condition": "true",
            "saml_force_name_id_format": "true", "saml_name_id_format": "username",
        },
    }],
}  # fmt: skip
NAMES = {"p": "urn:oasis:names:tc:SAML:2.0:protocol", "a": saml.SAML2, "md": "urn:oasis:names:tc:SAML:2.0:metadata", "ds": saml.DS}

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keycloak]:
    with keycloak(tmp_path_factory.mktemp("keycloak")) as running:
        with running.admin() as http:
            http.post(f"{running.url}/admin/realms", json=REALM).raise_for_status()
        yield running


def provider(server: Keycloak) -> dict[str, Any]:
    """As a person copies it from the metadata."""
    with httpx.Client(verify=server.context, trust_env=False) as http:
        metadata = etree.fromstring(http.get(f"{server.url}/realms/people/protocol/saml/descriptor").content)
    signing = metadata.iterfind(".//md:KeyDescriptor[@use='signing']//ds:X509Certificate", NAMES)
    certificates = [certificate.text for certificate in signing]
    return {"kind": "issuer", "iss": metadata.get("entityID"), "aud": FABRIC, "saml_certificates": certificates, "namespace": "kc"}


def log_in(server: Keycloak) -> tuple[bytes, bytes]:
    """As a browser does it: the Response, and the Assertion in it."""
    with httpx.Client(verify=server.context, trust_env=False, follow_redirects=True, timeout=30) as http:
        page = http.get(f"{server.url}/realms/people/protocol/saml/clients/weft")
        action = re.search(r'<form[^>]+action="([^"]+)"', page.text)
        assert action is not None
        done = http.post(html.unescape(action[1]), data={"username": "marty", "password": "delorean"})
    found = re.search(r'name="SAMLResponse"\s+value="([^"]+)"', done.text, re.IGNORECASE)
    assert found is not None, done.status_code
    response = base64.b64decode(html.unescape(found[1]))
    return response, etree.tostring(etree.fromstring(response).find("a:Assertion", NAMES))


def changed(server: Keycloak, attributes: dict[str, str]) -> bytes:
    """The Assertion of a login where its client was configured so."""
    server.change_client("people", FABRIC, **attributes)
    try:
        return log_in(server)[1]
    finally:
        server.change_client("people", FABRIC, **REALM["clients"][0]["attributes"])  # type: ignore[index]


async def test_a_login_at_keycloak(fabric_server: Any, server: Keycloak, capsys: pytest.CaptureFixture[str]) -> None:
    async with fabric(fabric_server) as (clients, http, _):

        async def ask(xml: bytes) -> tuple[int, dict[str, Any]]:
            while True:
                form = clients.exchange("front", subject_token=saml.token(xml), subject_token_type=f"{TYPE}saml2")
                answer = await http.post("/oauth/token", data=form)
                if answer.status_code != 503:  # "try again": Keycloak takes the processor now and then
                    return answer.status_code, answer.json()

        async def refusal(xml: bytes) -> str:
            status, body = await ask(xml)
            assert status == 400, body
            return str(body["error_description"])

        response, assertion = await asyncio.to_thread(log_in, server)
        assert "of no known issuer" in await refusal(assertion)
        known = {"kind": "relation", "subject": "user:kc::marty", "relation": "member_of", "object": "team:office"}
        await fabric_server.put_facts(fact_body(await asyncio.to_thread(provider, server)), fact_body(known))
        assert "not an Assertion of this version" in await refusal(response)
        assert "not signed by a key" in await refusal(assertion.replace(b">marty<", b">biff<"))
        status, body = await ask(assertion)
        assert status == 200, body
        claims = payload(body["access_token"])
        assert (claims["sub"], claims["scope"]) == ("kc::marty", "web.search.execute")
        assert claims["exp"] - claims["iat"] <= 60
        assert "used before" in await refusal(assertion)
        with capsys.disabled():
            print(f"\nKeycloak: {len(saml.token(assertion))} characters of an Assertion -> {json.dumps(claims)}")
        for attributes, words in SAID:
            said = await refusal(await asyncio.to_thread(changed, server, attributes))
            assert words in said
            with capsys.disabled():
                print(f"{attributes}: {said}")
        _, again = await asyncio.to_thread(log_in, server)
        assert (await ask(again))[0] == 200


SAID: tuple[tuple[dict[str, str], str], ...] = (
    ({"saml.assertion.signature": "false", "saml.server.signature": "true"}, "not signed, or not as a whole"),
    ({"saml.signature.algorithm": "RSA_SHA1"}, "something else than RSA"),
    ({"saml_name_id_format": "transient"}, "nobody who could be known"),
    ({"saml_assertion_consumer_url_post": "https://other.example/acs"}, "may not be presented"),
    ({"saml_signature_canonicalization_method": "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"}, "exclusive c14n"),
)

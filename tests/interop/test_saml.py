"""Verifies that assertions of a provider that is not ours are taken as they are, over HTTP, by a real fabric; and that what is changed in
them is not.

They come from node's `saml` (the library behind several SAML servers), installed from tests/interop/node-saml: its XML writer, its
canonicalization and its signatures, none of which Weft's tests share.
"""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.support import elsewhere, saml
from tests.support.facts import body as fact_body
from tests.support.oauth import TYPE, payload
from tests.support.oauth_fabric import fabric
from tests.support.saml import FABRIC, IDP, Provider

SOURCE = Path(__file__).parent / "node-saml"
GROUPS = {"http://schemas.xmlsoap.org/claims/Group": ["Domain Users", "Zug <&> fährt", "a\r\nb"], "given name": "Märty"}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return elsewhere.installed(tmp_path_factory.mktemp("node-saml"), SOURCE)


def make(program: Path, provider: Provider, *wanted: dict[str, Any]) -> list[str]:
    """Signed by that program, with this key."""
    key = provider.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    own = {
        "key": key, "cert": provider.certificate.public_bytes(Encoding.PEM).decode(), "issuer": IDP, "lifetimeInSeconds": 240,
        "audiences": FABRIC, "nameIdentifier": "marty", "attributes": GROUPS,
        "signatureAlgorithm": "rsa-sha256", "digestAlgorithm": "sha256",
    }  # fmt: skip
    asked = json.dumps([own | each for each in wanted])
    done = subprocess.run(["node", "make.mjs"], cwd=program, input=asked, capture_output=True, text=True, timeout=30, check=True)
    made: list[str] = json.loads(done.stdout)
    return made


async def test_assertions_of_another_program(fabric_server: Any, program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    provider = Provider()
    async with fabric(fabric_server) as (clients, http, _):
        recipient = f"{clients.settings.issuer}/oauth/token"
        persistent = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"
        one, two, weak, transient, elsewhere_ = make(
            program,
            provider,
            {"version": 1},
            {"version": 2, "recipient": recipient, "nameIdentifierFormat": persistent},
            {"version": 2, "recipient": recipient, "signatureAlgorithm": "rsa-sha1", "digestAlgorithm": "sha1"},
            {"version": 2, "recipient": recipient, "nameIdentifierFormat": persistent.replace("persistent", "transient")},
            {"version": 2, "recipient": "https://other.example/acs"},
        )
        await fabric_server.put_facts(fact_body(provider.fact()))

        async def ask(version: int, xml: str) -> tuple[int, dict[str, Any]]:
            form = clients.exchange("front", subject_token=saml.token(xml), subject_token_type=f"{TYPE}saml{version}")
            answer = await http.post("/oauth/token", data=form)
            return answer.status_code, answer.json()

        for version, xml in ((1, one), (2, two)):
            tampered = xml.replace("marty", "biff", 1) if version == 2 else xml.replace("marty", "biff")
            status, body = await ask(version, tampered)
            assert (status, body["error_description"]) == (400, "subject_token: the assertion is not signed by a key of its issuer")
            status, body = await ask(version, xml)
            assert status == 200, body
            claims = payload(body["access_token"])
            assert claims["sub"] == "marty"
            assert claims["exp"] <= time.time() + 60
            with capsys.disabled():
                print(f"\nSAML {version} of node's saml, {len(saml.token(xml))} characters -> {claims['sub']}, {claims['scope']}")
            status, body = await ask(version, xml)
            assert (status, body["error_description"]) == (400, "the subject token was used before"), "claimed on a real CLAIMS"
        for xml, words in (
            (weak, "something else than RSA"),
            (transient, "nobody who could be known"),
            (elsewhere_, "may not be presented"),
        ):
            status, body = await ask(2, xml)
            assert status == 400
            assert words in body["error_description"]

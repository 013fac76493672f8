"""Mutual TLS on real sockets: what the handshake takes, what it names, and what the broker makes of it."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.certificates import Leaf
from tests.support.facts import body as fact_body
from tests.support.invoking import Invoking
from tests.support.oauth import FRONT, client, payload
from tests.support.oauth_fabric import Clients
from workers.broker.oauth.certificates import x5t_of
from workers.edge.mtls import REFRESH_S
from workers.supervisor.certificates import Authority, Place
from workers.supervisor.waiting import free_port

FAR = time.time() + 3600
CC = {"grant_type": "client_credentials"}


def leaf(*names: tuple[str, str], **options: Any) -> Leaf:
    return Leaf(*names, until=FAR, **options)


CA, SPIFFE_CA, STRANGER = leaf(subject="CN=ca", ca=True), leaf(subject="CN=spire", ca=True), leaf(subject="CN=stranger", ca=True)
OWN = leaf(subject="CN=own")


@asynccontextmanager
async def edge(server: Any, folder: Path) -> AsyncIterator[tuple[str, ssl.SSLContext]]:
    authority, place = Authority("test"), Place(folder / "cert.pem", folder / "key.pem")
    authority.issue(place, ("127.0.0.1",))
    (folder / "ca.pem").write_bytes(CA.pem)
    (folder / "spiffe.pem").write_bytes(SPIFFE_CA.pem)
    issuer = f"https://127.0.0.1:{free_port()}"
    server.settings = server.settings.model_copy(
        update={
            "issuer": issuer,
            "edge_port": int(issuer.rpartition(":")[2]),
            "edge_cert": place.cert,
            "edge_key": place.key,
            "edge_mtls": True,
            "edge_client_ca": folder / "ca.pem",
            "edge_spiffe_ca": folder / "spiffe.pem",
        }
    )
    clients = Clients(issuer)
    await server.put_facts(
        *clients.bodies(),
        fact_body(client("pki", auth_method="tls_client_auth", certificate={"san_dns": "client.88mph.com"}, certificate_bound=True)),
        fact_body(client("own", auth_method="self_signed_tls_client_auth", jwks={"keys": [OWN.jwk]})),
        fact_body(client(FRONT, auth_method="spiffe_x509", spiffe_id=FRONT)),
    )
    async with Invoking(server).workers("registry", "revocation", "broker", "edge"):
        yield issuer, ssl.create_default_context(cadata=authority.pem.decode())


def shows(context: ssl.SSLContext, shown: Leaf, folder: Path) -> ssl.SSLContext:
    """The same trust, and this certificate."""
    (folder / "leaf.pem").write_bytes(shown.pem + shown.key_pem)
    mine = ssl.create_default_context()
    mine.load_verify_locations(cadata="".join(ssl.DER_cert_to_PEM_cert(der) for der in context.get_ca_certs(binary_form=True)))
    mine.load_cert_chain(folder / "leaf.pem")
    return mine


async def test_each_method_on_a_real_handshake(fabric_server: Any, tmp_path: Path) -> None:
    """Verifies that a client of each method gets a token, and that its certificate is worth nothing for another's."""
    async with edge(fabric_server, tmp_path) as (issuer, trust):

        async def ask(shown: Leaf, client_id: str) -> httpx.Response:
            async with httpx.AsyncClient(verify=shows(trust, shown, tmp_path), base_url=issuer) as http:
                return await http.post("/oauth/token", data={**CC, "client_id": client_id, "scope": "ssf.read"})

        async with httpx.AsyncClient(verify=trust, base_url=issuer) as http:
            metadata = (await http.get("/.well-known/oauth-authorization-server")).json()
        assert "tls_client_auth" in metadata["token_endpoint_auth_methods_supported"]
        pki = leaf(("dns", "client.88mph.com"), by=CA)
        answer = await ask(pki, "pki")
        assert answer.status_code == 200, answer.text
        assert payload(answer.json()["access_token"])["cnf"] == {"x5t#S256": x5t_of(pki.der)}
        svid = leaf(("uri", FRONT), by=SPIFFE_CA)
        assert (await ask(svid, FRONT)).status_code == 200
        async with asyncio.timeout(REFRESH_S + 5):  # the edge hears of registered certificates with its first question
            while True:
                try:
                    if (await ask(OWN, "own")).status_code == 200:
                        break
                except httpx.HTTPError:
                    await asyncio.sleep(0.1)
        for shown, client_id in ((pki, "own"), (svid, "pki"), (OWN, "pki"), (leaf(("uri", FRONT), by=CA), FRONT)):
            assert (await ask(shown, client_id)).json()["error"] == "invalid_client"
        imposter = leaf(("dns", "client.88mph.com"), by=SPIFFE_CA)
        assert (await ask(imposter, "pki")).json()["error"] == "invalid_client", "the trust domain's authority vouches for no DNS name"


async def test_a_certificate_that_no_anchor_vouches_for_ends_the_handshake(fabric_server: Any, tmp_path: Path) -> None:
    async with edge(fabric_server, tmp_path) as (issuer, trust):
        for shown in (leaf(("dns", "client.88mph.com"), by=STRANGER), leaf(("dns", "client.88mph.com"))):
            async with httpx.AsyncClient(verify=shows(trust, shown, tmp_path), base_url=issuer) as http:
                with pytest.raises(httpx.HTTPError):
                    await http.get("/healthz")
        async with httpx.AsyncClient(verify=trust, base_url=issuer) as http:
            assert (await http.get("/healthz")).status_code == 200, "none is needed"
            assert (await http.post("/oauth/token", data={**CC, "client_id": "pki"})).status_code == 401
            headers = {"x-client-cert": "anything", "x-forwarded-client-cert": "anything", "ssl-client-cert": "anything"}
            assert (await http.post("/oauth/token", data={**CC, "client_id": "pki"}, headers=headers)).status_code == 401

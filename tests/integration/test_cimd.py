"""A client by its metadata document, from the command to a token: real registry, edge, broker, and a server with the document."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from weft.nkey import KeyPair

from config.settings import OutboundPrivate
from schemas.commands import Change
from schemas.facts import Client, Grant, Person
from streams.facts_keys import key_of
from tests.support.identities import Signer
from tests.support.invoking import Invoking
from tests.support.oauth_fabric import Clients
from workers.common.operator_client import OperatorClient, Refused
from workers.supervisor.certificates import Authority, Place
from workers.supervisor.waiting import free_port


def served(document: dict[str, Any]) -> bytes:
    body = json.dumps(document).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body


async def test_resolved_accepted_and_worth_a_token(fabric_server: Any, tmp_path: Path) -> None:
    """Verifies that a document gives nothing until it is accepted, and then exactly what the registrar gave."""
    authority, place = Authority("test"), Place(tmp_path / "cert.pem", tmp_path / "key.pem")
    authority.issue(place, ("127.0.0.1",))
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(place.cert, place.key)
    signer, doc, other = Signer(kid="triage"), KeyPair("U"), KeyPair("U")
    document: dict[str, Any] = {"token_endpoint_auth_method": "private_key_jwt", "jwks": {"keys": [signer.jwk]}, "client_name": "Triage"}
    issuer = f"http://127.0.0.1:{free_port()}"
    changes = {
        "issuer": issuer,
        "edge_port": int(issuer.rpartition(":")[2]),
        "outbound_private": OutboundPrivate(metadata=("127.0.0.0/8",)),
    }
    fabric_server.settings = fabric_server.settings.model_copy(update={**changes, "outbound_ca": tmp_path / "ca.pem"})
    clients, invoking = Clients(issuer), Invoking(fabric_server)
    registrar = Person(nkey=doc.public, name="Doc", roles=(Grant(role="registrar", namespace="spiffe://88mph.com"),))
    nobody = Person(nkey=other.public, name="Biff", roles=(Grant(role="auditor", namespace="spiffe://88mph.com"),))
    await fabric_server.put_facts(*clients.bodies(), registrar, nobody)
    async with invoking.workers("registry", "revocation", "broker", "edge"):
        nc = await fabric_server.outer("operator", doc.public, doc)
        person = OperatorClient.over(nc, fabric_server.settings, doc.seed)
        held = bytearray()
        async with _document(tls, held) as port:
            url = f"https://127.0.0.1:{port}/c/triage.json"
            held[:] = served({"client_id": url, **document})
            found = await person.resolve_client(url)
            assert (found.name, found.accepted) == ("Triage", None)
            form = {"grant_type": "client_credentials", **clients.proven(url, signer=signer)}
            async with httpx.AsyncClient(base_url=issuer, timeout=10) as http:
                assert (await http.post("/oauth/token", data=form)).status_code == 401, "a proposal gives nothing"
                body = Client.model_validate(
                    {
                        "client_id": url,
                        "owner": "ops",
                        "auth_method": found.auth_method,
                        "jwks": found.jwks,
                        "document": found.document,
                        "grant_types": ["client_credentials"],
                        "scopes": ["ssf.read"],
                    },
                    strict=False,
                )
                await person.apply([Change(kind=body.kind, key=key_of(body), body=body, expected=0)])
                assert (await person.resolve_client(url)).accepted == found.document
                async with asyncio.timeout(10):
                    while (answer := await http.post("/oauth/token", data=form)).status_code != 200:
                        form = {"grant_type": "client_credentials", **clients.proven(url, signer=signer)}
                assert answer.json()["scope"] == "ssf.read"
            held[:] = served({"client_id": url + "x", **document})
            for operator, why in ((person, "not the URL"), (await _as(fabric_server, other), "registrar")):
                with pytest.raises(Refused) as refused:
                    await operator.resolve_client(url)
                assert why in refused.value.detail


@asynccontextmanager
async def _document(tls: ssl.SSLContext, held: bytearray) -> AsyncIterator[int]:
    """A server that answers with what `held` holds at that moment; yields its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, EOFError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(bytes(held))
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def _as(fabric_server: Any, pair: KeyPair) -> OperatorClient:
    nc = await fabric_server.outer("operator", pair.public, pair)
    return OperatorClient.over(nc, fabric_server.settings, pair.seed)

"""A client library that was not written here (Authlib) against the running face: what it makes of us, not what we make of it."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest
from authlib.integrations.requests_client import OAuth2Session, OAuthError
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc.jwk import ECKey  # what Authlib reads keys with

from tests.support.oauth import EXCHANGE, TXN, TYPE, payload
from tests.support.oauth_fabric import Clients, fabric

LATE_S = 10  # until the broker heard of what was committed


class Assertions(PrivateKeyJWT):
    """Authlib's, with what RFC 7523bis asks for: our issuer as audience.

    Its own assertions live for an hour, which is more than is taken here; and it keeps its `jti` in the claims that it is given, so
    those are made anew each time: an assertion that comes a second time is refused.
    """

    def sign(self, auth: Any, token_endpoint: str) -> Any:
        self.claims = {"aud": token_endpoint.partition("/oauth/")[0], "exp": int(time.time()) + 120}
        return super().sign(auth, token_endpoint)


def library(clients: Clients, name: str) -> OAuth2Session:
    key = clients.keys[name]
    pem = key.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    methods = {"token_endpoint_auth_method": "private_key_jwt", "revocation_endpoint_auth_method": "private_key_jwt"}
    made = OAuth2Session(name, ECKey.import_key(pem), **methods)
    made.trust_env = False
    made.register_client_auth_method(Assertions(headers={"kid": key.kid}, alg="ES256"))
    return made


def life_of_a_token(clients: Clients) -> None:
    """From the metadata document to the revocation, as a program would do it."""
    with library(clients, "console") as console:
        said = console.get(f"{clients.settings.issuer}/.well-known/oauth-authorization-server", withhold_token=True).json()
        token = console.fetch_token(said["token_endpoint"], grant_type="client_credentials", scope="ssf.read")
        assert (token["token_type"], token["scope"]) == ("Bearer", "ssf.read")
        value = token["access_token"]
        shown = console.introspect_token(said["introspection_endpoint"], token=value)
        assert shown.json().get("active") is True, shown.text
        assert console.revoke_token(said["revocation_endpoint"], token=value).status_code == 200
        deadline = time.monotonic() + LATE_S
        while console.introspect_token(said["introspection_endpoint"], token=value).json()["active"]:
            assert time.monotonic() < deadline
        with pytest.raises(OAuthError) as refused:
            console.fetch_token(said["token_endpoint"], grant_type="client_credentials", scope="ssf.delete")
        assert refused.value.error == "invalid_scope"


def exchange(clients: Clients) -> None:
    with library(clients, "front") as front:
        token = front.fetch_token(
            f"{clients.settings.issuer}/oauth/token",
            grant_type=EXCHANGE,
            requested_token_type=TXN,
            audience="88mph.com",
            scope="web.search.execute",
            subject_token=json.dumps({"sub": "marty"}),
            subject_token_type=f"{TYPE}unsigned_json",
        )
    assert (token["token_type"], token["issued_token_type"]) == ("N_A", TXN)
    assert payload(token["access_token"])["sub"] == "marty"


async def test_authlib(fabric_server: Any) -> None:
    """Verifies that a client library by others gets, shows, exchanges and revokes tokens here, and understands a refusal."""
    async with fabric(fabric_server) as (clients, _, __):
        await asyncio.to_thread(life_of_a_token, clients)
        await asyncio.to_thread(exchange, clients)

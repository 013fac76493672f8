"""RFC 8414: the metadata document."""

from __future__ import annotations

import pytest

from tests.support.oauth import EXCHANGE, ISSUER, OAuthWorld
from workers.edge.faces.oauth_metadata import document


async def test_3_2_where_it_stands_and_what_it_says(world: OAuthWorld) -> None:
    async with world.http() as http:
        answer = await http.get("/.well-known/oauth-authorization-server")
    assert answer.headers["content-type"] == "application/json"
    said = answer.json()
    assert said["issuer"] == ISSUER
    assert said["token_endpoint"] == f"{ISSUER}/oauth/token"
    assert said["jwks_uri"] == f"{ISSUER}/.well-known/jwks.json"
    assert said["grant_types_supported"] == ["client_credentials", EXCHANGE]


@pytest.mark.parametrize("path", ["/tenant", "/a/b"])
async def test_3_the_well_known_path_stands_before_the_issuers(path: str) -> None:
    world = OAuthWorld(ISSUER + path)
    async with world.http() as http:
        assert (await http.get(f"{ISSUER}/.well-known/oauth-authorization-server{path}")).json()["issuer"] == ISSUER + path
        assert (await http.get(f"{ISSUER}/.well-known/oauth-authorization-server")).status_code == 404
    await world.recorder.close()


def test_2_what_defaults_would_get_wrong_is_said() -> None:
    """Without them a reader assumes the code grant and client_secret_basic."""
    said = document(ISSUER, mtls=False)
    assert "authorization_code" not in said["grant_types_supported"]
    for name in ("token", "introspection", "revocation"):
        assert said[f"{name}_endpoint_auth_methods_supported"] == ["private_key_jwt", "spiffe_jwt"]
        algorithms = said[f"{name}_endpoint_auth_signing_alg_values_supported"]
        assert "none" not in algorithms
        assert not any(algorithm.startswith("HS") for algorithm in algorithms)
    assert said["response_types_supported"] == []
    assert "authorization_endpoint" not in said


def test_rfc8705_3_3_methods_of_tls_are_offered_where_the_edge_asks_for_certificates() -> None:
    said = document(ISSUER, mtls=True)
    assert {"tls_client_auth", "self_signed_tls_client_auth", "spiffe_x509"} <= set(said["token_endpoint_auth_methods_supported"])
    assert said["tls_client_certificate_bound_access_tokens"] is True

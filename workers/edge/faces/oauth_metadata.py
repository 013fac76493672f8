"""The authorization server's metadata.  RFC 8414 section 2, RFC 8705 section 3.3, RFC 9449 section 5.1.

No authorization endpoint: no grant here uses one.  `response_types_supported` is required by section 2 and, being empty, is to be
omitted by section 3.2: it is there, as more readers ask for it than mind it (docs/decisions).
"""

from __future__ import annotations

from typing import Any

from schemas.clients import TOKEN_EXCHANGE
from workers.common.jose import ALGORITHMS

WELL_KNOWN = "/.well-known/oauth-authorization-server"
JWT_METHODS = ["private_key_jwt", "spiffe_jwt"]
TLS_METHODS = ["tls_client_auth", "self_signed_tls_client_auth", "spiffe_x509"]


def document(issuer: str, *, mtls: bool) -> dict[str, Any]:
    """What clients and resource servers need to know.  `mtls`: this edge asks for client certificates."""
    at = issuer.rstrip("/")
    methods = JWT_METHODS + (TLS_METHODS if mtls else [])
    algorithms = sorted(ALGORITHMS)
    endpoints: dict[str, Any] = {}
    for name in ("token", "introspection", "revocation"):
        path = {"token": "token", "introspection": "introspect", "revocation": "revoke"}[name]
        endpoints[f"{name}_endpoint"] = f"{at}/oauth/{path}"
        endpoints[f"{name}_endpoint_auth_methods_supported"] = methods
        endpoints[f"{name}_endpoint_auth_signing_alg_values_supported"] = algorithms
    return {
        "issuer": issuer,
        **endpoints,
        "jwks_uri": f"{at}/.well-known/jwks.json",
        "response_types_supported": [],
        "grant_types_supported": ["client_credentials", TOKEN_EXCHANGE],
        "dpop_signing_alg_values_supported": ["ES256", "EdDSA", "Ed25519"],
        "tls_client_certificate_bound_access_tokens": mtls,
        "client_id_metadata_document_supported": True,
    }

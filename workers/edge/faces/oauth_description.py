"""The OAuth face as OpenAPI 3.1."""

from __future__ import annotations

from typing import Any, get_args

from schemas.clients import TOKEN_EXCHANGE, TOKEN_TYPE, ActorType, IssuedType, SubjectType
from schemas.oauth import Error
from workers.edge.describe import Description, answer, operation
from workers.edge.faces.oauth_metadata import WELL_KNOWN

_TEXT = {"type": "string", "maxLength": 32_768}
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"enum": list(get_args(Error))}, "error_description": {"type": "string"}},
}
_CLIENT: dict[str, Any] = {
    "client_id": _TEXT,
    "client_assertion_type": {
        "enum": [
            "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe",
        ]
    },
    "client_assertion": {**_TEXT, "description": "a JWT whose only audience is the issuer (RFC 7523), or a JWT-SVID"},
}
_TOKEN_REQUEST: dict[str, Any] = {
    **_CLIENT,
    "grant_type": {"enum": ["client_credentials", TOKEN_EXCHANGE]},
    "scope": _TEXT,
    "resource": {**_TEXT, "description": "RFC 8707: what the token is for; of a Transaction Token, the tool to call"},
    "audience": {**_TEXT, "description": "of a Transaction Token the trust domain; else as resource"},
    "requested_token_type": {"enum": [TOKEN_TYPE + name for name in get_args(IssuedType)], "description": "absent: access_token"},
    "subject_token": {
        **_TEXT,
        "description": "as its type has it; of saml1 and saml2 base64url of one signed Assertion, RFC 7522 section 2.1",
    },
    "subject_token_type": {"enum": [TOKEN_TYPE + name for name in get_args(SubjectType)]},
    "actor_token": {**_TEXT, "description": "RFC 8693 section 2.1: who acts, where it is not the client by its authentication alone"},
    "actor_token_type": {"enum": [TOKEN_TYPE + name for name in get_args(ActorType)], "description": "required with actor_token"},
    "authorization_details": {**_TEXT, "description": "RFC 9396, of a tool that knows the type: a JSON array of objects"},
    "request_details": {**_TEXT, "description": "a JSON object: tctx; with a tool, actions, call and evidence"},
    "request_context": {**_TEXT, "description": "a JSON object: rctx"},
}
_GRANTED = {
    "type": "object",
    "required": ["access_token", "token_type", "expires_in", "scope"],
    "properties": {
        "access_token": {"type": "string"},
        "token_type": {"enum": ["Bearer", "DPoP", "N_A"]},
        "issued_token_type": {"enum": [TOKEN_TYPE + name for name in get_args(IssuedType)]},
        "expires_in": {"type": "integer", "minimum": 1, "maximum": 300},
        "scope": {"type": "string"},
        "endpoint": {"type": "string", "description": "where the tool lives that was named"},
        "authorization_details": {"type": "array", "items": {"type": "object", "required": ["type"]}},
    },
}
_INTROSPECTED = {"type": "object", "required": ["active"], "properties": {"active": {"type": "boolean"}}}
_METADATA = {"type": "object", "required": ["issuer", "token_endpoint", "grant_types_supported", "jwks_uri"]}
_PROOF = {"name": "DPoP", "in": "header", "required": False, "schema": {"type": "string", "maxLength": 4096}, "description": "RFC 9449"}


def _form(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": list(required)}
    return {"required": True, "content": {"application/x-www-form-urlencoded": {"schema": schema}}}


_EXPLAINED = {"Weft-Explanation": "what `weft explain` shows this request by"}
_NONCE = {"DPoP-Nonce": "RFC 9449 section 8.2: for the next proof, where the fabric asks for nonces"}


def _post(name: str, summary: str, granted: dict[str, Any], body: dict[str, Any], **more: Any) -> dict[str, Any]:
    nonce = _NONCE if name == "token" else {}
    refusals = {
        "400": answer("refused, RFC 6749 section 5.2", _ERROR, headers=_EXPLAINED | nonce),
        "401": answer("the client is not authenticated", _ERROR, headers=_EXPLAINED | {"WWW-Authenticate": "how it could be"}),
        "503": answer("nothing was decided: try again", _ERROR, headers=_EXPLAINED | {"Retry-After": "seconds"}),
    }
    return {"post": operation(name, summary, {"200": granted, **refusals}, requestBody=body, **more)}


DESCRIPTION = Description(
    paths={
        "/oauth/token": _post(
            "token",
            "Access tokens by client_credentials, access tokens and Transaction Tokens by token exchange (RFC 6749, RFC 8693).",
            answer("the token", _GRANTED, headers=_EXPLAINED | _NONCE),
            _form(_TOKEN_REQUEST, "grant_type"),
            parameters=[_PROOF],
        ),
        "/oauth/introspect": _post(
            "introspect",
            "Whether a token of this fabric is active, by the revocation view (RFC 7662).",
            answer("what it is worth", _INTROSPECTED, headers=_EXPLAINED),
            _form({**_CLIENT, "token": _TEXT, "token_type_hint": _TEXT}, "token"),
        ),
        "/oauth/revoke": _post(
            "revoke",
            "Ends a token of the client's own, everywhere (RFC 7009).",
            {"description": "it is revoked, or was no token any more"},
            _form({**_CLIENT, "token": _TEXT, "token_type_hint": _TEXT}, "token"),
        ),
        WELL_KNOWN: {
            "get": operation(
                "authorization_server",
                "The authorization server's metadata (RFC 8414).",
                {"200": answer("the document", _METADATA)},
            )
        },
    }
)

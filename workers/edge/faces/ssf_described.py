"""OpenAPI of the transmitter's routes."""

from __future__ import annotations

from typing import Any

from workers.edge.describe import Description, answer, operation

_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string"}, "error_description": {"type": "string"}},
}
_TEXT: dict[str, Any] = {"type": "string"}
_STATUS = {"enum": ["enabled", "paused", "disabled"]}
_SUBJECT = {"type": "object", "required": ["format"], "properties": {"format": _TEXT}, "description": "RFC 9493, SSF 1.0 section 3"}
_DELIVERY = {
    "type": "object",
    "required": ["method"],
    "properties": {
        "method": {"enum": ["urn:ietf:rfc:8935", "urn:ietf:rfc:8936"]},
        "endpoint_url": {"type": "string", "description": "of a push the receiver's, of a poll ours"},
        "authorization_header": {"type": "string", "description": "the value of the HTTP header Authorization of every push"},
    },
}
_WISHES = {
    "events_requested": {"type": "array", "items": _TEXT},
    "delivery": _DELIVERY,
    "description": _TEXT,
}
_STREAM = {
    "type": "object",
    "required": ["stream_id", "iss", "aud", "events_supported", "events_delivered", "delivery", "min_verification_interval"],
    "properties": {
        **_WISHES,
        "stream_id": _TEXT,
        "iss": _TEXT,
        "aud": _TEXT,
        "events_supported": {"type": "array", "items": _TEXT},
        "events_delivered": {"type": "array", "items": _TEXT},
        "min_verification_interval": {"type": "integer", "description": "seconds"},
    },
}
_STREAM_STATUS = {
    "type": "object",
    "required": ["stream_id", "status"],
    "properties": {"stream_id": _TEXT, "status": _STATUS, "reason": _TEXT},
}
_POLL = {
    "type": "object",
    "properties": {
        "maxEvents": {"type": "integer", "minimum": 0},
        "returnImmediately": {"type": "boolean", "default": False},
        "ack": {"type": "array", "items": _TEXT},
        "setErrs": {
            "type": "object",
            "additionalProperties": {"type": "object", "required": ["err"], "properties": {"err": _TEXT, "description": _TEXT}},
        },
    },
}
_SETS = {
    "type": "object",
    "required": ["sets"],
    "properties": {"sets": {"type": "object", "additionalProperties": _TEXT}, "moreAvailable": {"type": "boolean"}},
}
_METADATA = {
    "type": "object",
    "required": ["issuer"],
    "properties": {
        "issuer": _TEXT,
        "spec_version": _TEXT,
        "jwks_uri": _TEXT,
        "delivery_methods_supported": {"type": "array", "items": _TEXT},
    },
}
_MANAGE: list[dict[str, list[str]]] = [{"ssf": ["ssf.manage"]}]
_READ: list[dict[str, list[str]]] = [{"ssf": ["ssf.read"]}, {"ssf": ["ssf.manage"]}]
_REFUSALS = {
    "400": answer("the request is not in form, or a token stands in the query", _ERROR),
    "401": answer("no bearer token, or none that is good; with a challenge", _ERROR),
    "403": answer("the token lacks the scope; with a challenge", _ERROR),
    "404": answer("no such stream, or another receiver's", _ERROR),
    "503": answer("the fabric did not answer", _ERROR),
}
_ID = {"name": "stream_id", "in": "query", "required": True, "schema": _TEXT}


def _does(name: str, summary: str, done: dict[str, Any], security: list[dict[str, list[str]]] = _MANAGE, **more: Any) -> dict[str, Any]:
    return operation(name, summary, {**done, **_REFUSALS}, security=security, **more)


def _body(*required: str, **properties: Any) -> dict[str, Any]:
    schema = {"type": "object", "required": list(required), "properties": properties}
    return {"required": True, "content": {"application/json": {"schema": schema}}}


_EMPTY: dict[str, Any] = {"description": "done"}
_CONFIGURED = answer("the whole configuration", _STREAM)

DESCRIPTION = Description(
    paths={
        "/.well-known/ssf-configuration": {
            "get": operation(
                "ssf_configuration",
                "The transmitter's configuration, SSF 1.0 section 7; below this path, the issuer's own where it has one.",
                {"200": answer("the configuration", _METADATA), "503": answer("the fabric did not answer", _ERROR)},
            )
        },
        "/ssf/jwks.json": {
            "get": operation(
                "ssf_jwks",
                "The public keys of Security Event Tokens, RFC 7517 section 5.",
                {"200": answer("the keys", {"type": "object"}), "503": answer("the fabric did not answer", _ERROR)},
            )
        },
        "/ssf/streams": {
            "post": _does(
                "ssf_create",
                "A new stream, SSF 1.0 section 8.1.1.1.",
                {"201": _CONFIGURED, "409": answer("this receiver has as many as it may have", _ERROR)},
                requestBody=_body(**_WISHES),
            ),
            "get": _does(
                "ssf_read",
                "One stream, or all of this receiver's where none is named, SSF 1.0 section 8.1.1.2.",
                {"200": answer("one, or an array", {"anyOf": [_STREAM, {"type": "array", "items": _STREAM}]})},
                _READ,
                parameters=[{**_ID, "required": False}],
            ),
            "patch": _does(
                "ssf_update",
                "What it names is changed, SSF 1.0 section 8.1.1.3.",
                {"200": _CONFIGURED},
                requestBody=_body("stream_id", stream_id=_TEXT, **_WISHES),
            ),
            "put": _does(
                "ssf_replace",
                "All that a receiver may say is changed, SSF 1.0 section 8.1.1.4.",
                {"200": _CONFIGURED},
                requestBody=_body("stream_id", stream_id=_TEXT, **_WISHES),
            ),
            "delete": _does("ssf_delete", "The stream ends, SSF 1.0 section 8.1.1.5.", {"204": _EMPTY}, parameters=[_ID]),
        },
        "/ssf/status": {
            "get": _does(
                "ssf_read_status",
                "SSF 1.0 section 8.1.2.1.",
                {"200": answer("the status", _STREAM_STATUS)},
                _READ,
                parameters=[_ID],
            ),
            "post": _does(
                "ssf_update_status",
                "A paused stream holds what happens, a disabled one forgets it.  SSF 1.0 section 8.1.2.2.",
                {"200": answer("the status", _STREAM_STATUS)},
                requestBody=_body("stream_id", "status", stream_id=_TEXT, status=_STATUS, reason=_TEXT),
            ),
        },
        "/ssf/subjects/add": {
            "post": _does(
                "ssf_add_subject",
                "SSF 1.0 section 8.1.3.2.",
                {"200": _EMPTY},
                requestBody=_body("stream_id", "subject", stream_id=_TEXT, subject=_SUBJECT, verified={"type": "boolean"}),
            )
        },
        "/ssf/subjects/remove": {
            "post": _does(
                "ssf_remove_subject",
                "SSF 1.0 section 8.1.3.3.",
                {"204": _EMPTY},
                requestBody=_body("stream_id", "subject", stream_id=_TEXT, subject=_SUBJECT),
            )
        },
        "/ssf/verify": {
            "post": _does(
                "ssf_verify",
                "A verification event on the stream, SSF 1.0 section 8.1.4.2; 429 for asking more often than min_verification_interval.",
                {"204": _EMPTY},
                requestBody=_body("stream_id", stream_id=_TEXT, state=_TEXT),
            )
        },
        "/ssf/poll/{stream_id}": {
            "post": _does(
                "ssf_poll",
                "SETs of a stream, RFC 8936 section 2.  Without returnImmediately held for up to 30 s.",
                {"200": answer("SETs by jti", _SETS)},
                parameters=[{**_ID, "in": "path"}],
                requestBody={"required": True, "content": {"application/json": {"schema": _POLL}}},
            )
        },
    },
    components={
        "securitySchemes": {
            "ssf": {
                "type": "oauth2",
                "description": "an access token of this fabric (client_credentials), in the Authorization header alone",
                "flows": {
                    "clientCredentials": {
                        "tokenUrl": "/oauth/token",
                        "scopes": {"ssf.manage": "everything about one's own streams", "ssf.read": "their configuration and status"},
                    }
                },
            }
        }
    },
)

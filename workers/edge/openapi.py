"""OpenAPI 3.1 description of the edge; `docs/contracts/edge.openapi.json` is its export, and the edge serves it at /openapi.json."""

from __future__ import annotations

from typing import Any


def _json(description: str, schema: dict[str, Any], media: str = "application/json") -> dict[str, Any]:
    return {"description": description, "content": {media: {"schema": schema}}}


def _get(operation: str, summary: str, responses: dict[str, Any]) -> dict[str, Any]:
    limited = {"429": {"$ref": "#/components/responses/RateLimited"}, "413": {"$ref": "#/components/responses/BodyNotExpected"}}
    return {"get": {"operationId": operation, "summary": summary, "security": [], "responses": responses | limited}}


_ERROR = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
_WORKER = {
    "type": "object",
    "required": ["worker", "ready", "copies", "fresh", "recorded", "facts", "revocations"],
    "properties": {
        "worker": {"type": "string"},
        "ready": {"type": "boolean", "description": "a copy answered, its views are fresh, its canary was acknowledged"},
        "copies": {"type": "integer", "description": "that had answered when the verdict was reached"},
        "fresh": {"type": "boolean"},
        "recorded": {"type": ["boolean", "null"], "description": "RECORD acknowledged the canary; null: this worker sings none"},
        "facts": {"type": ["integer", "null"], "description": "revision of its facts view"},
        "revocations": {"type": ["integer", "null"], "description": "its revocation counter"},
    },
}
_READY = {
    "type": "object",
    "required": ["ready", "workers"],
    "properties": {"ready": {"type": "boolean"}, "workers": {"type": "array", "items": _WORKER}},
}
_JWKS = {"type": "object", "required": ["keys"], "properties": {"keys": {"type": "array", "items": {"type": "object"}}}}

DOCUMENT: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {
        "title": "Weft edge",
        "version": "1",
        "summary": "The fabric's HTTP face: health, readiness, public keys.",
        "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
    },
    "paths": {
        "/healthz": _get(
            "healthz",
            "Alive: the process answers.",
            {"200": _json("alive", {"type": "object", "required": ["alive"], "properties": {"alive": {"const": True}}})},
        ),
        "/readyz": _get(
            "readyz",
            "Ready: every worker has a ready copy, and RECORD acknowledged an event just now.",
            {"200": _json("ready", _READY), "503": _json("not ready, and which worker is not", _READY)},
        ),
        "/.well-known/jwks.json": _get(
            "jwks",
            "The public keys of Transaction Tokens, RFC 7517 section 5.",
            {
                "200": _json("the keys", _JWKS, "application/jwk-set+json"),
                "304": {"description": "as the ETag says"},
                "503": _json("the fabric did not answer", _ERROR),
            },
        ),
        "/openapi.json": _get("openapi", "This document.", {"200": _json("OpenAPI 3.1", {"type": "object"})}),
    },
    "components": {
        "responses": {
            "RateLimited": _json("too many requests from this address", _ERROR),
            "BodyNotExpected": _json("a request with a body", _ERROR),
        }
    },
}

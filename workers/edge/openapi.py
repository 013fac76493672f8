"""OpenAPI 3.1 description of the edge; `docs/contracts/edge.openapi.json` is its export, and the edge serves it at /openapi.json."""

from __future__ import annotations

from typing import Any

from workers.edge.describe import ERROR, Description, answer, operation
from workers.edge.faces import jwks, oauth_description, receive, ssf, status, statuslists

_ITSELF = Description(
    paths={"/openapi.json": {"get": operation("openapi", "This document.", {"200": answer("OpenAPI 3.1", {"type": "object"})})}},
    components={
        "responses": {
            "RateLimited": answer("too many requests from this address", ERROR, headers={"Retry-After": "seconds until one more is taken"}),
            "BodyTooLarge": answer("a body where none is taken, or a longer one than is", ERROR),
            "BodyTooSlow": answer("the body was not whole within ten seconds", ERROR),
        }
    },
)


def document(*faces: Description) -> dict[str, Any]:
    """All faces in one document."""
    components: dict[str, dict[str, Any]] = {}
    for face in faces:
        for kind, held in face.components.items():
            components.setdefault(kind, {}).update(held)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Weft edge",
            "version": "1",
            "summary": "The fabric's HTTP face.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": {path: item for face in faces for path, item in face.paths.items()},
        "components": components,
    }


DOCUMENT = document(
    status.DESCRIPTION,
    jwks.DESCRIPTION,
    statuslists.DESCRIPTION,
    ssf.DESCRIPTION,
    receive.DESCRIPTION,
    oauth_description.DESCRIPTION,
    _ITSELF,
)

"""The public keys."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from workers.edge.describe import ERROR, Description, answer, operation
from workers.edge.faces.status import NO_STORE
from workers.edge.keys import MAX_AGE_S, Keys, KeysUnavailable


def routes(keys: Keys) -> list[Route]:
    """`/.well-known/jwks.json`."""

    async def jwks(request: Request) -> Response:
        return await serve_keys(request, keys)

    return [Route("/.well-known/jwks.json", jwks)]


async def serve_keys(request: Request, keys: Keys) -> Response:
    """A JWKS with its ETag."""
    try:
        document = await keys.document()
    except KeysUnavailable:
        return JSONResponse({"error": "unavailable"}, 503, NO_STORE)
    headers = {"etag": document.etag, "cache-control": f"public, max-age={MAX_AGE_S}, must-revalidate"}
    if document.etag in etags(request.headers.get("if-none-match", "")):
        return Response(status_code=304, headers=headers)
    return Response(document.body, 200, headers, "application/jwk-set+json")


def etags(header: str) -> set[str]:
    """RFC 9110 section 13.1.2; weak comparison, as for any GET."""
    return {item.strip().removeprefix("W/") for item in header.split(",")}


_JWKS = {"type": "object", "required": ["keys"], "properties": {"keys": {"type": "array", "items": {"type": "object"}}}}

DESCRIPTION = Description(
    paths={
        "/.well-known/jwks.json": {
            "get": operation(
                "jwks",
                "The public keys of Transaction Tokens, RFC 7517 section 5.",
                {
                    "200": answer("the keys", _JWKS, "application/jwk-set+json"),
                    "304": {"description": "as the ETag says"},
                    "503": answer("the fabric did not answer", ERROR),
                },
            )
        }
    }
)

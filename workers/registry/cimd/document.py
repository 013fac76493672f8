"""What a client's metadata document says.  draft-ietf-oauth-client-id-metadata-document-02 sections 3 to 5, RFC 7591 section 2.  Pure.

1. The client_id is a client identifier URL.  2. The answer is JSON, of at most 5 KiB, without duplicate names.  3. `client_id` is that
URL, character by character.  4. No shared secret, in no form.  5. An authentication method that there is here, with what it needs; keys
are public.  What it asks for beyond (grants, scope) is reported and gives nothing.
"""

from __future__ import annotations

from typing import Any, cast, get_args

from pydantic import ValidationError
from weft.errors import Malformed
from weft.strictjson import parse_object

from schemas.cimd import MAX_DOCUMENT_BYTES, Resolved
from schemas.clients import AuthMethod, Certificate, GrantType
from workers.registry.rules_clients import url_fault
from workers.registry.rules_trust import PRIVATE_MEMBERS

_CERTIFICATE = {f"tls_client_auth_{name}": name for name in ("subject_dn", "san_dns", "san_uri", "san_ip", "san_email")}


class DocumentRefused(Exception):
    """The document is not one that a client may have; the text says which rule it breaks and repeats nothing of it."""


def check_url(client_id: str) -> None:
    """Step 1.  Raises DocumentRefused."""
    fault = url_fault(client_id)
    if fault is not None:
        raise DocumentRefused(f"no client identifier URL: {fault}")


def read_document(client_id: str, body: bytes, media_type: str) -> dict[str, Any]:
    """Steps 2 to 4.  Raises DocumentRefused."""
    document = read_json(body, media_type)
    if document.get("client_id") != client_id:
        raise DocumentRefused("client_id is not the URL that it was fetched from")
    if {"client_secret", "client_secret_expires_at"} & document.keys():
        raise DocumentRefused("it holds a client secret, which everybody can read there")
    return document


def read_json(body: bytes, media_type: str) -> dict[str, Any]:
    """Step 2.  Raises DocumentRefused."""
    if not _is_json(media_type):
        raise DocumentRefused("the answer is not application/json")
    if len(body) > MAX_DOCUMENT_BYTES:
        raise DocumentRefused(f"longer than {MAX_DOCUMENT_BYTES} bytes")
    try:
        return parse_object(body, "the document")
    except Malformed:
        raise DocumentRefused("not a JSON object without duplicate names") from None


def key_set_url(document: dict[str, Any]) -> str | None:
    """Where its keys are, if not in itself.  Raises DocumentRefused for both (RFC 7591 section 2)."""
    url = document.get("jwks_uri")
    if url is None:
        return None
    if "jwks" in document or not isinstance(url, str) or not url.startswith("https://"):
        raise DocumentRefused("jwks_uri is an https URL, and jwks does not stand beside it")
    return url


def read_key_set(body: bytes) -> dict[str, Any]:
    """The answer of jwks_uri.  Raises DocumentRefused."""
    try:
        return _public(parse_object(body, "the key set"))
    except Malformed:
        raise DocumentRefused("jwks_uri does not answer a JSON object") from None


def proposal(document: dict[str, Any], jwks: dict[str, Any] | None, digest: str) -> Resolved:
    """Step 5.  Raises DocumentRefused."""
    method = document.get("token_endpoint_auth_method")
    if method not in get_args(AuthMethod):
        raise DocumentRefused("token_endpoint_auth_method is none of those that there are here: no method with a shared secret is one")
    held = jwks if jwks is not None else _public(document["jwks"]) if "jwks" in document else None
    name, scope, grants = _text(document, "client_name"), _text(document, "scope"), _grants(document)
    try:
        return Resolved(
            client_id=document["client_id"],
            document=digest,
            name=name[:128],
            auth_method=cast("AuthMethod", method),
            jwks=held if method in ("private_key_jwt", "self_signed_tls_client_auth") else None,
            certificate=_certificate(document) if method == "tls_client_auth" else None,
            spiffe_id=document.get("spiffe_id"),
            certificate_bound=document.get("tls_client_certificate_bound_access_tokens", False),
            dpop_required=document.get("dpop_bound_access_tokens", False),
            grant_types=grants,
            scope=scope[:512],
        )
    except ValidationError as error:
        fields = sorted({str(fault["loc"][0]) if fault["loc"] else "certificate" for fault in error.errors(include_input=False)})
        raise DocumentRefused(f"not of its form: {', '.join(fields)}") from None


def _public(jwks: Any) -> dict[str, Any]:
    keys = jwks.get("keys") if isinstance(jwks, dict) else None
    if not isinstance(keys, list) or not all(isinstance(key, dict) for key in keys):
        raise DocumentRefused("jwks is not a key set (RFC 7517 section 5)")
    if any(PRIVATE_MEMBERS & key.keys() for key in keys):
        raise DocumentRefused("jwks holds a private key: it is burnt, and everybody can read it there")
    return {"keys": keys}


def _certificate(document: dict[str, Any]) -> Certificate:
    named = {ours: document[theirs] for theirs, ours in _CERTIFICATE.items() if theirs in document}
    return Certificate.model_validate(named)


def _grants(document: dict[str, Any]) -> tuple[GrantType, ...]:
    asked = document.get("grant_types", [])
    if not isinstance(asked, list):
        raise DocumentRefused("grant_types is not a list")
    return tuple(grant for grant in get_args(GrantType) if grant in asked)


def _text(document: dict[str, Any], name: str) -> str:
    value = document.get(name, "")
    if not isinstance(value, str):
        raise DocumentRefused(f"{name} is not text")
    return value


def _is_json(media_type: str) -> bool:
    essence = media_type.partition(";")[0].strip().lower()
    return essence == "application/json" or (essence.startswith("application/") and essence.endswith("+json"))

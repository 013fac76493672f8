"""Rules for OAuth clients.  Pure.

What each method needs and nothing beside it, so that nobody believes a client to be held by a key that is never asked for.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from cryptography import x509
from weft.spiffeid import InvalidSpiffeID, SpiffeID

from schemas.clients import TOKEN_EXCHANGE
from schemas.commands import Change
from schemas.facts import Client
from workers.common.bundles import cached_key
from workers.registry import rules_people
from workers.registry.prospect import Prospect
from workers.registry.rules import Fabric, Problems, check_patterns, invalid
from workers.registry.rules_trust import key_set

_OPAQUE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}", re.ASCII)  # no `@`, no scheme: nothing that reads as a person or a URL
_NEEDS = {
    "private_key_jwt": {"jwks"},
    "self_signed_tls_client_auth": {"jwks"},
    "tls_client_auth": {"certificate"},
    "spiffe_jwt": {"spiffe_id"},
    "spiffe_x509": {"spiffe_id"},
}


def client(change: Change, body: Client, prospect: Prospect, fabric: Fabric) -> Problems:
    """An identifier of one of three kinds, one way to prove it, and something that it may ask for."""
    yield from (invalid(change, text) for text in _identifier(body, prospect))
    yield from rules_people.client(change, body, prospect)
    yield from _proof(change, body)
    yield from _rights(change, body)
    yield from (invalid(change, text) for text in _actors(body, fabric))


def url_fault(client_id: str) -> str | None:
    """Why a client_id is no client identifier URL (draft-ietf-oauth-client-id-metadata-document-02 section 3); none: it is one."""
    parts = urlsplit(client_id)
    if parts.scheme != "https" or not parts.hostname:
        return "it is not https"
    if not parts.path or parts.path == "/":
        return "it has no path"
    if any(segment in (".", "..") for segment in parts.path.split("/")):
        return "its path holds a dot segment"
    if "#" in client_id or "?" in client_id or parts.username is not None:
        return "it holds a fragment, a query or a user name"
    return None


def _identifier(body: Client, prospect: Prospect) -> Iterator[str]:
    """A URL, a SPIFFE ID, or opaque; never a name that a person could have (OAuth 2.1: a client must not look like a user)."""
    if "://" not in body.client_id:
        if not _OPAQUE.fullmatch(body.client_id):
            yield "client_id is neither an https URL, a SPIFFE ID nor made of letters, digits and ._:-"
    elif body.client_id.startswith("spiffe://"):
        try:
            SpiffeID.parse(body.client_id)
        except InvalidSpiffeID as error:
            yield f"client_id: {error}"
        if body.spiffe_id not in (None, body.client_id):
            yield "client_id is a SPIFFE ID, and spiffe_id another"
    elif fault := url_fault(body.client_id):
        yield f"client_id is no client identifier URL: {fault}"
    if prospect.table.relations_from(f"user:{body.client_id}"):
        yield "client_id is a person's name in the graph"


def _proof(change: Change, body: Client) -> Problems:
    has = {name for name in ("jwks", "certificate") if getattr(body, name) is not None}
    needs = _NEEDS[body.auth_method]
    for name in sorted(needs - has - {"spiffe_id"}):
        yield invalid(change, f"{body.auth_method} needs {name}")
    for name in sorted(has - needs):
        yield invalid(change, f"{name} is nothing that {body.auth_method} asks for")
    if "spiffe_id" in needs and body.spiffe_id is None:
        yield invalid(change, f"{body.auth_method} needs spiffe_id")
    if body.spiffe_id is not None and body.spiffe_id.endswith("/*") and "spiffe_id" not in needs:
        yield invalid(change, f"{body.auth_method} proves one workload: spiffe_id is one ID")
    if body.jwks is not None:
        yield from key_set(change, body.jwks)
        yield from _verifiable(change, body)


def _verifiable(change: Change, body: Client) -> Problems:
    keys = (body.jwks or {}).get("keys")
    for position, jwk in enumerate(keys if isinstance(keys, list | tuple) else ()):
        if not isinstance(jwk, dict):
            continue  # said by `key_set`
        if cached_key(jwk) is None:
            yield invalid(change, f"jwks.keys[{position}] is for none of the algorithms that clients may use (ES, RS, PS)")
        elif body.auth_method == "self_signed_tls_client_auth" and (fault := _certificate_fault(jwk)):
            yield invalid(change, f"jwks.keys[{position}] {fault}")


def _certificate_fault(jwk: dict[str, object]) -> str | None:
    """RFC 8705 section 2.2: the certificate is in `x5c`.  It becomes a trust anchor of the edge, so it may sign for nobody else."""
    chain = jwk.get("x5c")
    try:
        certificate = x509.load_der_x509_certificate(base64.b64decode(chain[0], validate=True) if isinstance(chain, list) else b"")
        authority = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        authority = False
    except (ValueError, TypeError, IndexError):
        return "has no certificate in x5c"
    if authority:
        return "holds the certificate of an authority: a client's own may sign for nobody"
    return None if certificate.public_key() == cached_key(jwk) else "is not the key of its certificate"


def _rights(change: Change, body: Client) -> Problems:
    for what, patterns in (("scopes", body.scopes), *((f"ceilings.{name}", scopes) for name, scopes in body.ceilings.items())):
        yield from check_patterns(change, what, patterns)
    for grant, what, given in (("client_credentials", "scopes", body.scopes), (TOKEN_EXCHANGE, "ceilings", body.ceilings)):
        if (grant in body.grant_types) != bool(given):
            yield invalid(change, f"{what} and the grant {grant} belong together")
    if "self_signed" in body.ceilings and body.auth_method != "private_key_jwt":
        yield invalid(change, "ceilings.self_signed needs a client with keys of its own (private_key_jwt)")
    if not body.grant_types and not body.protects:
        yield invalid(change, "it may neither ask for tokens nor introspect any")


def _actors(body: Client, fabric: Fabric) -> Iterator[str]:
    """RFC 8693 section 2.1: it speaks with their authority beside its own, so each is named, or a part of the namespace is."""
    for pattern in body.actors:
        workload = SpiffeID.parse(pattern.removesuffix("/*"))
        if workload.trust_domain != fabric.trust_domain:
            yield f"actors: {pattern} is of another trust domain"
        elif not workload.segments:
            yield f"actors: {pattern} is every workload there is"
    if body.actors and TOKEN_EXCHANGE not in body.grant_types:
        yield f"actors and the grant {TOKEN_EXCHANGE} belong together"

"""What describes an OAuth client: its identifier, how it proves who it is, what it may ask for.  RFC 6749 section 2, RFC 7591 section 2.

The fact itself is `schemas.facts.Client`.  No method with a shared secret is here: Weft keeps none (draft-ietf-oauth-v2-1-16 section 2.4
recommends asymmetric methods, and a secret in FACTS would be kept for ever).
"""

from __future__ import annotations

from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StringConstraints, model_validator
from weft.spiffeid import MAX_REGISTERED_BYTES, SpiffeID

from schemas.base import Wire

TOKEN_EXCHANGE: Literal["urn:ietf:params:oauth:grant-type:token-exchange"] = (
    "urn:ietf:params:oauth:grant-type:token-exchange"  # RFC 8693 section 2.1
)
TOKEN_TYPE = "urn:ietf:params:oauth:token-type:"  # RFC 8693 section 3, and the Transaction Token draft's additions

AuthMethod = Literal[
    "private_key_jwt",  # RFC 7523, OpenID Connect Core section 9
    "spiffe_jwt",  # draft-ietf-oauth-spiffe-client-auth-02
    "spiffe_x509",
    "tls_client_auth",  # RFC 8705 section 2.1
    "self_signed_tls_client_auth",  # RFC 8705 section 2.2
]
GrantType = Literal["client_credentials", "urn:ietf:params:oauth:grant-type:token-exchange"]
SubjectType = Literal["access_token", "id_token", "jwt", "self_signed", "unsigned_json", "txn_token", "saml1", "saml2"]  # after TOKEN_TYPE

ASSERTED: frozenset[SubjectType] = frozenset(("self_signed", "unsigned_json"))  # whose subject is the client's own word
ActorType = Literal["jwt", "access_token", "self_signed"]  # of an actor token: a JWT-SVID; a token of ours; the client's own word
IssuedType = Literal["txn_token", "access_token"]  # what an exchange gives

ClientID = Annotated[str, StringConstraints(pattern=r"^[!-~]{1,512}$")]  # RFC 6749 appendix A.1 without the space


def _resource(text: str) -> str:
    """RFC 8707 section 2: an absolute URI without a fragment."""
    parts = urlsplit(text)
    if not parts.scheme or not (parts.netloc or parts.path) or "#" in text:
        raise ValueError("an absolute URI without a fragment")
    return text


Resource = Annotated[str, StringConstraints(pattern=r"^[!-~]{1,512}$"), AfterValidator(_resource)]


def _spiffe_pattern(text: str) -> str:
    SpiffeID.parse(text.removesuffix("/*"))
    if len(text.encode()) > MAX_REGISTERED_BYTES:
        raise ValueError(f"longer than {MAX_REGISTERED_BYTES} bytes")
    return text


SpiffePattern = Annotated[str, AfterValidator(_spiffe_pattern)]  # a SPIFFE ID, or a prefix of whole segments ending in `/*`


class Certificate(Wire):
    """What the subject of a client certificate must be: exactly one of these, RFC 8705 section 2.1.2."""

    subject_dn: Annotated[str, Field(max_length=512)] | None = None  # RFC 4514
    san_dns: Annotated[str, Field(max_length=253)] | None = None
    san_uri: Annotated[str, Field(max_length=512)] | None = None
    san_ip: Annotated[str, Field(max_length=45)] | None = None
    san_email: Annotated[str, Field(max_length=254)] | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(value is not None for value in self.__dict__.values()) != 1:
            raise ValueError("exactly one of subject_dn, san_dns, san_uri, san_ip, san_email")
        return self


def workload_of(pattern: str, spiffe_id: str) -> bool:
    """Whether the ID is this one, or lies below a prefix ending in `/*` by whole segments (draft-ietf-oauth-spiffe-client-auth-02)."""
    return spiffe_id.startswith(pattern[:-1]) if pattern.endswith("/*") else spiffe_id == pattern

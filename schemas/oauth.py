"""What the edge's OAuth face asks the broker, and how it is answered: the HTTP request taken apart, and the HTTP answer's parts.

The edge holds no key and judges nothing: it hands over the form, what TLS proved and the proofs that came along, and sends back what it
is told.  RFC 6749 sections 3.2 and 5, RFC 7009 section 2, RFC 7662 section 2, RFC 8693 section 2.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from schemas.base import FreeText, Opaque, Wire

ASKED = "org.weft.oauth.asked.v1"
ANSWERED = "org.weft.oauth.answered.v1"

MAX_FORM_BYTES = 49_152  # a message of the fabric holds 64 KiB, and the form is not alone in it
MAX_PARAMETERS = 64

Error = Literal[
    "invalid_request",  # RFC 6749 section 5.2
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
    "invalid_target",  # RFC 8693 section 2.2.2, RFC 8707 section 2
    "invalid_authorization_details",  # RFC 9396 section 5
    "invalid_dpop_proof",  # RFC 9449 section 5
    "use_dpop_nonce",  # RFC 9449 section 8
    "unsupported_token_type",  # RFC 7009 section 2.2.1
    "temporarily_unavailable",  # with 503 and 429; RFC 6749 section 4.1.2.1 has the name
]
Parameter = tuple[Annotated[str, StringConstraints(max_length=128)], Annotated[str, StringConstraints(max_length=32_768)]]


class ClientCertificate(Wire):
    """The certificate of the TLS connection, whose chain the edge verified."""

    der: Annotated[str, StringConstraints(max_length=16_384)]  # base64
    anchor: Literal["ca", "spiffe", "self_signed"]  # which of its trust anchors the chain ended in


class Asked(Wire):
    """`data` of `ASKED`."""

    endpoint: Literal["token", "introspect", "revoke"]
    id: Opaque  # of this request; what `weft explain` takes
    parameters: Annotated[tuple[Parameter, ...], Field(max_length=MAX_PARAMETERS, repr=False)]
    authorization: Annotated[str, StringConstraints(max_length=64)] | None = None  # the scheme of that header alone
    certificate: ClientCertificate | None = None
    proofs: Annotated[tuple[Annotated[str, StringConstraints(max_length=4096)], ...], Field(max_length=4, repr=False)] = ()  # DPoP headers
    url: Annotated[str, StringConstraints(max_length=512)]  # of the endpoint, from the configuration and not from a header
    address: Annotated[str, StringConstraints(max_length=64)]  # where it came from
    deadline: float  # seconds since the epoch


class Refusal(Wire):
    """RFC 6749 section 5.2."""

    error: Error
    error_description: FreeText = ""


class Answered(Wire):
    """`data` of `ANSWERED`: the status and the JSON document of the answer, and what its headers say besides `no-store`."""

    status: Literal[200, 400, 401, 429, 503]
    body: dict[str, Any] | None = Field(default=None, repr=False)
    challenge: str | None = None  # WWW-Authenticate
    retry_after_s: int | None = None
    dpop_nonce: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")] | None = None  # DPoP-Nonce

"""The access token that Weft issues: RFC 9068 section 2, signed with the token key.  `cnf`: RFC 9449 section 6.1, RFC 8705 section 3.1.

`txn`, `rev` and `facts` are what makes it revocable as Transaction Tokens are: an entry hits it by its `jti`, its `txn`, whom it names
and the key that signed it.  Entries are kept as long as a token may live, so no access token lives longer than one (`MAX_TTL_S`).
"""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field, model_validator

from schemas.actors import ActorClaim
from schemas.base import Code, Digest, Seconds, Sequence, SpiffeIDText, Wire
from schemas.clients import ClientID, Resource
from schemas.token import Call, Evidence, RequestChain, Status

ACCESS_TYP = "at+jwt"
MAX_ACCESS_TOKEN_BYTES = 4096


class Bound(Wire):
    """The key that its bearer has to show, RFC 7800 section 3.1: one of the two."""

    jkt: Digest | None = None  # RFC 7638 thumbprint, RFC 9449
    x5t: Digest | None = Field(default=None, alias="x5t#S256")  # SHA-256 of the DER certificate, RFC 8705

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.jkt is None) == (self.x5t is None):
            raise ValueError("exactly one of jkt and x5t#S256")
        return self

    def shown(self, jkt: str | None, x5t: str | None) -> bool:
        """The request proved that very key: `jkt` by DPoP (RFC 9449 section 6), `x5t` by its client certificate (RFC 8705 section 3)."""
        return (self.jkt is not None and self.jkt == jkt) or (self.x5t is not None and self.x5t == x5t)


class AccessTokenClaims(Wire):
    """The payload."""

    iss: str
    aud: Resource | tuple[Resource, ...]
    sub: str  # of client_credentials: the client; of an exchange, the person
    client_id: ClientID
    iat: Seconds
    exp: Seconds
    jti: str
    scope: str = ""  # separated by spaces, RFC 8693 section 4.2
    txn: str
    rev: Sequence
    facts: Sequence
    workload: SpiffeIDText | None = None  # the workload that the client proved to be
    cnf: Bound | None = None
    act: ActorClaim | None = None
    authorization_details: tuple[dict[str, Any], ...] = ()  # RFC 9396 section 9.1
    purp: Code | None = None  # of a token for one call of a tool, as the three that follow
    req_wl: str | None = None
    call: Call | None = None
    evidence: tuple[Evidence, ...] = ()
    req_chain: RequestChain = ()
    tctx: dict[str, Any] | None = None  # of an exchange without a tool: the details of its transaction, fixed when that began
    status: Status | None = None  # where the tool's record asks for it

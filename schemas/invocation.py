"""The invocation: what an agent asks, what it is answered.

The agent signs `SignedRequest` with the key its SVID is bound to (Ed25519, JWS compact, RFC 7515; `alg` EdDSA of RFC 8037) and
publishes `InvocationRequest` on its own subject.  The compact JWS is kept as received: its SHA-256 is the request digest.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from schemas.base import Code, Compact, Digest, FreeText, Name, Opaque, Seconds, Sequence, Wire
from schemas.reasons import AgentCode
from schemas.responses import Need
from schemas.token import MAX_DETAILS, AuthorizationDetail

# RFC 6750 section 2.1: a compact JWS, or whatever another authorization server issues.
BearerToken = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._~+/-]+=*$", max_length=16_384)]

REQUEST_TYP = "weft-request+jwt"  # the JOSE `typ` of SignedRequest, RFC 7515 section 4.1.9
REQUEST_LIFE_S = 30
MAX_REQUEST_BYTES = 65_536

REQUESTED = "org.weft.invocation.requested.v1"
GRANTED = "org.weft.invocation.granted.v1"
REFUSED = "org.weft.invocation.refused.v1"
APPROVAL_ASKED = "org.weft.approval.asked.v1"
APPROVAL_TOLD = "org.weft.approval.told.v1"
TOOLS_ASKED = "org.weft.tools.asked.v1"
TOOLS_LISTED = "org.weft.tools.listed.v1"


class CallParts(Wire):
    """What of the coming HTTP request can be bound (weft.digest.call_parts)."""

    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
    path: Digest
    body: Digest


class Arguments(Wire):
    """The HTTP request that an approval is asked for, in clear: whoever gives it sees what the digests of the call stand for."""

    path: Annotated[str, StringConstraints(max_length=2_048)]
    body: Annotated[str, StringConstraints(max_length=8_192)]


class SignedRequest(Wire):
    """The payload of the agent's JWS."""

    id: Opaque  # chosen by the agent; one id, one digest, one answer
    tool: Name
    actions: Annotated[tuple[Code, ...], Field(min_length=1, max_length=16)]
    purpose: Code
    call: CallParts | None = None  # the arguments, as digests
    intent: Digest | None = None  # of the free text; recorded, never helps an Allow
    parent: Digest | None = None  # of the token this request continues, see InvocationRequest.parent_token
    user: Digest | None = None  # of the user token
    evidence: Annotated[tuple[Sequence, ...], Field(max_length=8)] = ()  # RECORD sequences the guards answered with
    challenge: Digest | None = None  # of a step-up that asked for proof of possession: signed here, now
    ttl_s: Annotated[int, Field(ge=1, le=300)] | None = None  # asked; never more than the tool's and the charter's
    authorization_details: Annotated[tuple[AuthorizationDetail, ...], Field(min_length=1, max_length=MAX_DETAILS)] | None = None  # RFC 9396
    iat: Seconds


class InvocationRequest(Wire):
    """`data` of `REQUESTED`.  Tokens in here reach no stream and no log."""

    request: Compact  # JWS of SignedRequest
    svid: Compact = Field(repr=False)  # the JWT-SVID of the connection
    parent_token: Compact | None = Field(
        default=None, repr=False
    )  # one received as a callee (child), or one of this instance's own (same transaction)
    user_token: Compact | None = Field(default=None, repr=False)  # RFC 9068 `at+jwt`, for calls on behalf of a person
    intent: FreeText | None = None


class Granted(Wire):
    """`data` of `GRANTED`."""

    request_id: Opaque
    txn: str
    endpoint: str  # where the tool lives; append the bound path
    token: BearerToken | None = Field(
        default=None, repr=False
    )  # a Transaction Token, draft-ietf-oauth-transaction-tokens-10; or what `issued_token_type` says
    token_type: Literal["N_A", "Bearer", "DPoP"] = "N_A"  # section 1.5 of the same; RFC 8693 section 2.2.1
    issued_token_type: Literal["urn:ietf:params:oauth:token-type:txn_token", "urn:ietf:params:oauth:token-type:access_token"] = (
        "urn:ietf:params:oauth:token-type:txn_token"
    )
    leaf: Literal[True] | None = None  # its audience is the tool alone: no parent
    svid_audience: str | None = None  # the tool takes the caller's own JWT-SVID of this audience, beside the token
    expires_at: Seconds
    actions: tuple[Code, ...]  # perhaps fewer than asked
    proof: Literal["dpop"] | None = None  # what the tool wants beside the token: RFC 9449, by the key that signed the request
    explanation: str  # for `weft explain`


class Refused(Wire):
    """`data` of `REFUSED`."""

    request_id: Opaque | None = None  # absent where the request could not be read
    code: AgentCode
    needs: Need | None = None  # of a step-up
    approval: Opaque | None = None  # of a step-up that needs one: what a person was asked under this id
    challenge: Digest | None = None  # of a step-up that needs proof of possession: to be named in the next request, within 30 s
    retry_after_s: float | None = None
    explanation: str


class ApprovalAsked(Wire):
    """`data` of `APPROVAL_ASKED`: what became of it?  Waits so long for an answer; `arguments` show the person what it is about."""

    id: Opaque
    wait_s: Annotated[float, Field(ge=0, le=4)] = 0
    arguments: Arguments | None = None


class ApprovalState(Wire):
    """`data` of `APPROVAL_TOLD`."""

    id: Opaque
    state: Literal["pending", "approved", "denied", "expired", "spent"]
    expires_at: Seconds | None = None


class ToolsAsked(Wire):
    """`data` of `TOOLS_ASKED`: what may I call?  Who asks, the server attests."""


class ToolListed(Wire):
    """One line of the answer to `tools()`."""

    name: Name
    capabilities: tuple[str, ...]
    actions: tuple[Code, ...]
    purposes: tuple[Code, ...]


class ToolList(Wire):
    """`data` of `TOOLS_LISTED`: only what this agent may call."""

    tools: tuple[ToolListed, ...]
    facts_revision: Sequence

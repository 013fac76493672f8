"""Metadata documents, resolved: a client's (draft-ietf-oauth-client-id-metadata-document-02), and a tool's (RFC 9728).

What one says is a proposal: the fact changes when a registrar applies it.  What a client may do is never in there, whatever the document
asks for.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from schemas.base import Digest, Name, Wire
from schemas.clients import AuthMethod, Certificate, ClientID, GrantType, SpiffePattern

RESOLVE = "org.weft.cimd.resolve.v1"
RESOLVED = "org.weft.cimd.resolved.v1"
RESOLVE_TOOL = "org.weft.cimd.tool.resolve.v1"
RESOLVED_TOOL = "org.weft.cimd.tool.resolved.v1"

MAX_DOCUMENT_BYTES = 5120  # section 6.6 of the draft


class Resolve(Wire):
    """By a registrar of the trust domain: fetch this client's document."""

    client_id: ClientID


class Resolved(Wire):
    """What the document says, keys that it points at included."""

    client_id: ClientID
    document: Digest  # SHA-256 over the document's bytes and those of its key set: what is accepted is what was shown
    name: str = ""
    auth_method: AuthMethod
    jwks: dict[str, Any] | None = None
    certificate: Certificate | None = None
    spiffe_id: SpiffePattern | None = None
    certificate_bound: bool = False
    dpop_required: bool = False
    grant_types: tuple[GrantType, ...] = ()  # that it asks for, of those that there are
    scope: str = ""  # that it asks for
    fresh_s: int = Field(default=0, ge=0)  # for how long the document may be kept
    accepted: Digest | None = None  # the document that the client's fact was made from; none: there is no such fact


class ResolveTool(Wire):
    """By a registrar over the tool: fetch the metadata of its resource."""

    tool: Name


class ResolvedTool(Wire):
    """What the document at the resource's well-known address says."""

    tool: Name
    resource: str
    document: Digest
    name: str = ""
    proof: Literal["dpop"] | None = None  # it refuses tokens that are bound to no key
    authorization_details: tuple[str, ...] | None = None  # the types it understands, where it says so
    fresh_s: int = Field(default=0, ge=0)
    accepted: Digest | None = None

"""An agent's signed request: read, and verified.  RFC 7515 section 5.2 (compact JWS), RFC 8037 section 3.1 (EdDSA), design 5.

The JOSE header is exactly `{"alg":"EdDSA","typ":"weft-request+jwt","kid":<public nkey>}`: nothing in it is a choice of the sender,
so there is no algorithm to confuse and no key to fetch.  The compact text is kept as received; its SHA-256 is the request digest.

What each caller has to do itself: `parse_invocation` and `parse_request` check form alone, `check_carried` and `check_fresh` check
what the payload says, and only `verify_signature` makes the payload the agent's word.  None of them knows whether the key belongs
to the agent: that the SVID says.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey
from pydantic import ValidationError
from weft.digest import sha256, unb64u
from weft.nkey import InvalidKey, decode_public

from schemas.envelope import CloudEvent
from schemas.invocation import MAX_REQUEST_BYTES, REQUEST_LIFE_S, REQUEST_TYP, REQUESTED, InvocationRequest, SignedRequest
from schemas.reasons import DenyReason
from schemas.token import SKEW_S
from streams.bus import Malformed, parse


class RequestRefused(Exception):
    """The request counts for nothing.  `detail` names the rule it breaks and never quotes it."""

    def __init__(self, reason: DenyReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class UnverifiedRequest:
    """A request of the right form.  Its claims are anybody's until `verify_signature` has returned."""

    claims: SignedRequest
    nkey: str  # whose signature it says it carries
    digest: str
    signing_input: bytes = field(repr=False)
    signature: bytes = field(repr=False)


def parse_invocation(body: bytes) -> CloudEvent[InvocationRequest]:
    """What an agent published.  Raises RequestRefused for its size, its form or its type."""
    if len(body) > MAX_REQUEST_BYTES:
        raise RequestRefused(DenyReason.TOO_LARGE, f"longer than {MAX_REQUEST_BYTES} bytes")
    try:
        event = parse(InvocationRequest, body)
    except Malformed as error:
        raise RequestRefused(DenyReason.MALFORMED, "the envelope is not of this form") from error
    if event.type != REQUESTED:
        raise RequestRefused(DenyReason.MALFORMED, f"the type is not {REQUESTED}")
    return event


def parse_request(compact: str, *, members_once: bool = True) -> UnverifiedRequest:
    """A compact JWS to header and payload, strictly.  Does NOT verify the signature.

    Without `members_once` a member that is named twice counts as its last: for a gateway, whose broker reads the payload again.
    """
    header, _, rest = compact.partition(".")
    payload, _, signature = rest.partition(".")
    nkey = _header_key(header)
    raw = _decode(payload)
    if members_once:
        _json_object(raw)
    try:
        claims = SignedRequest.model_validate_json(raw)
    except ValidationError:
        raise RequestRefused(DenyReason.MALFORMED, "the payload is not a signed request") from None
    return UnverifiedRequest(claims, nkey, sha256(compact), compact[: len(header) + 1 + len(payload)].encode(), _decode(signature))


def verify_signature(request: UnverifiedRequest, *, nkey: str) -> None:
    """The request was signed by this key, the one that the verified SVID is bound to."""
    if request.nkey != nkey:
        raise RequestRefused(DenyReason.SIGNATURE_INVALID, "kid is not the key of the SVID")
    try:
        _verify_key(nkey).verify(request.signing_input, request.signature)
    except (InvalidKey, BadSignatureError, ValueError):  # ValueError: not 64 bytes
        raise RequestRefused(DenyReason.SIGNATURE_INVALID, "the signature does not verify") from None


def check_carried(request: SignedRequest, carried: InvocationRequest) -> None:
    """What travels beside the signed payload is what the payload names, and nothing travels that it does not name."""
    for what, named, text, reason in (
        ("the parent token", request.parent, carried.parent_token, DenyReason.PARENT_INVALID),
        ("the user token", request.user, carried.user_token, DenyReason.USER_TOKEN_INVALID),
        ("the intent", request.intent, carried.intent, DenyReason.MALFORMED),
    ):
        if named != (None if text is None else sha256(text)):
            raise RequestRefused(reason, f"{what} is not the one that was signed for")


def check_fresh(request: SignedRequest, now: float) -> None:
    """Made within the last 30 s, and no further in the future than clocks differ."""
    if request.iat > now + SKEW_S:
        raise RequestRefused(DenyReason.REQUEST_STALE, f"made more than {SKEW_S} s in the future")
    if now - request.iat > REQUEST_LIFE_S:
        raise RequestRefused(DenyReason.REQUEST_STALE, f"made more than {REQUEST_LIFE_S} s ago")


@lru_cache(maxsize=16_384)
def _header_key(segment: str) -> str:
    """The key of a JOSE header.  Kept, because an agent's header is the same in each of its requests; it holds no secret."""
    header = _json_object(_decode(segment))
    kid = header.get("kid")
    if header != {"alg": "EdDSA", "typ": REQUEST_TYP, "kid": kid} or not isinstance(kid, str):
        raise RequestRefused(DenyReason.MALFORMED, "the JOSE header is not the one of a request")
    try:
        _verify_key(kid)
    except InvalidKey:
        raise RequestRefused(DenyReason.MALFORMED, "kid is not a public user nkey") from None
    return kid


@lru_cache(maxsize=16_384)
def _verify_key(nkey: str) -> VerifyKey:
    """Read once for each agent; raises InvalidKey."""
    return VerifyKey(decode_public(nkey, "U"))


def _decode(segment: str) -> bytes:
    try:
        return unb64u(segment)
    except ValueError:
        raise RequestRefused(DenyReason.MALFORMED, "a segment is not base64url") from None


def _json_object(raw: bytes) -> dict[str, Any]:
    """A JSON object whose members are named once each, however deep (RFC 7515 section 4 leaves the choice; we refuse)."""
    try:
        value = _DECODER.decode(raw.decode())
    except (ValueError, RecursionError):
        raise RequestRefused(DenyReason.MALFORMED, "not JSON, or a member is named twice") from None
    if not isinstance(value, dict):
        raise RequestRefused(DenyReason.MALFORMED, "not a JSON object")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member is named twice")
    return members


_DECODER = json.JSONDecoder(object_pairs_hook=_once)  # `json.loads` would make one for every call

"""Refusals of the OAuth face: an error code of the RFCs for the client, a reason of ours for the record."""

from __future__ import annotations

from schemas.oauth import Error
from schemas.reasons import DenyReason

BASIC = 'Basic realm="weft"'  # RFC 6749 section 5.2: the scheme that the client used, though it is not one of ours


class OAuthRefused(Exception):
    """`detail` says which rule, to the client too: it repeats nothing of the request and tells of nobody else."""

    def __init__(
        self,
        error: Error,
        detail: str,
        reason: DenyReason = DenyReason.MALFORMED,
        *,
        status: int = 400,
        challenge: str | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(detail)
        self.error: Error = error
        self.detail = detail
        self.reason = reason
        self.status = status
        self.challenge = challenge
        self.retry_after_s = retry_after_s


def not_authenticated(detail: str, challenge: str | None = None) -> OAuthRefused:
    """401 invalid_client.  The client hears one sentence, whatever failed: an unknown client and a wrong key look alike."""
    return OAuthRefused("invalid_client", detail, DenyReason.CLIENT_NOT_AUTHENTICATED, status=401, challenge=challenge)


def unavailable(reason: DenyReason) -> OAuthRefused:
    """503: nothing was decided against the client; it may try again."""
    return OAuthRefused("temporarily_unavailable", "try again", reason, status=503, retry_after_s=1)


NOT_GRANTED: tuple[Error, str] = ("invalid_target", "not granted for this target")  # an unknown target, or a forbidden one

_OF_REASON: dict[DenyReason, tuple[Error, str]] = {
    DenyReason.GRANT_NOT_ALLOWED: ("unauthorized_client", "this client may not use this grant"),
    DenyReason.SUBJECT_TYPE_NOT_ALLOWED: ("unauthorized_client", "this client may not use this type of subject token"),
    DenyReason.OUT_OF_BOUNDS: ("invalid_scope", "beyond what this client may have"),
    DenyReason.OUT_OF_CHARTER: ("invalid_scope", "beyond what this client may have"),
    DenyReason.OUT_OF_CEILING: ("invalid_scope", "beyond what this client may have"),
    DenyReason.OUT_OF_SUBJECT_SCOPE: ("invalid_scope", "beyond the scope of the subject token"),
    DenyReason.RESOURCE_NOT_ALLOWED: NOT_GRANTED,
    DenyReason.USER_LACKS_RIGHT: ("invalid_request", "the subject token is not accepted"),
    DenyReason.USER_NOT_DELEGATING: ("invalid_request", "the subject token is not accepted"),
    DenyReason.USER_TOKEN_INVALID: ("invalid_request", "the subject token is not accepted"),
    DenyReason.PARENT_EXPIRED: ("invalid_request", "the subject token has expired"),
    DenyReason.PARENT_INVALID: ("invalid_request", "the subject token is not accepted"),
    DenyReason.PARENT_NOT_ADDRESSED: ("invalid_request", "the subject token is neither addressed to this client nor its own"),
    DenyReason.PARENT_REVOKED: ("invalid_request", "the subject token is not accepted"),
    DenyReason.EVIDENCE_MISSING: ("invalid_request", "the evidence that the tool asks for is not shown"),
    DenyReason.EVIDENCE_INVALID: ("invalid_request", "the evidence is none"),
    DenyReason.CHAIN_TOO_DEEP: ("invalid_request", "the subject token may not be replaced any more"),
    DenyReason.ACTOR_NOT_ALLOWED: ("invalid_request", "not an actor for this subject token and this client"),
    DenyReason.DETAILS_NOT_ALLOWED: ("invalid_authorization_details", "beyond what this tool and this client know"),
}
_LATER = frozenset(
    (
        DenyReason.VIEW_STALE,
        DenyReason.VIEW_BEHIND,
        DenyReason.EVIDENCE_PENDING,
        DenyReason.STATUS_UNAVAILABLE,
        DenyReason.RECORD_UNAVAILABLE,
        DenyReason.DEADLINE_EXCEEDED,
        DenyReason.INTERNAL,
    )
)


def refusal_of(reason: DenyReason, *, tool: bool) -> OAuthRefused:
    """The error of a decision.  With a tool named, an unknown one and a forbidden one are the same answer, as on the bus."""
    if reason in _LATER:
        return unavailable(reason)
    error, detail = _OF_REASON.get(reason, ("unauthorized_client", "not granted"))
    if tool and error in ("unauthorized_client", "invalid_scope"):
        error, detail = NOT_GRANTED
    return OAuthRefused(error, detail, reason)

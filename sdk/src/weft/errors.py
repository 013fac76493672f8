"""What can go wrong, as types.  No message ever holds a token, a key or a payload.

WeftError
├── Malformed             bytes that are not what the contract says: their sender's fault
├── Refused               an enforcement point says no, with a GuardReason: the caller's fault, or nobody's
│   ├── TokenRefused      the same, said by the token's verifier
│   └── ProofRefused      the same, said of a proof of possession
├── InvalidRevocation     a message of the revocation stream that must not be applied
└── Unavailable           the fabric cannot be reached, or did not answer in time
"""

from __future__ import annotations

from enum import StrEnum


class GuardReason(StrEnum):
    """Why an enforcement point refused.  At once wire code, metric label and log field, so it is only ever added to."""

    MISSING = "token_missing"
    MALFORMED = "token_malformed"
    TOO_LARGE = "token_too_large"
    SIGNATURE = "token_signature"
    EXPIRED = "token_expired"
    NOT_YET = "token_not_yet"
    AUDIENCE = "token_audience"
    WRONG_TOOL = "wrong_tool"
    WRONG_ACTION = "wrong_action"
    WRONG_CALL = "wrong_call"
    NOT_BOUND = "token_not_bound"
    CHAIN_MISSING = "chain_missing"
    EVIDENCE_MISSING = "evidence_missing"
    EVIDENCE_MISMATCH = "evidence_mismatch"
    REVOKED = "token_revoked"
    VIEW_STALE = "view_stale"
    VIEW_BEHIND = "view_behind"
    REPLAYED = "token_replayed"
    CLAIM_UNAVAILABLE = "claim_unavailable"
    STATUS_UNKNOWN = "status_unknown"
    PROOF_MISSING = "proof_missing"
    PROOF_INVALID = "proof_invalid"
    SVID_INVALID = "svid_invalid"
    INTERNAL = "internal"


class WeftError(Exception):
    """The root of the tree."""


class Malformed(WeftError, ValueError):
    """The text says which rule of which format is broken."""


class Refused(WeftError):
    """An enforcement point refuses.  `detail` is for the tool's own log; the caller learns the reason alone."""

    def __init__(self, reason: GuardReason, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else str(reason))
        self.reason = reason
        self.detail = detail


class TokenRefused(Refused):
    """The token itself does not hold."""


class UnknownTokenKey(TokenRefused):
    """Its `kid` is not known: the guard's keys may be old."""

    def __init__(self) -> None:
        super().__init__(GuardReason.SIGNATURE, "an unknown key")


class ProofRefused(Refused):
    """The proof of possession does not hold, or is not for this token."""


class NonceRequired(ProofRefused):
    """It does, but for the nonce that the verifier gave out.  RFC 9449 section 8."""

    def __init__(self) -> None:
        super().__init__(GuardReason.PROOF_INVALID, "without the nonce that was given out")


class InvalidRevocation(WeftError):
    """The text says which check failed."""


class UnknownKey(InvalidRevocation):
    """Its `kid` is not known: it may be applied once the key is."""


class Unavailable(WeftError):
    """No connection, or no answer within the deadline."""

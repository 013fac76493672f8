"""Why something was refused.  A value is at once wire code, metric label and log field, so it is only ever added to.

`DenyReason` is for operators and the record.  An agent learns an `AgentCode`: a small closed set that tells nothing about other
parties; unknown and forbidden are one answer.
"""

from __future__ import annotations

from enum import StrEnum


class DenyReason(StrEnum):
    """The reason, in full."""

    MALFORMED = "malformed"
    TOO_LARGE = "too_large"
    RATE_LIMITED = "rate_limited"
    TOO_MANY_IN_FLIGHT = "too_many_in_flight"
    CALLER_UNKNOWN = "caller_unknown"  # the server named another account or user than the subject or SVID does
    SVID_INVALID = "svid_invalid"
    SVID_EXPIRED = "svid_expired"
    SVID_NOT_BOUND = "svid_not_bound"  # its audience names another key
    SIGNATURE_INVALID = "signature_invalid"
    REQUEST_STALE = "request_stale"  # older than 30 s, or from the future
    REQUEST_REUSED = "request_reused"  # the same id with another digest
    AGENT_UNKNOWN = "agent_unknown"
    AGENT_INACTIVE = "agent_inactive"
    TOOL_UNKNOWN = "tool_unknown"
    TOOL_INACTIVE = "tool_inactive"
    VIEW_STALE = "view_stale"
    VIEW_BEHIND = "view_behind"
    QUARANTINED = "quarantined"
    NARROWED = "narrowed"
    STEP_UP_REQUIRED = "step_up_required"
    APPROVAL_DENIED = "approval_denied"  # a person was asked, and said no
    APPROVAL_SPENT = "approval_spent"  # it let another request pass already
    NAMESPACE_UNKNOWN = "namespace_unknown"
    OUT_OF_BOUNDS = "out_of_bounds"
    OUT_OF_CHARTER = "out_of_charter"
    PURPOSE_NOT_ALLOWED = "purpose_not_allowed"
    ACTION_NOT_OFFERED = "action_not_offered"  # the tool has no such action
    NO_RELATION = "no_relation"
    POLICY_DENIED = "policy_denied"
    POLICY_ERROR = "policy_error"
    PARENT_INVALID = "parent_invalid"
    PARENT_NOT_ADDRESSED = "parent_not_addressed"
    PARENT_REVOKED = "parent_revoked"
    PARENT_EXPIRED = "parent_expired"
    OUT_OF_CEILING = "out_of_ceiling"
    CHAIN_TOO_DEEP = "chain_too_deep"
    USER_TOKEN_INVALID = "user_token_invalid"
    USER_NOT_DELEGATING = "user_not_delegating"
    USER_LACKS_RIGHT = "user_lacks_right"
    ENVIRONMENT_MISMATCH = "environment_mismatch"
    EVIDENCE_MISSING = "evidence_missing"
    EVIDENCE_PENDING = "evidence_pending"
    EVIDENCE_INVALID = "evidence_invalid"
    CHAIN_MISSING = "chain_missing"  # the tool's record wants someone to have acted before
    DETAILS_NOT_ALLOWED = "details_not_allowed"  # authorization_details, RFC 9396 section 5
    AUTHSERVER_REFUSED = "authserver_refused"  # an authorization server that is not ours, or its fact, says no
    AUTHSERVER_UNAVAILABLE = "authserver_unavailable"
    TOKEN_UNCONTAINED = "token_uncontained"  # its token outlives the tool's limit, or could not be taken back
    DECISION_MISMATCH = "decision_mismatch"  # the gateway's word and the broker's view differ
    RECORD_UNAVAILABLE = "record_unavailable"
    BROKER_UNAVAILABLE = "broker_unavailable"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    REVOKED = "revoked"
    NOT_AUTHORIZED = "not_authorized"  # an operator without the role
    CONFLICT = "conflict"  # the expected revision is not the current one
    INVALID_CHANGE = "invalid_change"
    TRANSMITTER_UNKNOWN = "transmitter_unknown"
    TRANSMITTER_UNAVAILABLE = "transmitter_unavailable"  # its keys could not be fetched
    SET_INVALID = "set_invalid"
    ALREADY_CLAIMED = "already_claimed"
    STATUS_UNAVAILABLE = "status_unavailable"  # no entry of a status list could be given
    TOOL_UNCONTAINED = "tool_uncontained"  # a point of it has not applied a revocation in time
    CLIENT_UNKNOWN = "client_unknown"  # no active OAuth client, or its authentication does not hold
    CLIENT_NOT_AUTHENTICATED = "client_not_authenticated"
    GRANT_NOT_ALLOWED = "grant_not_allowed"
    SUBJECT_TYPE_NOT_ALLOWED = "subject_type_not_allowed"  # the client has no ceiling for this type of subject token
    SUBJECT_TOKEN_INVALID = "subject_token_invalid"
    OUT_OF_SUBJECT_SCOPE = "out_of_subject_scope"  # more than the subject token's own scope
    RESOURCE_NOT_ALLOWED = "resource_not_allowed"
    ACTOR_TOKEN_INVALID = "actor_token_invalid"
    ACTOR_NOT_ALLOWED = "actor_not_allowed"  # the client may not bring this actor, or the subject token names another (`may_act`)
    PROOF_INVALID = "proof_invalid"  # DPoP, RFC 9449
    NOT_FOUND = "not_found"
    INTERNAL = "internal"


class GuardReason(StrEnum):
    """Why an enforcement point refused a token.  The same names as `weft.guard.GuardReason` in the SDK (a contract test holds them)."""

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
    PROOF_MISSING = "proof_missing"  # the tool's record asks for a proof of possession
    PROOF_INVALID = "proof_invalid"
    SVID_INVALID = "svid_invalid"  # of a tool that takes the caller's own JWT-SVID
    INTERNAL = "internal"


class AgentCode(StrEnum):
    """All that an agent may learn about a refusal."""

    DENIED = "denied"
    STEP_UP = "step_up"
    EVIDENCE = "evidence"
    EVIDENCE_PENDING = "evidence_pending"
    RATE_LIMITED = "rate_limited"
    MALFORMED = "malformed"
    STALE = "stale"
    UNAVAILABLE = "unavailable"


_TOLD: dict[DenyReason, AgentCode] = {
    DenyReason.MALFORMED: AgentCode.MALFORMED,
    DenyReason.TOO_LARGE: AgentCode.MALFORMED,
    DenyReason.RATE_LIMITED: AgentCode.RATE_LIMITED,
    DenyReason.TOO_MANY_IN_FLIGHT: AgentCode.RATE_LIMITED,
    DenyReason.REQUEST_STALE: AgentCode.STALE,
    DenyReason.SVID_EXPIRED: AgentCode.STALE,
    DenyReason.STEP_UP_REQUIRED: AgentCode.STEP_UP,
    DenyReason.EVIDENCE_MISSING: AgentCode.EVIDENCE,
    DenyReason.EVIDENCE_INVALID: AgentCode.EVIDENCE,
    DenyReason.EVIDENCE_PENDING: AgentCode.EVIDENCE_PENDING,
    DenyReason.VIEW_STALE: AgentCode.UNAVAILABLE,
    DenyReason.VIEW_BEHIND: AgentCode.UNAVAILABLE,
    DenyReason.RECORD_UNAVAILABLE: AgentCode.UNAVAILABLE,
    DenyReason.BROKER_UNAVAILABLE: AgentCode.UNAVAILABLE,
    DenyReason.AUTHSERVER_UNAVAILABLE: AgentCode.UNAVAILABLE,
    DenyReason.DEADLINE_EXCEEDED: AgentCode.UNAVAILABLE,
    DenyReason.STATUS_UNAVAILABLE: AgentCode.UNAVAILABLE,
    DenyReason.TOOL_UNCONTAINED: AgentCode.UNAVAILABLE,
    DenyReason.INTERNAL: AgentCode.UNAVAILABLE,
}


def told(reason: DenyReason) -> AgentCode:
    """What the agent hears of this reason: `denied` unless listed."""
    return _TOLD.get(reason, AgentCode.DENIED)

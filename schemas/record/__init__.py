"""What RECORD holds: one CloudEvent per thing that happened, on `weft.record.<worker>.<what>.<who>`.

No subject holds a txn, jti or request id; no event holds a token.  Types are `org.weft.record.<what>.v1`.
One module per family; everybody imports from here.
"""

from __future__ import annotations

from schemas.base import Wire
from schemas.record.calls import DENIED, ISSUED, LIMITED, OBTAINED, RELEASED, USED, Denied, Issued, Limited, Obtained, Released, Used
from schemas.record.changes import APPLIED, APPROVED, CUSTODY, DOCUMENT, Applied, Approved, Custody, MetadataDocument
from schemas.record.connections import ADMITTED, CUT, NOT_ADMITTED, Admitted, Cut, NotAdmitted
from schemas.record.exchanges import (
    EXCHANGED,
    MAX_ADDRESSES,
    NOT_AUTHENTICATED,
    NOT_EXCHANGED,
    Exchanged,
    NotAuthenticated,
    NotExchanged,
)
from schemas.record.health import CANARY, Canary
from schemas.record.revocations import (
    CANARY_ISSUED,
    COMPLETED,
    DRILLED,
    REVOKED,
    UNCONTAINED,
    CanaryIssued,
    Completed,
    Drilled,
    PointOutcome,
    Revoked,
    Uncontained,
)
from schemas.record.signals import RECEIPTED, RESPONDED, SIGNALLED, TRANSMITTED, Receipted, Responded, Signalled, Transmitted

WORKERS: dict[str, tuple[str, ...]] = {  # who says what; `point`: what `revocation` heard a point say.  Any worker: CANARY
    **dict.fromkeys((ADMITTED, NOT_ADMITTED, CUT), ("admission",)),
    **dict.fromkeys((APPLIED, APPROVED, DOCUMENT), ("registry",)),
    LIMITED: ("gateway",),
    DENIED: ("gateway", "broker"),
    **dict.fromkeys((ISSUED, EXCHANGED, NOT_EXCHANGED, NOT_AUTHENTICATED, CUSTODY, RELEASED, OBTAINED, CANARY_ISSUED), ("broker",)),
    USED: ("point",),
    **dict.fromkeys((REVOKED, COMPLETED, UNCONTAINED, DRILLED), ("revocation",)),
    **dict.fromkeys((SIGNALLED, RESPONDED, TRANSMITTED, RECEIPTED), ("signals",)),
}


def is_own(subject: str, type_: str) -> bool:
    """Whether the worker whose subject it stands on, which the server saw to, is one that says this; what we do not know anybody may."""
    workers = WORKERS.get(type_)
    return workers is None or subject.split(".", 3)[2:3] in [[worker] for worker in workers]


BY_TYPE: dict[str, type[Wire]] = {
    ISSUED: Issued,
    DENIED: Denied,
    LIMITED: Limited,
    USED: Used,
    ADMITTED: Admitted,
    NOT_ADMITTED: NotAdmitted,
    CUT: Cut,
    APPLIED: Applied,
    SIGNALLED: Signalled,
    RESPONDED: Responded,
    TRANSMITTED: Transmitted,
    RECEIPTED: Receipted,
    APPROVED: Approved,
    REVOKED: Revoked,
    COMPLETED: Completed,
    UNCONTAINED: Uncontained,
    EXCHANGED: Exchanged,
    NOT_EXCHANGED: NotExchanged,
    NOT_AUTHENTICATED: NotAuthenticated,
    DOCUMENT: MetadataDocument,
    CUSTODY: Custody,
    RELEASED: Released,
    CANARY_ISSUED: CanaryIssued,
    DRILLED: Drilled,
    OBTAINED: Obtained,
    CANARY: Canary,
}

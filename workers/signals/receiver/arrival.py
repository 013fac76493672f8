"""What is checked of a SET because of the stream it came on.  Pure.  RFC 8935 section 2, SSF 1.0 section 8.1.4.

Before it is verified: a push for a subscription has to bear what we asked the transmitter to send.  After: its issuer is the
subscription's, and a verification event names a stream of ours with the state that we asked for, or none where nobody asked.
"""

from __future__ import annotations

from collections.abc import Collection

from schemas.events.ssf import Verification
from schemas.facts import Subscription
from schemas.points import SetDelivery
from schemas.subject_ids import OpaqueSubject
from workers.signals.receiver.secrets import Secrets
from workers.signals.verify import SETRefused, VerifiedSET


def check_push(delivered: SetDelivery, subscription: Subscription | None, secrets: Secrets) -> None:
    """Raises SETRefused; an unknown subscription is answered like a wrong secret."""
    known = subscription is not None and subscription.state == "active" and subscription.delivery == "push"
    if not known or not secrets.is_push_authorization(delivered.subscription or "", delivered.authorization):
        raise SETRefused("authentication_failed", "the Authorization header is not that of the stream")


def check_stream(verified: VerifiedSET, subscription: Subscription | None, streams: Collection[str], secrets: Secrets, now: float) -> None:
    """`streams`: ids of ours at that transmitter, as far as this copy knows.  Raises SETRefused."""
    iss = verified.claims.iss
    if subscription is not None and subscription.iss != iss:
        raise SETRefused("invalid_issuer", "another transmitter's stream")
    if verified.event != Verification.URI:
        return
    about = verified.claims.sub_id
    if not isinstance(about, OpaqueSubject) or (streams and about.id not in streams):
        raise SETRefused("invalid_request", "the verification is of another stream", iss)
    state = verified.payload.get("state")
    if state is not None and (not isinstance(state, str) or not secrets.is_state(about.id, state, now)):
        raise SETRefused("invalid_state", "not the state that was asked for", iss)

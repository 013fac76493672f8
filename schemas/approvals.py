"""Between workers: a gateway has a person asked, a broker spends what the person gave.  Both are the registry's to write.

No agent, point or operator reaches these subjects; what a person answers is `schemas.commands.Approve`.
"""

from __future__ import annotations

from schemas.base import Code, Digest, FreeText, InstanceID, Name, Opaque, Seconds, SpiffeIDText, Wire
from schemas.invocation import Arguments, CallParts
from schemas.token import AuthorizationDetail

ASK = "org.weft.approval.asked.for.v1"
SHOW = "org.weft.approval.shown.v1"
SPEND = "org.weft.approval.spend.v1"
HELD = "org.weft.approval.held.v1"  # answers all three


class Ask(Wire):
    """A request that would pass if a person let it.  The registry computes the digest itself."""

    agent: SpiffeIDText
    instance: InstanceID
    user: str | None = None
    tool: Name
    actions: tuple[Code, ...]
    purpose: Code
    call: CallParts
    authorization_details: tuple[AuthorizationDetail, ...] | None = None
    intent: FreeText | None = None
    explanation: str
    caller: str  # the connection's name as the server attested it to the gateway


class Show(Wire):
    """What the agent wants the person to see: the registry compares it with the digests of the call."""

    agent: SpiffeIDText
    id: Opaque
    arguments: Arguments


class Spend(Wire):
    """Before anything is minted for it.  The same request may spend it again, no other ever."""

    agent: SpiffeIDText
    id: Opaque
    digest: Digest  # what is asked
    request: Digest  # the signed request


class Held(Wire):
    """The approval as it stands now."""

    id: Opaque
    state: str
    expires_at: Seconds

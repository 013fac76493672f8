"""What enforcement points ask and say: claims and uses.  The server attests who speaks; a point's word counts for the tools it serves.

A claim is a create-if-absent on CLAIMS: the first publish under the digest of tool and jti wins, in whichever copy of this worker, and
its message lives as long as the token could be shown.  A report is on RECORD before it is answered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol
from uuid import uuid4

from nats.aio.client import Client
from weft.digest import sha256
from weft.spiffeid import InvalidSpiffeID

from schemas.base import Opaque, Wire
from schemas.facts import Tool
from schemas.points import CLAIM, Claim, Claimed, Use, UseRecorded
from schemas.reasons import DenyReason
from schemas.record import Used
from schemas.token import MAX_TTL_S, SKEW_S
from streams.bus import Malformed, PublishConflict, Publisher, PublishFailed, event, parse
from streams.subjects import CLAIMED, parse_connection_name
from workers.common import directget
from workers.common.clock import Clock
from workers.common.recorder import RecordUnavailable
from workers.common.rpc import Refused
from workers.revocation.recording import SOURCE, Recording

STREAM = "CLAIMS"
CLAIM_DEADLINE_S = 2.0  # the guard refuses the call when it hears nothing


class Claimant(Wire):
    """What CLAIMS holds: who came first, and with which attempt."""

    point: str
    id: Opaque


class Claims(Protocol):
    """CLAIMS."""

    async def create(self, digest: str, claimant: Claimant, ttl_s: int) -> bool:
        """Whether this claimant is the first, or the first one again, repeating its attempt.  Raises Refused."""
        ...


class NATSClaims:
    """`Claims` on the bus."""

    def __init__(self, nc: Client, publisher: Publisher) -> None:
        self._nc = nc
        self._publisher = publisher

    async def create(self, digest: str, claimant: Claimant, ttl_s: int) -> bool:
        """One publish, expecting that nobody was there; where somebody was, it may have been this very attempt."""
        subject = CLAIMED.at(digest)
        id_ = f"revocation:claim:{digest}:{sha256(claimant.wire())}"
        try:
            await self._publisher.publish(
                STREAM,
                subject,
                event(CLAIM, claimant, source=SOURCE, id=id_),
                msg_id=id_,
                expected_last_subject_seq=0,
                ttl_s=ttl_s,
                deadline_s=CLAIM_DEADLINE_S,
            )
        except PublishConflict:
            return await self._was(subject, claimant)
        except PublishFailed as error:
            raise Refused(DenyReason.RECORD_UNAVAILABLE, "CLAIMS did not acknowledge") from error
        return True

    async def _was(self, subject: str, claimant: Claimant) -> bool:
        try:
            found = await directget.last(self._nc, STREAM, subject)
            return found is not None and parse(Claimant, found.body).data == claimant
        except (directget.Unavailable, Malformed):
            return False


class Points:
    """The two questions of a guard, once the server has attested its name."""

    def __init__(self, tool: Callable[[str], Tool | None], claims: Claims, recording: Recording, clock: Clock) -> None:
        self._tool = tool
        self._claims = claims
        self._recording = recording
        self._clock = clock

    async def claim(self, point: str, claim: Claim) -> Claimed:
        """Whether this use of a single-use token is the first in the world.  Raises Refused."""
        self._check_serves(point, claim.tool)
        left = claim.exp + SKEW_S - int(self._clock.now())
        if not 0 < left <= MAX_TTL_S + 2 * SKEW_S:
            raise Refused(DenyReason.INVALID_CHANGE, "no live token ends then")
        digest = sha256(f"{claim.tool}\0{claim.jti}")
        return Claimed(first=await self._claims.create(digest, Claimant(point=point, id=claim.id or uuid4().hex), left))

    async def use(self, point: str, use: Use, report_id: str) -> UseRecorded:
        """Put it on RECORD under the attested name.  Raises Refused."""
        self._check_serves(point, use.tool)
        used = Used(point=point, **{name: getattr(use, name) for name in Use.model_fields})
        try:
            return UseRecorded(seq=await self._recording.used(used, report_id))
        except RecordUnavailable as error:
            raise Refused(DenyReason.RECORD_UNAVAILABLE, "RECORD did not acknowledge") from error

    def _check_serves(self, point: str, name: str) -> None:
        """A point speaks for tools whose guard it is, and for no other."""
        tool = self._tool(name)
        try:
            _, workload = parse_connection_name(point)
        except InvalidSpiffeID:
            raise Refused(DenyReason.CALLER_UNKNOWN, "not the name of a point") from None
        if tool is None or tool.workload != str(workload):
            raise Refused(DenyReason.NOT_AUTHORIZED, "the point does not serve this tool")

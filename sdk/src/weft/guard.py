"""The guard: verifies in process, before a tool acts, that the call it is about to serve is the one a token allows.

1. Form and size of the token.
2. Its signature, `typ`, `alg`, by a key of the fabric.
3. Its issuer and times.
4. Its audience, in the form that the tool's record asks for.
5. This tool, these actions.
6. The digest of what is about to be served: at least the parts that the tool's record binds.
7. The key it is bound to, where the caller had to prove one: a DPoP proof (RFC 9449) for this request and this token.
8. The chain of who acted before, and the evidence, that the tool's record requires.
9. The revocation view: fresh within the tool's budget, not behind the token, and without an entry that hits it.
10. Single use of a token, or else of a proof: claimed before the tool acts, first in the world.  Then 9 again: the claim took time.

The first refusal ends it.  There is no await between the last look at the view and the return, and a call that is revoked while it runs
has its `cancelled` event set before the entry is acknowledged.  Without a connection the view grows old and the guard refuses by
itself; it recovers by itself as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
import uuid
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from nats.aio.client import Client
from nats.aio.msg import Msg

from weft.claims import VerifiedToken
from weft.connection import Connection
from weft.digest import sha256
from weft.dpop import VerifiedProof
from weft.drills import Drills
from weft.enforcement import Asked, check_call, check_caller, check_proof, check_view
from weft.errors import GuardReason, Refused, Unavailable, UnknownTokenKey
from weft.follower import RevocationFollower
from weft.point import Point
from weft.records import Attachment, Tool
from weft.reports import Reports
from weft.revocation import RevocationView
from weft.token import TokenVerifier
from weft.verified import Outcome, Verified, use_of

__all__ = ["Asked", "Guard", "GuardReason", "Outcome", "Refused", "Verified"]

START_DEADLINE_S = 30.0
BEHIND_WAIT_S = 0.2
ATTACH_EVERY_S = 0.5  # at most; also the pause after an attempt that failed
ATTACH_AT_LEAST_S = 60.0
NEW_KEY_WAIT_S = 1.0  # for the attach that may bring the key of a token that is signed by none we know
MAX_WAITING_FOR_KEYS = 64  # calls; garbage with unknown keys costs the others nothing beyond that
MAX_REFUSED = 4096  # remembered, so that who insists fills no stream
PUSH_TOOL = "weft.push.tool"
PUSH_DRILL = "weft.push.drill"
Level = Literal["low", "medium", "high"]
ALARMING: dict[GuardReason, Level] = {  # what no honest caller does: the guard signals it by itself
    GuardReason.WRONG_TOOL: "medium",
    GuardReason.REPLAYED: "medium",
    GuardReason.NOT_BOUND: "medium",
}
logger = logging.getLogger("weft.guard")


class Guard:
    """One enforcement point, for the named tools of this workload; with None for all that the fabric knows of it.

    `start` before use, `stop` at the end.
    """

    def __init__(self, connection: Connection, tools: Sequence[str] | None, *, clock: Callable[[], float] = time.time) -> None:
        self._connection = connection
        self._names = None if tools is None else list(tools)
        self._clock = clock
        self._point = Point(connection)
        self._reports = Reports(self._point.use)
        self._signals = Reports(self._point.signal)
        self._attachment: Attachment | None = None
        self._verifier: TokenVerifier | None = None
        self._follower: RevocationFollower | None = None
        self._attach_due = asyncio.Event()
        self._attached = asyncio.Event()  # of the attach that comes next
        self._waiting_for_keys = 0
        self._attacher: asyncio.Task[None] | None = None
        self._refused: dict[tuple[str, GuardReason], None] = {}
        self._running: weakref.WeakSet[Verified] = weakref.WeakSet()
        self._drills = Drills(self._verify, self._seen_by, clock, self._point.verdict)
        self._judging: set[asyncio.Task[None]] = set()

    # --- life -----------------------------------------------------------------------------------------------------------------

    async def start(self, deadline_s: float = START_DEADLINE_S) -> None:
        """Attach and load the revocations; returns once the view is current.  Raises Unavailable."""
        try:
            async with asyncio.timeout(deadline_s):
                await self._start()
        except TimeoutError:
            await self.stop()
            raise Unavailable("the guard did not become current within the deadline") from None
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        self._reports.start()
        self._signals.start()
        await self._connection.subscribe(f"{PUSH_TOOL}.>", self._on_tool_changed)
        await self._connection.subscribe(f"{PUSH_DRILL}.>", self._on_drill)
        await self._attach()
        self._attacher = asyncio.create_task(self._keep_attached(), name="weft attach")
        self._follower = RevocationFollower(
            self._connection.nc,
            self._revocation_key,
            on_entry=self._stop_revoked,
            on_unknown_key=self._attach_due.set,
            send_ack=self._point.ack,
            snapshot=self._point.snapshot,
        )
        await self._follower.start()
        self._connection.on_rebuilt(self._on_rebuilt)
        self._connection.on_reconnected(self._on_reconnected)

    async def stop(self) -> None:
        """End everything that the guard owns; from then on it refuses.  The connection is its owner's to close."""
        follower, self._follower = self._follower, None
        if self._attacher is not None:
            self._attacher.cancel()
            await asyncio.gather(self._attacher, return_exceptions=True)
            self._attacher = None
        if follower is not None:
            await follower.stop()
        for task in self._judging:
            task.cancel()
        await asyncio.gather(*self._judging, return_exceptions=True)
        await self._reports.stop()
        await self._signals.stop()

    def ready(self) -> bool:
        """Whether the view is within the strictest budget of the tools attached."""
        if self._follower is None or self._attachment is None:
            return False
        budgets = [tool.staleness_s for tool in self._attachment.tools.values()]
        return bool(budgets) and self.view_age() <= min(budgets)

    def view_age(self) -> float:
        """Seconds since the revocation view was last seen to be whole; infinite without one."""
        return math.inf if self._follower is None else self._follower.view.age(self._clock())

    @property
    def tools(self) -> Mapping[str, Tool]:
        """The tools attached, by name."""
        return {} if self._attachment is None else self._attachment.tools

    # --- the check ------------------------------------------------------------------------------------------------------------

    async def check(self, unverified: str | None, asked: Asked) -> Verified:
        """All steps; raises Refused.  Whoever serves the call reports it."""
        if unverified is None:
            raise Refused(GuardReason.MISSING)
        token = await self._verified(unverified)  # 1 to 3, and that the audience is one of ours
        try:
            return await self._check(token, asked)
        except Refused as refused:
            self._report_refusal(token, asked, refused.reason)
            raise
        except Exception as error:  # noqa: BLE001 - whatever it was, nothing falls through to yes
            logger.error("check_failed", extra={"error": type(error).__name__})  # noqa: TRY400 - a traceback shows values
            self._report_refusal(token, asked, GuardReason.INTERNAL)
            raise Refused(GuardReason.INTERNAL) from None

    async def _verified(self, unverified: str) -> VerifiedToken:
        """A key that is not known may be new: the fabric is asked again, for a moment, on behalf of a few at a time."""
        until = time.monotonic() + NEW_KEY_WAIT_S
        while True:
            try:
                return self._verify(unverified)
            except UnknownTokenKey:
                if not await self._attached_again(until):
                    raise

    async def _attached_again(self, until: float) -> bool:
        """Whether another attach was answered before then."""
        if self._waiting_for_keys >= MAX_WAITING_FOR_KEYS or self._follower is None:
            return False
        self._waiting_for_keys += 1
        try:
            async with asyncio.timeout(until - time.monotonic()):
                await self._attached.wait()
        except TimeoutError:
            return False
        finally:
            self._waiting_for_keys -= 1
        return True

    def _verify(self, unverified: str) -> VerifiedToken:
        if self._verifier is None:
            raise Refused(GuardReason.VIEW_STALE, "not attached")
        try:
            return self._verifier.verify(unverified, self._clock())
        except UnknownTokenKey:
            self._attach_due.set()
            raise

    async def _check(self, token: VerifiedToken, asked: Asked) -> Verified:
        tool = self._tool(asked.tool)
        now = self._clock()
        about = check_call(token, asked, tool, now)  # 4 to 8
        proof = check_proof(token, asked, tool, now)  # 7
        check_caller(token, asked, tool, self._attachment.svid_keys if self._attachment is not None else {}, now)
        await self._check_view(token, tool)  # 9
        once = _once(token, tool, proof)
        if once is not None:
            await self._claim(tool, *once)  # 10
            await self._check_view(token, tool)
        verified = Verified(token, tool.name, asked.actions, about)
        self._running.add(verified)
        return verified

    def _tool(self, name: str) -> Tool:
        tool = self._attachment.tools.get(name) if self._attachment is not None else None
        if tool is None:
            raise Refused(GuardReason.WRONG_TOOL, "the fabric knows no such tool of this workload")
        return tool

    async def _check_view(self, token: VerifiedToken, tool: Tool) -> None:
        """Ends without an await after the view was looked at."""
        follower = self._follower
        if follower is None:
            raise Refused(GuardReason.VIEW_STALE, "not started")
        view = follower.view
        if view.behind(token):
            await follower.wait_for(max(view.announced, token.rev), BEHIND_WAIT_S)
        check_view(token, tool, view, self._clock())

    async def _claim(self, tool: Tool, what: str, exp: int) -> None:
        try:
            first = await self._point.claim(tool.name, what, exp)
        except Unavailable as error:
            raise Refused(GuardReason.CLAIM_UNAVAILABLE, str(error)) from None
        if not first:
            raise Refused(GuardReason.REPLAYED, "claimed before")

    # --- what the tool says -----------------------------------------------------------------------------------------------

    async def report(self, verified: Verified, outcome: Outcome, *, reason: GuardReason | None = None) -> int | None:
        """What became of the call, before the tool answers.  The RECORD sequence, or None where the fabric could not be told in time.

        Then it is told later, and what wants this step as evidence is refused until it is.
        """
        data = use_of(verified.token, verified.tool, verified.actions, self._clock(), outcome=outcome, object=verified.object)
        if reason is not None:  # it was accepted, and something ended it
            data["reason"] = str(reason)
        report_id = uuid.uuid4().hex
        try:
            return await self._point.use(data, report_id)
        except Unavailable as error:
            logger.warning("report_delayed", extra={"detail": str(error)})
            self._reports.put(data, report_id)
            return None

    async def signal(self, verified: Verified, level: Level, what: str) -> None:
        """The tool's own doubt about this caller, to the fabric, with the token as proof of who that is; raises Unavailable."""
        await self._point.signal(_doubt(verified.token, verified.tool, level, what))

    def _report_refusal(self, token: VerifiedToken, asked: Asked, reason: GuardReason) -> None:
        """Of a token that verified; the claims of one that did not are nobody's word.  Once per token and reason."""
        key = (token.jti, reason)
        if self._attachment is not None and asked.tool in self._attachment.tools and key not in self._refused:
            self._refused[key] = None
            if len(self._refused) > MAX_REFUSED:
                del self._refused[next(iter(self._refused))]
            self._reports.put(use_of(token, asked.tool, asked.actions, self._clock(), reason=reason), uuid.uuid4().hex)
            if reason in ALARMING:
                self._signals.put(_doubt(token, asked.tool, ALARMING[reason], f"refused: {reason}"), uuid.uuid4().hex)

    # --- what changes -------------------------------------------------------------------------------------------------------

    def _stop_revoked(self) -> None:
        follower = self._follower
        for verified in list(self._running) if follower is not None else ():
            if follower is not None and follower.view.revoked(verified.token) is not None:
                verified.cancelled.set()
        if self._drills.armed:
            task = asyncio.create_task(self._drills.applied(), name="weft drill")
            self._judging.add(task)
            task.add_done_callback(self._judging.discard)

    def _seen_by(self, name: str) -> tuple[Tool, RevocationView]:
        """What a check of that tool looks at; raises Refused."""
        if self._follower is None:
            raise Refused(GuardReason.VIEW_STALE, "not started")
        return self._tool(name), self._follower.view

    async def _on_drill(self, msg: Msg) -> None:
        if self._serves(msg.subject):
            await self._drills.shown(msg.data)

    def _serves(self, subject: str) -> bool:
        """The subject names one of our tools, by the digest of its name."""
        return self._names is None or subject.rpartition(".")[2] in {sha256(name) for name in self._names}

    def _revocation_key(self, kid: str) -> bytes | None:
        return self._attachment.revocation_keys.get(kid) if self._attachment is not None else None

    async def _attach(self) -> None:
        while True:
            try:
                attachment = await self._point.attach(self._names)
            except Unavailable as error:
                logger.warning("attach_failed", extra={"detail": str(error)})
                await asyncio.sleep(ATTACH_EVERY_S)
            else:
                break
        self._attachment = attachment
        self._verifier = TokenVerifier(
            attachment.token_keys, issuer=attachment.issuer, audiences=attachment.audiences, typs=attachment.typs
        )
        attached, self._attached = self._attached, asyncio.Event()
        attached.set()
        if self._follower is not None:
            self._follower.catch_up()  # what waited for a key

    async def _keep_attached(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):  # keys come and go by the clock
                async with asyncio.timeout(ATTACH_AT_LEAST_S):
                    await self._attach_due.wait()
            self._attach_due.clear()
            await self._attach()
            await asyncio.sleep(ATTACH_EVERY_S)  # garbage with unknown keys may ask for it at any rate

    async def _on_tool_changed(self, msg: Msg) -> None:
        if self._serves(msg.subject):
            self._attach_due.set()

    async def _on_rebuilt(self, nc: Client) -> None:
        if self._follower is not None:
            await self._follower.attach(nc)
        self._attach_due.set()

    def _on_reconnected(self) -> None:
        if self._follower is not None:
            self._follower.catch_up()
        self._attach_due.set()


def _once(token: VerifiedToken, tool: Tool, proof: VerifiedProof | None) -> tuple[str, int] | None:
    """What may happen once, and until when.  A proof is of one token, so that where the token is claimed its proof is with it."""
    if tool.single_use or token.call.single_use:
        return token.jti, token.exp
    return None if proof is None else (f"dpop:{proof.claim}", proof.exp)


def _doubt(token: VerifiedToken, tool: str, level: Level, what: str) -> dict[str, Any]:
    """Plain data of `PointSignal`."""
    return {"tool": tool, "token": token.raw, "level": level, "what": what[:512]}

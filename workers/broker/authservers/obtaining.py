"""A token of another server, for one call.  Intent on RECORD, then the request, then its result on RECORD, and only then the token.

1. The server's fact still allows it.  2. An agent gets none that could not be taken back.  3. One that was kept for the very same agent and
person serves as well.  4. The intent.  5. The request.  6. An agent gets none that outlives the tool's limit.  7. Nothing that the call
rests on was revoked meanwhile.  8. The result.

What a revocation hits is taken back where it was issued, as long as it lives; a broker that stops takes back everything it obtained.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Literal, Protocol
from uuid import uuid4

from weft.claims import VerifiedToken
from weft.digest import sha256

from schemas.authservers import Obtain
from schemas.facts import AuthorizationServer, Tool
from schemas.reasons import DenyReason
from schemas.record import OBTAINED
from schemas.record import Obtained as ObtainedRecord
from streams.bus import event
from streams.facts_table import FactsTable
from streams.subjects import RECORD
from workers.broker.authservers.answers import AnswerRefused, Obtained
from workers.broker.authservers.asking import Asker, Unreachable
from workers.broker.authservers.assertions import Parties
from workers.broker.authservers.held import Held, Holding, Revocations, Whose
from workers.broker.authservers.ports import NoWay
from workers.common.clock import Clock
from workers.common.decision.patterns import matches
from workers.common.recorder import RecordUnavailable
from workers.common.requests import RequestRefused
from workers.common.shown import may_be_shown

SOURCE = "/weft/broker"
AGAIN_S = (0.2, 5.0)  # between two tries to take a token back: the first, and the longest
STOP_S = 3.0  # for all that is left when the broker stops

State = Literal["asked", "got", "refused", "unknown", "revoked", "not_revoked"]


class Record(Protocol):
    """RECORD, to write."""

    async def record(self, subject: str, body: bytes, msg_id: str) -> int:
        """Commit one event; its sequence.  Raises RecordUnavailable."""


class Elsewhere:
    """Obtains, keeps, takes back."""

    def __init__(
        self,
        *,
        facts: Callable[[], FactsTable],
        revocations: Revocations,
        asker: Asker,
        record: Record,
        clock: Clock,
        spawn: Callable[..., Any],
    ) -> None:
        self._facts = facts
        self._revocations = revocations
        self._asker = asker
        self._record = record
        self._clock = clock
        self._spawn = spawn
        self._holding = Holding()

    def __len__(self) -> int:
        return len(self._holding)

    async def for_agent(self, tool_name: str, call: VerifiedToken) -> Held:
        """A token that the agent is handed.  Raises RequestRefused, RecordUnavailable."""
        return await self._obtain(tool_name, call, to_agent=True)

    async def for_egress(self, tool_name: str, call: VerifiedToken) -> Held:
        """A token that the egress shows the tool, and the agent never sees: it may outlive the tool's limit, and is kept no longer.

        Raises RequestRefused, RecordUnavailable.
        """
        return await self._obtain(tool_name, call, to_agent=False)

    async def _obtain(self, tool_name: str, call: VerifiedToken, *, to_agent: bool) -> Held:
        tool, wanted, server = self._allowed(tool_name)  # 1
        if to_agent:
            await self._can_be_taken_back(server)  # 2
        whose = _whose(tool, wanted, server, call)
        kept = self._holding.take(whose, call, self._clock.now())  # 3
        if kept is not None:
            return kept
        seq = await self._say("asked", whose, call)  # 4
        obtained = await self._ask(server, tool, whose, call, seq)  # 5
        held = self._held(whose, server, tool, call, obtained)
        if to_agent and (obtained.life_s is None or obtained.life_s > tool.max_ttl_s):  # 6
            await self._refuse(held, call, DenyReason.TOKEN_UNCONTAINED, "outlives the tool's limit, or does not say when it ends")
        if self._revocations.revoked(call) is not None:  # 7
            await self._refuse(held, call, DenyReason.REVOKED, "revoked while it was obtained")
        for old in self._holding.put(held):  # before the next wait, so that a revocation finds it
            self._spawn(self._take_back(old, old.calls[0]), name="take back")
        try:
            await self._say("got", whose, call, held=held)  # 8
        except BaseException:  # whatever it was, the token is not on record and may not live
            self._spawn(self._take_back(held, call), name="take back")
            raise
        return held

    def _allowed(self, tool_name: str) -> tuple[Tool, Obtain, AuthorizationServer]:
        """The registry holds records to this; facts may have changed since."""
        facts = self._facts()
        tool = facts.tool(tool_name)
        wanted = tool.obtain if tool is not None else None
        server = facts.authorization_server(wanted.server) if wanted is not None else None
        if tool is None or wanted is None or server is None or server.state != "active":
            raise RequestRefused(DenyReason.AUTHSERVER_REFUSED, "the tool's record, or its server, no longer says so")
        scopes = all(matches(server.scopes, scope) for scope in wanted.scopes)
        if wanted.by not in server.grants or tool.resource not in server.resources or not scopes:
            raise RequestRefused(DenyReason.AUTHSERVER_REFUSED, "beyond what the server's fact allows")
        if not may_be_shown(server, tool.resource, tool.endpoint if tool.egress is None else tool.egress.upstream):
            raise RequestRefused(DenyReason.AUTHSERVER_REFUSED, "the tool stands at another origin than the resource that the token is for")
        return tool, wanted, server

    async def _can_be_taken_back(self, server: AuthorizationServer) -> None:
        try:
            revocation = (await self._asker.endpoints(server)).revocation if server.revocable else None
        except (AnswerRefused, NoWay) as refused:
            raise RequestRefused(DenyReason.AUTHSERVER_REFUSED, str(refused)) from None
        except Unreachable as unreachable:
            raise RequestRefused(DenyReason.AUTHSERVER_UNAVAILABLE, str(unreachable)) from None
        if revocation is None:
            raise RequestRefused(DenyReason.TOKEN_UNCONTAINED, "its tokens cannot be revoked there")

    async def _ask(self, server: AuthorizationServer, tool: Tool, whose: Whose, call: VerifiedToken, seq: int) -> Obtained:
        parties = Parties(sub=call.sub, agent=call.act.sub, txn=call.txn)
        wanted = Obtain(server=whose.server, by=whose.by, scopes=whose.scopes)
        try:
            return await self._asker.token(server, wanted, parties, resource=whose.resource, exp=call.exp, seq=seq)
        except (AnswerRefused, NoWay) as refused:
            if isinstance(refused, AnswerRefused) and refused.issued is not None:
                issued = Obtained(refused.issued, None, ())
                self._spawn(self._take_back(self._held(whose, server, tool, call, issued), call), name="take back")
            await self._say("refused", whose, call, detail=str(refused))
            raise RequestRefused(DenyReason.AUTHSERVER_REFUSED, str(refused)) from None
        except Unreachable as unreachable:
            await self._say("unknown", whose, call, detail=str(unreachable))
            raise RequestRefused(DenyReason.AUTHSERVER_UNAVAILABLE, str(unreachable)) from None

    def _held(self, whose: Whose, server: AuthorizationServer, tool: Tool, call: VerifiedToken, obtained: Obtained) -> Held:
        now = self._clock.now()
        exp = now + (obtained.life_s if obtained.life_s is not None else tool.max_ttl_s)
        return Held(whose, server, obtained.token, exp=exp, until=min(exp, now + tool.max_ttl_s), jti=call.jti, calls=[call])

    async def _refuse(self, held: Held, call: VerifiedToken, reason: DenyReason, detail: str) -> None:
        """What was issued and may not be used must not live either."""
        self._spawn(self._take_back(held, call), name="take back")
        raise RequestRefused(reason, detail)

    # --- taking back ----------------------------------------------------------------------------------------------------------------

    def revoked(self) -> None:
        """The view has changed.  What it hits serves nobody from now on, and is revoked where it was issued."""
        self._holding.expire(self._clock.now())
        for held in self._holding.hit(self._revocations):
            self._spawn(self._take_back(held, held.calls[0]), name="take back")

    async def stop(self) -> None:
        """Nobody would take back what a broker that is gone obtained."""
        left = list(self._holding.everything())
        if left:
            await asyncio.wait([asyncio.ensure_future(self._take_back(held, held.calls[0])) for held in left], timeout=STOP_S)

    async def _take_back(self, held: Held, call: Any) -> None:
        """Until the server has done it, or the token has ended by itself."""
        self._holding.drop(held)
        pause, seq = AGAIN_S[0], 0
        while self._clock.now() < held.exp:
            try:
                if await self._asker.revoke(held.server, held.token, seq):
                    return await self._told("revoked", held, call)
            except (AnswerRefused, NoWay) as refused:
                return await self._told("not_revoked", held, call, str(refused))
            except Unreachable:
                pass
            await asyncio.sleep(pause)
            pause = min(2 * pause, AGAIN_S[1])
        return await self._told("not_revoked", held, call, "it ended first")

    async def _told(self, state: State, held: Held, call: VerifiedToken, detail: str | None = None) -> None:
        try:
            await self._say(state, held.whose, call, held=held, detail=detail)
        except RecordUnavailable:
            return  # it is done, or over; nothing waits for this

    async def _say(self, state: State, whose: Whose, call: VerifiedToken, *, held: Held | None = None, detail: str | None = None) -> int:
        said = ObtainedRecord(
            state=state,
            server=whose.server,
            tool=whose.tool,
            by=whose.by,
            resource=whose.resource,
            scopes=whose.scopes,
            agent=whose.agent,
            instance=whose.instance,
            jti=call.jti,
            txn=call.txn,
            digest=None if held is None else sha256(held.token),
            expires_at=None if held is None else int(held.exp),
            detail=detail,
        )
        body = event(OBTAINED, said, source=SOURCE)
        return await self._record.record(RECORD.at("broker", "obtained", whose.server), body, f"broker:obtained:{uuid4().hex}")


def _whose(tool: Tool, wanted: Obtain, server: AuthorizationServer, call: VerifiedToken) -> Whose:
    return Whose(
        server=server.name,
        issuer=server.issuer,
        client_id=server.client_id,
        tool=tool.name,
        resource=tool.resource,
        by=wanted.by,
        scopes=wanted.scopes,
        sub=call.sub,
        agent=call.act.sub,
        instance=call.act.instance,
    )

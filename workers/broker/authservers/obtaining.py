"""A token of another server, for one call.  Intent on RECORD, then the request, then its result on RECORD, and only then the token.

1. The server's fact still allows it.  2. An agent gets none that could not be taken back.  3. One that was kept for the very same agent and
person serves as well.  4. The intent.  5. The request.  6. It is on the disk, as one to be taken back, before anything else is done with
it.  7. An agent gets none that outlives the tool's limit.  8. Nothing that the call rests on was revoked meanwhile.  9. The result.  10.
On the disk as one that serves.

Taking back, and what a broker that was killed left behind: `returning`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from weft.claims import VerifiedToken

from schemas.authservers import Obtain
from schemas.facts import AuthorizationServer, Tool
from schemas.reasons import DenyReason
from streams.facts_table import FactsTable
from workers.broker.authservers.answers import AnswerRefused, Obtained
from workers.broker.authservers.asking import Asker, Unreachable
from workers.broker.authservers.assertions import Parties
from workers.broker.authservers.held import Held, Holding, Revocations, Served, Whose
from workers.broker.authservers.ports import Ledger, NotKept, NoWay
from workers.broker.authservers.returning import Returning
from workers.broker.authservers.telling import Record, Telling
from workers.common.clock import Clock
from workers.common.decision.patterns import matches
from workers.common.requests import RequestRefused
from workers.common.shown import may_be_shown


class Elsewhere:
    """Obtains and keeps; `returning` takes back."""

    def __init__(
        self,
        *,
        facts: Callable[[], FactsTable],
        revocations: Revocations,
        asker: Asker,
        record: Record,
        ledger: Ledger,
        clock: Clock,
        spawn: Callable[..., Any],
        logger: Any,
    ) -> None:
        self._facts = facts
        self._revocations = revocations
        self._asker = asker
        self._telling = Telling(record)
        self._ledger = ledger
        self._clock = clock
        self._holding = Holding()
        self.returning = Returning(
            asker=asker,
            holding=self._holding,
            ledger=ledger,
            revocations=revocations,
            telling=self._telling,
            clock=clock,
            spawn=spawn,
            logger=logger,
        )

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
        whose, served = _whose(tool, wanted, server, call), Served.of(call)
        kept = await self._kept(whose, served)  # 3
        if kept is not None:
            return kept
        seq = await self._telling.say("asked", whose, served)  # 4
        obtained = await self._ask(server, tool, whose, call, seq)  # 5
        held = await self._on_disk(whose, server, tool, served, obtained)  # 6
        if to_agent and (obtained.life_s is None or obtained.life_s > tool.max_ttl_s):  # 7
            self._refuse(held, DenyReason.TOKEN_UNCONTAINED, "outlives the tool's limit, or does not say when it ends")
        if self._revocations.revoked(call) is not None:  # 8
            self._refuse(held, DenyReason.REVOKED, "revoked while it was obtained")
        self.returning.begin(*self._holding.put(held))  # before the next wait, so that a revocation finds it
        try:
            await self._telling.say("got", whose, served, held=held)  # 9
            self._holding.serve(held)
            await self._keep(held)  # 10
        except BaseException:  # whatever it was, the token is not on record and may not live
            self.returning.begin(held)
            raise
        if not held.serves:
            raise RequestRefused(DenyReason.REVOKED, "revoked while it was obtained")
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

    async def _kept(self, whose: Whose, served: Served) -> Held | None:
        """One that serves this call too, once the disk knows of it: a revocation of this call has to find it, whoever looks."""
        held = self._holding.take(whose, served, self._clock.now())
        if held is None:
            return None
        await self._keep(held)
        return held if held.serves else None  # a revocation may have hit it while it was written

    async def _ask(self, server: AuthorizationServer, tool: Tool, whose: Whose, call: VerifiedToken, seq: int) -> Obtained:
        served = Served.of(call)
        try:
            return await self._asked(server, tool, whose, call, seq)
        except (AnswerRefused, NoWay) as refused:
            if isinstance(refused, AnswerRefused) and refused.issued is not None:
                self.returning.begin(self._held(whose, server, tool, served, Obtained(refused.issued, None, ())))
            await self._telling.say("refused", whose, served, detail=str(refused))
            raise RequestRefused(DenyReason.AUTHSERVER_REFUSED, str(refused)) from None
        except Unreachable as unreachable:
            await self._telling.say("unknown", whose, served, detail=str(unreachable))
            raise RequestRefused(DenyReason.AUTHSERVER_UNAVAILABLE, str(unreachable)) from None

    async def _asked(self, server: AuthorizationServer, tool: Tool, whose: Whose, call: VerifiedToken, seq: int) -> Obtained:
        """Once, or where the server exchanges its own tokens alone, twice: what it issued first is shown to nobody else, and taken back."""
        wanted = Obtain(server=whose.server, by=whose.by, scopes=whose.scopes)
        parties = Parties(sub=call.sub, agent=call.act.sub, txn=call.txn)
        ask = partial(self._asker.token, server, parties=parties, resource=whose.resource, exp=call.exp, seq=seq)
        if wanted.by != "token_exchange" or server.exchanges == "jwt":
            return await ask(wanted)
        by_grant = whose._replace(by="jwt_bearer")
        issued = await ask(wanted.model_copy(update={"by": by_grant.by}))
        first = await self._on_disk(by_grant, server, tool, Served.of(call), issued)
        try:
            return await ask(wanted, subject=issued.token)
        finally:
            self.returning.begin(first)

    async def _on_disk(self, whose: Whose, server: AuthorizationServer, tool: Tool, served: Served, obtained: Obtained) -> Held:
        held = self._held(whose, server, tool, served, obtained)
        try:
            await self._keep(held)
        except BaseException:  # as above
            self.returning.begin(held)
            raise
        return held

    async def _keep(self, held: Held) -> None:
        try:
            await self._ledger.keep(held)
        except NotKept as error:
            raise RequestRefused(DenyReason.BROKER_UNAVAILABLE, str(error)) from None

    def _held(self, whose: Whose, server: AuthorizationServer, tool: Tool, served: Served, obtained: Obtained) -> Held:
        now = self._clock.now()
        exp = now + (obtained.life_s if obtained.life_s is not None else tool.max_ttl_s)
        return Held(whose, server, obtained.token, exp=exp, until=min(exp, now + tool.max_ttl_s), calls=[served])

    def _refuse(self, held: Held, reason: DenyReason, detail: str) -> None:
        """What was issued and may not be used must not live either."""
        self.returning.begin(held)
        raise RequestRefused(reason, detail)


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

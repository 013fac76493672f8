"""Whom a revocation would hit, and what rests on something that turned out to be bad.  Read from the index; nothing is done.

A token is *live* while a guard might accept it: unexpired, with the guard's skew, and hit by no entry.  *Tainted* is what bears the
mark itself, and what descends from it in chain; what came later in the same transaction is named apart, for a person to judge.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

from nats.aio.client import Client
from weft.spiffeid import SpiffeID

from schemas.commands import Query
from schemas.facts import Agent, Kind
from schemas.reasons import DenyReason
from schemas.token import SKEW_S
from streams.facts_keys import place_of, read_fact
from streams.subjects import FACT
from workers.audit.index import Index
from workers.audit.minted import ARROW, Minted, mark
from workers.audit.redaction import Visible
from workers.audit.references import TOKENS
from workers.common.directget import Stored, Unavailable, many
from workers.common.rpc import Refused

MAX_TOKENS = 100_000  # of one answer; beyond, it says so
MAX_FOUND = 500  # by each kind of name that a token goes by
FEW = 500  # transactions in one question of SQLite
NAMED = 50  # agents and tools named in a summary
FOR_EVER = 2**62
_DIGEST = re.compile(r"[A-Za-z0-9_-]{22}", re.ASCII)  # weft.digest.target_digest
How = Literal["direct", "descendant", "later"]
Revoked = Callable[[Iterable[str], int], int | None]
Row = dict[str, Any]


class Found(NamedTuple):
    """A token, and why it is in the answer."""

    token: Minted
    how: How
    live: bool


class Span(NamedTuple):
    """The revisions of FACTS at which an agent was something: from the first up to, not including, the last."""

    agent: str
    first: int
    last: int


class Reach:
    """The three questions."""

    def __init__(self, nc: Client, index: Index, revoked: Revoked) -> None:
        self._nc = nc
        self._index = index
        self._revoked = revoked

    async def would_hit(self, asked: Query, visible: Visible, now: float) -> list[Row]:
        """A summary, then each live token that an entry for `target` and `value` would hit.  Raises Refused."""
        if asked.target is None or not asked.value:
            raise Refused(DenyReason.MALFORMED, "reach needs target and value")
        tokens = await self._index.marked(mark(asked.target, asked.value), exp_after=int(now) - SKEW_S - 1, limit=MAX_TOKENS)
        found = [Found(token, "direct", live=True) for token in tokens if visible(token.agent) and self._live(token, now)]
        return [summary(found) | {"truncated": len(tokens) == MAX_TOKENS}, *(row(one) for one in found)]

    async def named(self, asked: Query, visible: Visible, now: float) -> list[Row]:
        """A summary, then each token whose jti, txn, instance or explanation id this is, or which bears it as a digest.  Raises Refused."""
        if not asked.value:
            raise Refused(DenyReason.MALFORMED, "find needs a value")
        value, tokens = asked.value, list[Minted]()
        for kind in ("jti", "txn", "explanation"):
            named = await self._index.about(kind, [value], limit=MAX_FOUND)
            tokens += await self._index.minted_at([event.seq for event in named if event.type in TOKENS])
        for bears in (mark("instance", value), *([value] if _DIGEST.fullmatch(value) else [])):
            tokens += await self._index.marked(bears, limit=MAX_FOUND)
        shown = [token for token in sorted(set(tokens)) if visible(token.agent)]
        found = [Found(token, "direct", self._live(token, now)) for token in shown]
        return [summary(found) | {"truncated": len(found) >= MAX_FOUND}, *(row(one) for one in found)]

    async def tainted(self, asked: Query, visible: Visible, now: float) -> list[Row]:
        """A summary, then each token that is tainted, live ones alone if asked.  Raises Refused."""
        if asked.taint is None or not asked.value:
            raise Refused(DenyReason.MALFORMED, "tainted needs taint and value")
        direct = [token for token in await self._direct(asked) if visible(token.agent)]
        rest = [token for token in await self._around(direct) if visible(token.agent)]
        found = [Found(token, how, self._live(token, now)) for token, how in classified(direct, rest)]
        return [summary(found) | {"truncated": len(found) >= MAX_TOKENS}, *(row(one) for one in found if one.live or not asked.live)]

    async def _direct(self, asked: Query) -> list[Minted]:
        value = asked.value or ""
        if asked.taint == "model_digest":
            return await self._by_model(value, asked.since)
        kinds = {"key": ("key", "jkt"), "tool": ("tool",), "agent_version": ("version",)}[asked.taint or "key"]
        pages = [await self._index.marked(mark(kind, value), iat_from=asked.since, limit=MAX_TOKENS) for kind in kinds]
        return sorted({token.seq: token for page in pages for token in page}.values())

    async def _by_model(self, digest: str, since: int) -> list[Minted]:
        try:
            history = await self._agents()
        except Unavailable as error:
            raise Refused(DenyReason.VIEW_BEHIND, str(error)) from None
        pages = [
            await self._index.decided_within(span.agent, (span.first, span.last), iat_from=since, limit=MAX_TOKENS)
            for span in spans(history, digest)
        ]
        return sorted(token for page in pages for token in page)

    async def _agents(self) -> list[Stored]:
        """Every message of FACTS about agents."""
        found: list[Stored] = []
        while page := await many(self._nc, "FACTS", f"{FACT.at(Kind.AGENT.value)}.>", found[-1].seq + 1 if found else 1):
            found += page
        return found

    async def _around(self, direct: Sequence[Minted]) -> list[Minted]:
        """Everything else in their transactions."""
        known, txns = {token.seq for token in direct}, sorted({token.txn for token in direct})
        pages = [await self._index.of_transactions(txns[start : start + FEW], MAX_TOKENS) for start in range(0, len(txns), FEW)]
        return [token for page in pages for token in page if token.seq not in known]

    def _live(self, token: Minted, now: float) -> bool:
        return token.exp + SKEW_S >= now and self._revoked(token.marks.split(), token.rev) is None


def classified(direct: Sequence[Minted], rest: Sequence[Minted]) -> Iterator[tuple[Minted, How]]:
    """In the order of RECORD.  What was minted before anything tainted of its transaction is left out."""
    first = {token.txn: token.seq for token in reversed(direct)}
    marks = {token.txn: set[str]() for token in direct}
    for token in direct:
        marks[token.txn].add(mark("token", token.jti))
    named: list[tuple[Minted, How]] = [(token, "direct") for token in direct]
    for token in rest:
        if not marks[token.txn].isdisjoint(token.marks.split()):
            named.append((token, "descendant"))
        elif token.seq > first[token.txn]:
            named.append((token, "later"))
    return iter(sorted(named))


def spans(history: Iterable[Stored], model_digest: str) -> Iterator[Span]:
    """When each agent's fact named that model.  `history` is every message of FACTS about agents, in order."""
    since: dict[str, int] = {}
    for stored in history:
        place = place_of(stored.subject)
        fact = read_fact(*place, stored.body) if place is not None else None
        names_it = fact is not None and isinstance(fact.body, Agent) and fact.body.provenance.model_digest == model_digest
        if names_it:
            since.setdefault(stored.subject, stored.seq)
        elif stored.subject in since:
            yield Span(_agent_at(stored.subject), since.pop(stored.subject), stored.seq)
    yield from (Span(_agent_at(subject), first, FOR_EVER) for subject, first in since.items())


def _agent_at(subject: str) -> str:
    return str(SpiffeID.from_subject(subject.removeprefix(f"{FACT.at(Kind.AGENT.value)}.")))


def summary(found: Sequence[Found]) -> Row:
    """What it comes to."""
    tainted = [one for one in found if one.how != "later"]
    tokens = [one.token for one in tainted]
    agents, tools = sorted({token.agent for token in tokens}), sorted({token.tool for token in tokens})
    return {
        "tokens": len(tokens),
        "live": sum(one.live for one in tainted),
        "descendants": sum(one.how == "descendant" for one in found),
        "later": len(found) - len(tainted),
        "transactions": len({token.txn for token in tokens}),
        "instances": len({token.instance for token in tokens}),
        "users": len({token.user for token in tokens if token.user}),
        "agents": agents[:NAMED],
        "tools": tools[:NAMED],
    }


def row(found: Found) -> Row:
    """One token, without a name of a person."""
    token = found.token
    return {
        "seq": token.seq,
        "jti": token.jti,
        "txn": token.txn,
        "agent": token.agent,
        "instance": token.instance,
        "tool": token.tool,
        "user": f"user:{token.user}" if token.user else None,
        "path": token.path.split(ARROW),
        "iat": token.iat,
        "exp": token.exp,
        "how": found.how,
        "live": found.live,
    }

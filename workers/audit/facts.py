"""Questions about FACTS: what is true, how it came to be, and what would be decided."""

from __future__ import annotations

from typing import Any

from nats.aio.client import Client

from schemas.commands import Query
from schemas.decision import Caller, DecisionInput, UserRights
from schemas.facts import Fact, Kind
from schemas.invocation import CallParts
from streams.facts_keys import read_fact, subject_of
from streams.facts_table import FactsTable
from workers.common.decision import decide
from workers.common.directget import following

HYPOTHETICAL = "A" * 43  # what-if has no request, token or key: their digests
WHAT_IF_S = 300


def shown(revision: int, fact: Fact) -> dict[str, Any]:
    """A fact as an answer's row."""
    return {"key": fact.key, "kind": fact.kind.value, "revision": revision, "by": fact.by, "fact": fact.plain()}


async def history(nc: Client, kind: Kind, key: str, after: int, limit: int) -> tuple[list[dict[str, Any]], int | None]:
    """Every message of one fact's subject, with the fields that each changed."""
    subject = subject_of(kind, key)
    rows: list[dict[str, Any]] = []
    before: dict[str, Any] = {}
    written = b""
    stored = await following(nc, "FACTS", subject, 1)
    while stored is not None:
        if len(rows) == limit:
            return rows, rows[-1]["revision"]
        fact = read_fact(kind, key, stored.body)
        now = fact.body.plain() if fact is not None and fact.body is not None else {}
        if stored.seq > after and stored.body != written:  # the same event twice: the second carried the guard of its batch
            rows.append(_revision(stored.seq, stored.time, fact, before, now))
        before, written = now, stored.body
        stored = await following(nc, "FACTS", subject, stored.seq + 1)
    return rows, None


def _revision(seq: int, time: str, fact: Fact | None, before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    fields = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
    action = "unreadable" if fact is None else "delete" if not now else "change" if before else "create"
    row = {"revision": seq, "time": time, "action": action, "fields": fields}
    return row if fact is None else {**row, "by": fact.by, "reason": fact.reason, "fact": fact.plain()}


def what_if(asked: Query, facts: FactsTable, *, now: int, revocations: int, environment: dict[str, str], mode: str) -> dict[str, Any]:
    """`weft can`: the decision about a call that nobody made, gate by gate.  Raises ValueError where the question is incomplete."""
    if asked.agent is None or asked.tool is None or not asked.actions or asked.purpose is None:
        raise ValueError("can needs agent, tool, actions and purpose")
    until = now + WHAT_IF_S
    caller = Caller(
        id=asked.agent,
        instance="i" + "a" * 26,
        attested=True,
        assurance="development" if mode == "development" else "production",
        jkt=HYPOTHETICAL,
        svid_exp=until,
    )
    scope = (asked.purpose, *asked.actions)
    user = UserRights(sub=asked.user, iss="", scope=scope, client_id=asked.agent, exp=until, digest=HYPOTHETICAL) if asked.user else None
    question = DecisionInput(
        request_id="what-if",
        request_digest=HYPOTHETICAL,
        tool=asked.tool,
        actions=asked.actions,
        purpose=asked.purpose,
        call=CallParts(method="POST", path=HYPOTHETICAL, body=HYPOTHETICAL),  # some call: which one, only its guard will look at
        caller=caller,
        user=user,
        environment=environment,
        now=now,
        views_fresh=True,
        revocations=revocations,
    )
    return decide(question, facts).plain()

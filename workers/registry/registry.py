"""One command, from a person's word to committed facts: authorise, validate, plan, commit.

Nothing is held between two commands, so any number of copies may serve: the expectations in the batch decide who was first.  A batch
that lost is planned again over the newer view, unless its author named the revision that is gone.  In a cluster a guard may also
refuse while another batch with the same guard is on its way (measured), which looks the same and heals the same way.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from schemas.commands import Applied, Apply, PlanLine
from schemas.facts import Kind
from schemas.points import Failure
from schemas.reasons import DenyReason
from streams.bus import Message, Outgoing, PubAck, PublishConflict, PublishFailed
from streams.facts_table import FactsTable
from streams.subjects import FACT
from workers.common.directget import Stored, Unavailable
from workers.registry.authorize import missing_role
from workers.registry.planning import MAX_MESSAGES, conflict_of, messages_of, plan_of
from workers.registry.prospect import Prospect
from workers.registry.rules import Fabric
from workers.registry.rules_people import warnings
from workers.registry.validate import validate

APPLY_DEADLINE_S = 4.0  # within the request's 5 s, so that the answer still arrives
SEEN_S = 1.0  # for the view to show what was committed
BACKOFF_S = 0.02


class Facts(Protocol):
    """The view; `streams.facts.FactsView` is one."""

    @property
    def table(self) -> FactsTable:
        """The facts at the view's revision."""
        ...

    async def wait_for(self, revision: int, timeout_s: float) -> bool:
        """True once the view has it."""
        ...


class Batches(Protocol):
    """FACTS, to write; `streams.bus.Publisher` is one."""

    async def publish_batch(self, stream: str, messages: Sequence[Message], *, deadline_s: float) -> PubAck:
        """All or none.  Raises PublishConflict, PublishFailed."""
        ...


@dataclass(frozen=True, slots=True)
class Draft:
    """A command that may be committed, over the view it was checked against."""

    plan: tuple[PlanLine, ...]
    messages: tuple[Outgoing, ...]
    revision: int
    warnings: tuple[str, ...] = ()


LastFact = Callable[[str], Awaitable[Stored | None]]  # the newest message on a subject or filter; raises Unavailable


class Registry:
    """`apply` is the only way a fact is written."""

    def __init__(self, facts: Facts, batches: Batches, last: LastFact, fabric: Fabric) -> None:
        self._facts = facts
        self._batches = batches
        self._last = last
        self._fabric = fabric

    async def apply(self, nkey: str, asked: Apply) -> Applied | Failure:
        """All of the changes, or a refusal and none of them."""
        ends = asyncio.get_running_loop().time() + APPLY_DEADLINE_S
        while (left := ends - asyncio.get_running_loop().time()) > 0:
            draft = self.draft(nkey, asked)
            if isinstance(draft, Failure):
                return draft
            if asked.plan_only or not draft.messages:
                return Applied(plan=draft.plan, revision=None if asked.plan_only else draft.revision, warnings=draft.warnings)
            revision = await self._commit(draft, left)
            if isinstance(revision, Failure):
                return revision
            if revision is not None:
                await self._facts.wait_for(revision, SEEN_S)
                return Applied(plan=draft.plan, revision=revision, warnings=draft.warnings)
            await self._catch_up()
        return Failure(reason=DenyReason.CONFLICT, detail="others keep changing what this relies on; nothing was written, try again")

    def draft(self, nkey: str, asked: Apply) -> Draft | Failure:
        """1. Everything may be touched.  2. Everything holds.  3. Nobody was faster.  4. The batch."""
        table = self._facts.table
        prospect = Prospect(table, asked.changes)
        missing = missing_role(table.person(nkey), asked.changes, prospect, self._fabric.trust_domain)  # 1
        if missing is not None:
            return Failure(reason=DenyReason.NOT_AUTHORIZED, detail=missing)
        problems = validate(prospect, asked.changes, self._fabric)  # 2
        if problems:
            return Failure(reason=problems[0].reason, detail="; ".join(problem.text for problem in problems))
        conflict = conflict_of(asked.changes, table)  # 3
        if conflict is not None:
            change, current = conflict
            detail = f"{change.kind.value}/{change.key} is at revision {current}, not {change.expected}"
            return Failure(reason=DenyReason.CONFLICT, detail=detail, context=_place(change.kind, change.key, current))
        plan = plan_of(asked.changes, prospect)
        messages = messages_of(asked.changes, plan, table, by=nkey, reason=asked.reason)  # 4
        if len(messages) > MAX_MESSAGES:
            detail = f"{len(messages) - 1} changes rely on namespaces and need a guard: at most {MAX_MESSAGES - 1} fit one batch, --split"
            return Failure(reason=DenyReason.TOO_LARGE, detail=detail)
        return Draft(plan, messages, table.revision, tuple(warnings(prospect)))

    async def _commit(self, draft: Draft, deadline_s: float) -> int | Failure | None:
        """The revision; none where somebody was faster."""
        try:
            return (await self._batches.publish_batch("FACTS", draft.messages, deadline_s=deadline_s)).seq
        except PublishConflict as conflict:
            return await self._stored(draft.messages[-1]) if conflict.attempts > 1 else None
        except PublishFailed:
            revision = await self._stored(draft.messages[-1])
        if revision is not None:
            return revision
        return Failure(reason=DenyReason.DEADLINE_EXCEEDED, detail="FACTS did not acknowledge; `weft history` shows whether it was written")

    async def _stored(self, message: Outgoing) -> int | None:
        """Whether the batch was stored though its acknowledgement was lost: all of it was if its last message was."""
        try:
            held = await self._last(message.subject)
        except Unavailable:
            return None
        return held.seq if held is not None and held.body == message.body else None

    async def _catch_up(self) -> None:
        """To the head of FACTS; then a moment, because the batch that refused ours may still be on its way."""
        try:
            head = await self._last(FACT.filter)
        except Unavailable:
            return
        if head is not None and head.seq > self._facts.table.revision:
            await self._facts.wait_for(head.seq, SEEN_S)
        else:
            await asyncio.sleep(BACKOFF_S * random.uniform(0.5, 1.5))  # noqa: S311 - jitter


def _place(kind: Kind, key: str, revision: int) -> dict[str, Any]:
    return {"kind": kind.value, "key": key, "revision": revision}

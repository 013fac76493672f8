"""A person on the bus: commands and questions over an operator's connection.  The command line, the demo and the bench use it.

The connection's key is the person's nkey; admission knows it as a fact, and what it may do is decided per command by the worker that
answers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, TypeVar

import nats.errors
import orjson
from nats.aio.client import Client
from weft.nkey import KeyPair

from config.settings import Settings
from schemas import cimd, commands, vault
from schemas.base import Wire
from schemas.commands import Answer, Applied, Apply, Approve, Change, Lift, PlanLine, Query, Resolve, Revoke, Sweep, Waiting
from schemas.drills import RUN, Run
from schemas.points import Failure, SetAnswer, SetDelivery
from schemas.reasons import DenyReason
from schemas.ssf import STREAMS, StreamsCommand
from schemas.vault import PrepareKey, VaultCommand
from streams import subjects
from streams.bus import HEADERS, Malformed, event, parse, tls_context
from streams.serverconf import MAX_PAYLOAD_BYTES
from workers.common.manifest import MAX_BATCH
from workers.common.manifest import split as split_changes

CONNECT_S = 5
DEADLINE_S = 6.0  # above what any worker takes to answer or refuse
DRILL_S = 15.0
VERIFY_S = 60.0
STREAMS_S = 15.0  # a push that is tried before a stream is stopped
RESOLVE_S = 12.0  # two requests to somebody else's server
PAGE = 100
SET_DELIVERED = "org.weft.set.delivered.v1"
AnswerT = TypeVar("AnswerT", bound=Wire)


class Refused(Exception):
    """The fabric says no; `reason` is a DenyReason's value, `detail` a sentence to act on, `context` what a program needs of it."""

    def __init__(self, reason: str, detail: str, context: Mapping[str, Any] | None = None) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.context = dict(context or {})


class Unreachable(Exception):
    """No connection, or nobody answered in time."""


class OperatorClient:
    """Use as an async context manager.  Every call raises Refused or Unreachable."""

    def __init__(self, settings: Settings, seed: str) -> None:
        self.settings = self._settings = settings
        self._key = KeyPair.from_seed(seed)
        self._nc: Client

    @classmethod
    def over(cls, nc: Client, settings: Settings, seed: str) -> Self:
        """Over a connection made with that seed, which stays its owner's to close."""
        client = cls(settings, seed)
        client._nc = nc
        return client

    async def __aenter__(self) -> Self:
        async def ignore(_: Exception) -> None:
            """What went wrong is what the call that waits for it raises."""

        tls = tls_context(self._settings)
        self._nc = Client()
        # The attempts count for the first connection too: by default nats-py would try for two minutes.
        options: dict[str, Any] = {"max_reconnect_attempts": 2, "reconnect_time_wait": 0.2, **({} if tls is None else {"tls": tls})}
        try:
            async with asyncio.timeout(2 * CONNECT_S):
                await self._nc.connect(
                    list(self._settings.servers),
                    name="operator",
                    nkeys_seed_str=self._key.seed,
                    token="operator",
                    inbox_prefix=subjects.inbox_of(self.name),
                    connect_timeout=CONNECT_S,
                    allow_reconnect=False,
                    error_cb=ignore,
                    **options,
                )
        except (nats.errors.Error, OSError, TimeoutError) as error:
            await self._nc.close()  # nats-py leaves the socket of a refused connection open
            raise Unreachable(f"cannot connect as this person: {type(error).__name__}") from None
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with suppress(nats.errors.Error):
            await self._nc.close()

    @property
    def name(self) -> str:
        """The connection's name: the person's public nkey."""
        return self._key.public

    # --- commands -------------------------------------------------------------------------------------------------------------

    async def apply(self, changes: Sequence[Change], *, reason: str | None = None, plan_only: bool = False, split: bool = False) -> Applied:
        """One atomic batch of at most 1,000 changes, or its plan alone; with `split` as many as it takes, up to the first refusal."""
        plan: tuple[PlanLine, ...] = ()
        warnings: tuple[str, ...] = ()
        revision: int | None = None
        for batch in split_changes(changes) if split else (tuple(changes),):
            if not 0 < len(batch) <= MAX_BATCH:
                raise Refused(DenyReason.TOO_LARGE, f"{len(batch)} changes are not one batch of 1 to {MAX_BATCH}: split them")
            asked = Apply(changes=batch, reason=reason, plan_only=plan_only)
            done = await self._ask(subjects.APPLY.at(self.name), commands.APPLY, asked, Applied)
            plan, warnings, revision = (*plan, *done.plan), (*warnings, *done.warnings), done.revision
        return Applied(plan=plan, revision=revision, warnings=warnings)

    async def resolve_client(self, client_id: str) -> cimd.Resolved:
        """What a client's metadata document says now, fetched by the fabric; nothing is written."""
        asked = cimd.Resolve(client_id=client_id)
        return await self._ask(subjects.CIMD.at(self.name), cimd.RESOLVE, asked, cimd.Resolved, deadline_s=RESOLVE_S)

    async def resolve_tool(self, tool: str) -> cimd.ResolvedTool:
        """What the metadata of a tool's resource says now (RFC 9728); nothing is written."""
        asked = cimd.ResolveTool(tool=tool)
        return await self._ask(subjects.CIMD_TOOL.at(self.name), cimd.RESOLVE_TOOL, asked, cimd.ResolvedTool, deadline_s=RESOLVE_S)

    async def revoke(self, order: Revoke) -> Answer:
        """Takes back at every enforcement point."""
        return await self._ask(subjects.REVOKE.at(self.name), commands.REVOKE, order, Answer)

    async def sweep(self, order: Sweep) -> Answer:
        """Takes many tokens back at once."""
        return await self._ask(subjects.SWEEP.at(self.name), commands.SWEEP, order, Answer)

    async def drill(self, order: Run) -> Answer:
        """Runs a revocation drill, and waits for its end."""
        return await self._ask(subjects.DRILL.at(self.name), RUN, order, Answer, DRILL_S)

    async def lift(self, order: Lift) -> Answer:
        """Ends a posture."""
        return await self._ask(subjects.LIFT.at(self.name), commands.LIFT, order, Answer)

    async def prepare_key(self, id_: str) -> dict[str, Any]:
        """The next token key, made in the broker: its `kid` and public `jwk`."""
        answer = await self._ask(subjects.KEYS.at(self.name), vault.PREPARE_KEY, PrepareKey(id=id_), Answer)
        return answer.rows[0]

    async def vault(self, order: VaultCommand) -> dict[str, Any]:
        """A custodian's command (schemas.vault)."""
        return (await self._ask(subjects.VAULT.at(self.name), vault.VAULT, order, Answer)).rows[0]

    async def streams(self, asked: StreamsCommand) -> Answer:
        """The transmitter's streams, dead letters, a signal to send."""
        return await self._ask(subjects.STREAMS.at(self.name), STREAMS, asked, Answer, STREAMS_S)

    async def responses(self, *, everything: bool = False) -> Answer:
        """Which responses wait for this person."""
        return await self._ask(subjects.RESPONSES.at(self.name), commands.WAITING, Waiting(all=everything), Answer)

    async def resolve(self, order: Resolve) -> Answer:
        """Confirms or dismisses a response that waits."""
        return await self._ask(subjects.RESOLVE.at(self.name), commands.RESOLVE, order, Answer)

    async def approvals(self, *, everything: bool = False) -> Answer:
        """Which approvals wait for this person."""
        return await self._ask(subjects.APPROVALS.at(self.name), commands.WAITING, Waiting(all=everything), Answer)

    async def approve(self, order: Approve) -> Answer:
        """Lets one request pass once, or denies it."""
        return await self._ask(subjects.APPROVE.at(self.name), commands.APPROVE, order, Answer)

    async def send_set(self, jws: str) -> SetAnswer:
        """Delivers a Security Event Token exactly as signed."""
        return await self._ask(subjects.SET.at(self.name), SET_DELIVERED, SetDelivery(set=jws), SetAnswer)

    # --- questions ------------------------------------------------------------------------------------------------------------

    async def query(self, **question: Any) -> Answer:
        """One question to audit (schemas.commands.Query)."""
        return await self._query(Query(**question), DEADLINE_S)

    async def all(self, **question: Any) -> list[dict[str, Any]]:
        """Every page of an answer."""
        answer = await self.query(**question)
        rows = list(answer.rows)
        while answer.next is not None:
            answer = await self.query(**{**question, "after": answer.next})
            rows += answer.rows
        return rows

    async def tokens(self, **question: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """The summary and every token of a `reach` or a `tainted`."""
        answer = await self.query(**question, limit=500)
        found, rows = answer.rows[0], list(answer.rows[1:])
        while answer.next is not None:
            answer = await self.query(**question, limit=500, after=answer.next)
            rows += answer.rows[1:]
        return found, rows

    async def applied(self, n: int) -> None:
        """Until audit has applied that revocation entry."""
        until = time.monotonic() + DEADLINE_S
        while int((await self.query(what="status")).rows[0]["revocations"]) < n:
            if time.monotonic() >= until:
                raise Unreachable("audit has not applied the revocation")
            await asyncio.sleep(0.05)

    async def explain(self, identifier: str) -> Answer:
        """What is on record about a transaction or an explanation id, every page of it."""
        return Answer(rows=tuple(await self.all(what="explain", id=identifier)))

    async def head(self) -> int:
        """The last RECORD sequence that audit has."""
        (row,) = (await self.query(what="status")).rows
        return int(row["record"])

    async def replay(self, *, after: int = 0, types: tuple[str, ...] = (), follow_s: float | None = 0.0) -> AsyncIterator[dict[str, Any]]:
        """Events of RECORD after that sequence: up to its head, for `follow_s` more seconds, or with None until nobody wants more."""
        until = None if follow_s is None else time.monotonic() + follow_s
        while True:
            wait_s = 5.0 if until is None else min(5.0, max(0.0, until - time.monotonic()))
            answer = await self.query(what="replay", after=after, limit=PAGE, types=types, wait_s=wait_s)
            for row in answer.rows:
                yield row
            if answer.next is not None:
                after = answer.next
            elif until is not None and time.monotonic() >= until:
                return

    async def verify(self) -> dict[str, Any]:
        """Computes every decision again: how many were checked, and those that differ."""
        checked, differ, place = 0, [], (0, 0)
        while True:
            answer = await self._query(Query(what="verify", revision=place[0], after=place[1], limit=500), VERIFY_S)
            (page,) = answer.rows
            checked += page["checked"]
            differ += page["differ"]
            if answer.next is None or answer.revision is None:
                return {"checked": checked, "differ": sorted(differ, key=lambda found: found["seq"])}
            place = answer.revision, answer.next

    async def _query(self, question: Query, deadline_s: float) -> Answer:
        return await self._ask(subjects.QUERY.at(self.name), commands.QUERY, question, Answer, question.wait_s + deadline_s)

    async def _ask(self, subject: str, type_: str, data: Wire, model: type[AnswerT], deadline_s: float = DEADLINE_S) -> AnswerT:
        body = event(type_, data, source=f"/weft/person/{self.name}")
        if len(body) > MAX_PAYLOAD_BYTES:
            raise Refused(DenyReason.TOO_LARGE, f"{len(body)} bytes are more than one message of {MAX_PAYLOAD_BYTES}: split it")
        try:
            raw = await self._request(subject, body, deadline_s)
        except (nats.errors.Error, TimeoutError) as error:
            raise Unreachable(f"no answer on {subject.rpartition('.')[0]}: {type(error).__name__}") from None
        try:
            failure = _failure(raw)
            if failure is None:
                return parse(model, raw).data
        except (Malformed, orjson.JSONDecodeError, AttributeError):
            raise Unreachable(f"the answer on {subject.rpartition('.')[0]} cannot be read") from None
        raise Refused(failure.reason, failure.detail, failure.context)

    async def _request(self, subject: str, body: bytes, deadline_s: float) -> bytes:
        """A worker that is being restarted has no responders for a moment."""
        until = time.monotonic() + deadline_s
        while True:
            try:
                return (await self._nc.request(subject, body, timeout=deadline_s, headers=HEADERS)).data
            except nats.errors.NoRespondersError:
                if time.monotonic() >= until:
                    raise
                await asyncio.sleep(0.1)


def _failure(raw: bytes) -> Failure | None:
    return parse(Failure, raw).data if orjson.loads(raw).get("type") == commands.FAILED else None

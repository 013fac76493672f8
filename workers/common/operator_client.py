"""A person's way in, for the command line and the demonstration: commands and questions over the operator's own connection.

The connection is the person: its nkey is the name that the server attests.  Every answer is awaited with a deadline, and every
refusal is typed: `Refused` is the fabric's no, `Unreachable` is nobody's answer.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterable, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import nats
import nats.errors
from nats.aio.client import Client
from weft.nkey import InvalidKey, KeyPair

from config.settings import Settings
from schemas import commands, points
from schemas.base import Wire
from schemas.commands import Answer, Applied, Apply, Change, Lift, PlanLine, Query, Revoke
from schemas.points import Failure, SetAnswer, SetDelivery
from schemas.reasons import DenyReason
from streams import subjects
from streams.bus import HEADERS, Malformed, event, parse, tls_context
from streams.serverconf import MAX_PAYLOAD_BYTES
from workers.common.manifest import MAX_BATCH
from workers.common.manifest import split as split_changes

CONNECT_S = 5.0
DEADLINE_S = 6.0  # the fabric refuses by itself after 5 s
FOLLOW_S = 5.0  # one long poll
PAGE = 200
AnswerT = TypeVar("AnswerT", bound=Wire)


class Refused(Exception):
    """The fabric's no.  `reason` is one of schemas.reasons.DenyReason."""

    def __init__(self, reason: str, detail: str, context: dict[str, Any] | None = None) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.context = context or {}


class Unreachable(Exception):
    """No connection, or no answer within the deadline."""


class OperatorClient:
    """`async with OperatorClient(settings, seed) as client`."""

    def __init__(self, fabric: Settings | str, seed: str) -> None:
        """`fabric` is its settings, or a server's URL."""
        try:
            self.nkey = KeyPair.from_seed(seed).public
        except InvalidKey:
            raise Refused(DenyReason.MALFORMED, "the seed is not one of a user nkey") from None
        self._fabric = fabric
        self._seed = seed
        self._nc: Client | None = None

    @classmethod
    def over(cls, nc: Client, seed: str) -> OperatorClient:
        """Over a connection that somebody else owns, made with that seed."""
        client = cls("", seed)
        client._nc = nc
        return client

    async def __aenter__(self) -> Self:
        if self._nc is None:
            self._nc = await self._connect()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._nc is not None and not self._nc.is_closed:
            await self._nc.close()

    # --- commands -------------------------------------------------------------------------------------------------------------

    async def apply(self, changes: Sequence[Change], reason: str | None = None, *, plan_only: bool = False, split: bool = False) -> Applied:
        """One atomic batch; with `split` as many as it takes, in order, ending at the first refusal."""
        plan: tuple[PlanLine, ...] = ()
        revision: int | None = None
        for batch in split_changes(changes) if split else (tuple(changes),):
            if not 0 < len(batch) <= MAX_BATCH:
                raise Refused(DenyReason.TOO_LARGE, f"{len(batch)} changes are not one batch of 1 to {MAX_BATCH}: split them")
            asked = Apply(changes=batch, reason=reason, plan_only=plan_only)
            done = await self._ask(subjects.APPLY, commands.APPLY, asked, Applied)
            plan, revision = (*plan, *done.plan), done.revision
        return Applied(plan=plan, revision=revision)

    async def revoke(self, order: Revoke) -> dict[str, Any]:
        """By a revoker."""
        return (await self._ask(subjects.REVOKE, commands.REVOKE, order, _Plain)).plain()

    async def lift(self, order: Lift) -> dict[str, Any]:
        """By a revoker."""
        return (await self._ask(subjects.LIFT, commands.LIFT, order, _Plain)).plain()

    async def send_set(self, jws: str) -> SetAnswer:
        """A Security Event Token, as signed by its transmitter; the answer is the receiver's (RFC 8935)."""
        return await self._ask(subjects.SET, points.SET_DELIVERED, SetDelivery(set=jws), SetAnswer)

    # --- questions ------------------------------------------------------------------------------------------------------------

    async def query(self, **question: Any) -> Answer:
        """One question (schemas.commands.Query)."""
        return await self._ask(subjects.QUERY, commands.QUERY, Query(**question), Answer)

    async def all(self, **question: Any) -> list[dict[str, Any]]:
        """Every page of a list, a history or a replay."""
        rows: list[dict[str, Any]] = []
        after = 0
        while True:
            page = await self.query(**question, after=after, limit=PAGE)
            rows += page.rows
            if page.next is None:
                return rows
            after = page.next

    async def explain(self, id_: str) -> Answer:
        """Everything on record about a transaction, or about one explanation id."""
        return await self.query(what="explain", id=id_)

    async def head(self) -> int:
        """The last sequence of RECORD that can be asked for."""
        answer = await self.query(what="replay", after=0, limit=1)
        return int(answer.revision or 0)

    async def replay(
        self, *, types: Iterable[str] = (), after: int = 0, follow_s: float | None = 0, limit: int = PAGE
    ) -> AsyncIterator[dict[str, Any]]:
        """RECORD's events after a sequence; then those to come, for `follow_s` seconds, or for ever where that is None."""
        wanted = frozenset(types)
        loop = asyncio.get_running_loop()
        ends = None if follow_s is None else loop.time() + follow_s
        while True:
            left = FOLLOW_S if ends is None else max(0.0, min(FOLLOW_S, ends - loop.time()))
            page = await self.query(what="replay", after=after, limit=limit, wait_s=left)
            for row in page.rows:
                if not wanted or row["event"]["type"] in wanted:
                    yield row
            if page.next is not None:
                after = page.next
            elif left == 0:
                return

    async def verify(self) -> dict[str, Any]:
        """Every decision on record computed again: how many, and those that differ."""
        checked, differ = 0, []
        after, through = 0, None
        while True:
            page = await self.query(what="verify", after=after, limit=500, id=through)
            summary, *rows = page.rows
            checked += summary["checked"]
            through = str(summary["through"])
            differ += rows
            if page.next is None:
                return {"checked": checked, "differ": differ, "through": int(through)}
            after = page.next

    # --- the wire -------------------------------------------------------------------------------------------------------------

    async def _ask(self, family: subjects.Subject, type_: str, data: Wire, model: type[AnswerT]) -> AnswerT:
        if self._nc is None:
            raise Unreachable("not connected")
        body = event(type_, data, source=f"/weft/operators/{self.nkey}")
        if len(body) > MAX_PAYLOAD_BYTES:
            raise Refused(DenyReason.TOO_LARGE, f"{len(body)} bytes are more than one message of {MAX_PAYLOAD_BYTES}: split it")
        try:
            answer = await self._nc.request(family.at(self.nkey), body, timeout=DEADLINE_S, headers=HEADERS)
            return _read(answer.data, model)
        except nats.errors.NoRespondersError:
            raise Unreachable(f"nobody answers {family.prefix}") from None
        except (nats.errors.Error, TimeoutError) as error:
            raise Unreachable(f"no answer on {family.prefix}: {type(error).__name__}") from None
        except Malformed:
            raise Unreachable(f"the answer on {family.prefix} cannot be read") from None

    async def _connect(self) -> Client:
        options: dict[str, Any] = {
            "nkeys_seed_str": self._seed,
            "token": "operator",
            "name": "operator",
            "inbox_prefix": subjects.inbox_of(self.nkey),
            "connect_timeout": CONNECT_S,
            "allow_reconnect": False,
            "error_cb": _ignore,
        }
        try:
            return await nats.connect(**options, **_where(self._fabric))
        except (nats.errors.Error, OSError, TimeoutError, ssl.SSLError) as error:
            raise Unreachable(f"no connection as {self.nkey[:8]}...: {type(error).__name__}") from None


class _Plain(Wire):
    """An answer that is shown as it came."""

    model_config = {**Wire.model_config, "extra": "allow"}


def _where(fabric: Settings | str) -> dict[str, Any]:
    if isinstance(fabric, str):
        return {"servers": [fabric]}
    tls = tls_context(fabric)
    return {"servers": list(fabric.servers), **({} if tls is None else {"tls": tls})}


def _read(body: bytes, model: type[AnswerT]) -> AnswerT:
    """The answer, or what refused it."""
    said = parse(_Plain, body)
    if said.type == commands.FAILED:
        failure = parse(Failure, body).data
        raise Refused(failure.reason.value, failure.detail, failure.context)
    return parse(model, body).data


async def _ignore(_: Exception) -> None:
    """What fails is told by the request that failed."""

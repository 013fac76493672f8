"""Gateway and broker without a bus: the small fabric's facts, views that a test sets, RECORD in memory, time that stands still."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from weft.claims import VerifiedToken

from config.settings import Settings
from schemas.approvals import Ask, Held, Show, Spend
from schemas.facts import Key
from schemas.minting import MintAnswer, MintRequest
from schemas.reasons import DenyReason
from schemas.status import Allocated, Given
from streams.bus import PublishConflict
from streams.facts_keys import key_of
from streams.facts_table import FactsTable
from tests.support import facts as fact_support
from tests.support import world
from tests.support.identities import NOW, Signer
from tests.support.invocations import AgentSide
from tests.support.records import FakeRecordStream
from workers.broker.mint import Mint
from workers.broker.ports import RecordedEvent
from workers.broker.signer import TokenSigner
from workers.common.challenges import Challenges
from workers.common.minting import Answered, answers_event, read_answers
from workers.common.recorder import Recorder
from workers.common.requests import RequestRefused
from workers.common.rpc import Refused
from workers.common.verification import Verifier
from workers.gateway.enforce import Gateway
from workers.gateway.stepping import NotAsked, Stepping
from workers.registry.approvals.desk import Approvals

SETTINGS = Settings(state="/nonexistent")


@dataclass
class FixedClock:
    """Time is what the test says."""

    at: float = float(NOW)

    def now(self) -> float:
        return self.at


@dataclass
class FakeViews:
    """Both workers' views; a revision beyond the table's is reached when `arrives` holds it."""

    facts: FactsTable
    revocations: int = 3
    facts_needed: int = 0
    is_fresh: bool = True
    waited_for: list[int] = field(default_factory=list)
    challenges: Challenges = field(default_factory=Challenges)

    def challenged_at(self, challenge: str | None) -> int | None:
        return self.challenges.made_at(challenge)

    def fresh(self, now: float) -> bool:
        return self.is_fresh

    async def reach(self, revision: int, timeout_s: float) -> bool:
        self.waited_for.append(revision)
        return self.facts.revision >= revision


@dataclass
class FakeRevocations:
    """A revocation view that hits what a test names by `jti`."""

    counter: int = 3
    hit: set[str] = field(default_factory=set)

    def behind(self, token: VerifiedToken) -> bool:
        return token.rev > self.counter

    def revoked(self, token: VerifiedToken) -> int | None:
        return self.counter if token.jti in self.hit else None


@dataclass
class FakeHistory:
    """RECORD, read back."""

    stream: FakeRecordStream

    async def at(self, seq: int) -> RecordedEvent | None:
        held = self.stream.messages
        return RecordedEvent(*held[seq - 1]) if 0 < seq <= len(held) else None


@dataclass
class FakeBroker:
    """Answers as it is told, and keeps what it was asked."""

    answer: MintAnswer | Exception | None = None
    asked: list[MintRequest] = field(default_factory=list)
    alone: list[bool] = field(default_factory=list)  # of each

    async def mint(self, mint: MintRequest, *, timeout_s: float, alone: bool) -> Answered:
        self.asked.append(mint)
        self.alone.append(alone)
        if isinstance(self.answer, Exception):
            raise self.answer
        assert self.answer is not None
        return answered(self.answer)


def answered(answer: MintAnswer) -> Answered:
    """As the bus brings it."""
    return read_answers(answers_event([answer], "/test"))[0]


class FakeStatuses:
    """Gives the entries 0, 1, 2 ..., unless it is to refuse."""

    def __init__(self) -> None:
        self.given: list[Allocated] = []
        self.refuses = False

    async def allocate(self, token: Allocated) -> Given:
        if self.refuses:
            raise RequestRefused(DenyReason.STATUS_UNAVAILABLE, "none")
        self.given.append(token)
        return Given(idx=len(self.given) - 1, uri="https://txn-svc.88mph.com/status/1")


class TableWriter:
    """FACTS in memory: writes where the fact still stands as it was read."""

    def __init__(self, table: FactsTable) -> None:
        self.table = table

    async def write(self, body: Any, revision: int, *, by: str, reason: str | None, deadline_s: float) -> int:
        if self.table.revision_of(body.kind, key_of(body)) != revision:
            raise PublishConflict("somebody was faster")
        fact_support.put(self.table, body.plain())
        return self.table.revision


class People:
    """The registry's desk, asked without a bus."""

    def __init__(self, table: FactsTable, recorder: Recorder, clock: FixedClock) -> None:
        self.desk = Approvals(table, TableWriter(table), recorder, clock)  # type: ignore[arg-type]

    async def ask(self, ask: Ask, *, timeout_s: float) -> Held:
        return await self._asked(self.desk.ask(ask))

    async def show(self, show: Show, *, timeout_s: float) -> Held:
        return await self._asked(self.desk.show(show))

    async def spend(self, spend: Spend) -> None:
        try:
            await self.desk.spend(spend)
        except Refused as refused:
            raise RequestRefused(refused.reason, refused.detail) from None

    async def _asked(self, asking: Awaitable[Held]) -> Held:
        try:
            return await asking
        except Refused as refused:
            raise NotAsked(refused.reason, refused.detail) from None


class HotPath:
    """Both, over the same world."""

    def __init__(self, changes: dict[str, Any] | None = None) -> None:
        self.issuer = Signer(kid="dev1")
        self.signer = TokenSigner(generate_private_key(SECP256R1()), "tokens-1")
        self.table = world.facts(changes)
        self.put(self.issuer.fact(assurance="development"), self._token_key())
        self.clock = FixedClock()
        self.views = FakeViews(self.table)
        self.revocations = FakeRevocations()
        self.stream = FakeRecordStream()
        self.recorder = Recorder(self.stream, deadline_s=0.2)
        self.broker = FakeBroker()
        self.verifier = Verifier(self.table, self.revocations, SETTINGS)
        self.people = People(self.table, self.recorder, self.clock)
        self.gateway = Gateway(
            views=self.views,
            stepping=Stepping(self.table, self.views.challenges, self.people, self.clock),
            verifier=self.verifier,
            broker=self.broker,
            record=self.recorder,
            clock=self.clock,
            settings=SETTINGS,
        )
        self.statuses = FakeStatuses()
        self.mint = self.new_mint()

    def new_mint(self, **changes: Any) -> Mint:
        """Another broker over the same RECORD."""
        parts = {
            "views": self.views,
            "verifier": self.verifier,
            "record": self.recorder,
            "history": FakeHistory(self.stream),
            "approvals": self.people,
            "signer": self.signer,
            "statuses": self.statuses,
            "clock": self.clock,
            "settings": SETTINGS,
        }
        return Mint(**{**parts, **changes})

    def put(self, *bodies: Any) -> None:
        """Facts as the next events."""
        fact_support.put(self.table, *(body.plain() for body in bodies))

    def agent(self, **options: Any) -> AgentSide:
        return AgentSide(self.issuer, **options)

    def _token_key(self) -> Key:
        spare = Signer(kid=self.signer.kid)
        spare.private = self.signer._private
        return spare.fact(purpose="tokens")

    async def allowed(self, agent: AgentSide, **changes: Any) -> MintRequest:
        """What an honest gateway asks the broker for this request."""
        self.broker.answer = MintAnswer(refused=DenyReason.BROKER_UNAVAILABLE)
        await self.gateway.invoke(agent.name, agent.body(self.clock.at, **changes), self.clock.at)
        return self.broker.asked.pop()

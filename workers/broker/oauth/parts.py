"""What the token endpoint is made of, and what is known of one request on its way: all of it goes on record, whatever becomes of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from weft.spiffeid import SpiffeID

from config.settings import Settings
from schemas.accesstoken import Bound
from schemas.decision import Decision, DecisionInput
from schemas.exchange import Acting, ExchangeDecision, ExchangeInput
from schemas.exchange import Exchange as Exchanging
from schemas.oauth import Asked
from schemas.reasons import DenyReason
from schemas.record import Denied, Exchanged, NotExchanged
from streams.subjects import connection_name
from workers.broker.claims import FreshID, fresh_id
from workers.broker.oauth.clients import Authenticated, Once
from workers.broker.oauth.form import Form
from workers.broker.oauth.nonces import Nonces
from workers.broker.oauth.recording import Recording
from workers.broker.oauth.tools import workload_of_client
from workers.broker.oauth.transactions import Workload
from workers.broker.ports import History, Signer, Statuses, Views
from workers.common.clock import Clock
from workers.common.requests import RequestRefused
from workers.common.verification import RevocationsKnown, Verifier


class OnceOnly(Protocol):
    """What may happen once."""

    async def claim(self, once: Once, now: float) -> bool:
        """Whether it is the first.  Raises OAuthRefused where nobody can say."""
        ...


@dataclass(frozen=True, slots=True)
class Parts:
    """What the endpoint is made of."""

    views: Views
    verifier: Verifier
    revocations: RevocationsKnown
    recording: Recording
    history: History
    signer: Signer
    statuses: Statuses
    once: OnceOnly
    clock: Clock
    settings: Settings
    fresh_id: FreshID = fresh_id
    nonces: Nonces | None = None  # where proofs need one


@dataclass(slots=True)
class Request:
    """One request on its way; what is known of it when it is refused goes on record."""

    asked: Asked
    form: Form
    client: Authenticated
    bound: Bound | None = None
    actor: Acting | None = None
    once: list[tuple[str, Once]] = field(default_factory=list)  # what counts once, and is claimed before anything is issued for it
    input: ExchangeInput | None = None
    exchange: Exchanging | None = None
    call: DecisionInput | None = None
    decision: Decision | None = None

    @property
    def workload(self) -> Workload | None:
        """The client's workload, if it is one; its instance may be named by an actor token of its own."""
        workload, actor = workload_of_client(self.client), self.actor
        own = workload is not None and actor is not None and actor.workload == str(workload.id) and self.client.instance is None
        return workload if workload is None or actor is None or not own else Workload(workload.id, actor.instance or workload.instance)


def exchanged(request: Request, decision: ExchangeDecision, claims: Any, kid: str) -> Exchanged:
    if request.input is None:
        raise RequestRefused(DenyReason.INTERNAL, "issued without a decision")
    return Exchanged(
        input=request.input,
        decision=decision,
        claims=claims,
        kid=kid,
        explanation=request.asked.id,
        caller=request.client.client.client_id,
    )


def refusal_on_record(request: Request, reason: DenyReason, detail: str) -> Denied | NotExchanged:
    """What is known of it.  One that reached the decision engine is on record as every refused invocation is."""
    if request.call is not None and request.decision is not None:
        call = request.call
        return Denied(
            by="broker",
            reason=reason,
            input=call,
            decision=request.decision,
            explanation=request.asked.id,
            caller=connection_name(call.caller.instance, SpiffeID.parse(call.caller.id)),
            txn=call.parent.txn if call.parent is not None else None,
            exchange=request.exchange,
        )
    return NotExchanged(
        reason=reason,
        input=request.input,
        decision=request.exchange.decision if request.exchange is not None else None,
        explanation=request.asked.id,
        caller=request.client.client.client_id,
        detail=detail,
    )

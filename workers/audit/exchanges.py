"""Decisions of the token endpoint, computed again.  Promise 6; see `verify`."""

from __future__ import annotations

from schemas.accesstoken import AccessTokenClaims
from schemas.clients import ASSERTED
from schemas.exchange import ExchangeDecision, ExchangeInput, TransactionClaims
from schemas.record import Exchanged, NotExchanged
from streams.facts_table import FactsTable
from workers.common.decision.exchange import decide_exchange


def verify_exchange(recorded: Exchanged | NotExchanged, facts: FactsTable) -> list[str]:
    """What differs: gates, and claims that do not follow from what was asked and granted."""
    if recorded.input is None or recorded.decision is None:
        return []
    differs = verify_gates(recorded.input, recorded.decision, facts)
    return differs + (_beyond(recorded, recorded.decision) if isinstance(recorded, Exchanged) else [])


def verify_gates(asked: ExchangeInput, recorded: ExchangeDecision, facts: FactsTable) -> list[str]:
    """The decision alone, over the facts as they were."""
    again = decide_exchange(asked, facts)
    return [f"exchange.{name}" for name in ExchangeDecision.model_fields if getattr(recorded, name) != getattr(again, name)]


def _beyond(recorded: Exchanged, decision: ExchangeDecision) -> list[str]:
    asked, claims = recorded.input, recorded.claims
    subject = asked.subject
    held = {
        "decision": bool(decision),
        "sub": claims.sub == (asked.client_id if subject is None else subject.sub),
        "scope": claims.scope == " ".join(asked.scope),
        "exp": claims.exp - claims.iat <= decision.ttl_s,
        "life": subject is None or subject.exp is None or claims.exp <= subject.exp,
        "txn": subject is None or subject.txn in (None, claims.txn),
        "req_chain": claims.req_chain == (() if subject is None else subject.chain),
        "workload": claims.workload == asked.workload,
        "act": claims.act == decision.act,
        "actor": asked.actor is None or claims.exp <= asked.actor.exp,
        "rev": claims.rev == asked.revocations,
        "facts": claims.facts == decision.facts_revision,
    }
    held |= _access(claims, asked) if isinstance(claims, AccessTokenClaims) else _transaction(claims, asked)
    return [f"claims.{name}" for name, holds in held.items() if not holds]


def _access(claims: AccessTokenClaims, asked: ExchangeInput) -> dict[str, bool]:
    named = (claims.aud,) if isinstance(claims.aud, str) else claims.aud
    return {
        "typ": asked.subject is None or asked.requested == "access_token",
        "client_id": claims.client_id == asked.client_id,
        "aud": set(asked.resources) <= set(named) and (asked.subject is None or set(named) == set(asked.resources)),
    }


def _transaction(claims: TransactionClaims, asked: ExchangeInput) -> dict[str, bool]:
    subject = asked.subject
    asserted = subject is not None and (subject.asserted is True or subject.type in ASSERTED)
    return {
        "typ": asked.requested == "txn_token",
        "client_id": claims.client_id in (None, asked.client_id),
        "asserted": asserted == bool(claims.asserted),
    }

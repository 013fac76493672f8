"""Who acts in an exchange: RFC 8693 sections 1.1, 2.1, 4.1 and 4.4, draft-mcguinness-oauth-actor-profile-00.  Pure.

The actor is the authenticated client, or who its actor token names.  Where that is somebody else, the decision is about both: the limits of
either bound what is granted, so that nobody gains from bringing a stronger one along.

`act` of what is issued has the actor outermost, and under it, unchanged, whoever acted before.  Who acts for itself has none.  An actor
that acted already in the subject token is not named twice, unless what it acts under now would then be forgotten.
"""

from __future__ import annotations

from typing import NamedTuple

from schemas.actors import AGENT, SERVICE, ActorClaim
from schemas.clients import workload_of
from schemas.exchange import Acting, ExchangeInput
from schemas.facts import Agent, Client
from schemas.reasons import DenyReason
from schemas.token import MAX_HOPS
from streams.facts_table import FactsTable
from workers.common.decision.draft import Stop, is_workload


class Party(NamedTuple):
    """A workload whose limits count."""

    workload: str
    instance: str | None
    agent: Agent | None


def parties(asked: ExchangeInput, facts: FactsTable) -> tuple[Party, ...]:
    """The client's workload, and the actor's: each with its agent, where it is one."""
    named = [(asked.workload, asked.instance)]
    if asked.actor is not None:
        named.append((asked.actor.workload, asked.actor.instance))
    return tuple(Party(workload, instance, facts.agent(workload)) for workload, instance in dict.fromkeys(named) if workload is not None)


def acts_itself(asked: ExchangeInput) -> bool:
    """The actor is the client: the very workload, where both are one (a client may stand for several), else by its id."""
    actor = asked.actor
    if actor is not None and actor.workload is not None and asked.workload is not None:
        return actor.workload == asked.workload
    return actor is None or actor.client_id == asked.client_id


def admitted(asked: ExchangeInput, client: Client, facts: FactsTable) -> Stop | None:
    """Why this client may not bring this actor; none: it may.

    A stolen actor token is worth nothing to a client whose record does not name that workload.
    """
    actor = asked.actor
    if actor is None:
        return None
    if asked.subject is None:
        return Stop(DenyReason.ACTOR_NOT_ALLOWED, "nobody to act for")
    if not _still(actor, facts):
        return Stop(DenyReason.ACTOR_NOT_ALLOWED, "the actor's client is none any more")
    if acts_itself(asked):
        return None
    if actor.workload is None or not any(workload_of(pattern, actor.workload) for pattern in client.actors):
        return Stop(DenyReason.ACTOR_NOT_ALLOWED, "not an actor that this client may bring")
    return None


def _still(actor: Acting, facts: FactsTable) -> bool:
    """The client that the actor token was issued to is one, and is that workload."""
    if actor.client_id is None:
        return True
    client = facts.client(actor.client_id)
    if client is None or client.state != "active":
        return False
    return actor.workload is None or (client.spiffe_id is not None and workload_of(client.spiffe_id, actor.workload))


def may_act(asked: ExchangeInput, facts: FactsTable) -> bool:
    """RFC 8693 section 4.4: where the subject token says who may act, it is who acts.  A name is compared with its issuer.

    SPIFFE IDs and URLs name the same everywhere; an opaque client_id is ours alone, so that only we, or the client itself, can mean it.
    """
    subject = asked.subject
    if subject is None or subject.may_act is None:
        return True
    named, provider = subject.may_act, None if subject.iss is None else facts.issuer(subject.iss)
    iss = named.iss or subject.iss
    ours = iss is not None and iss in (asked.issuer, asked.client_id)
    if not ours and iss not in (subject.iss, None if provider is None else provider.aud):
        return False
    return named.sub in (name for name in _names(asked) if ours or "://" in name)


def act_of(asked: ExchangeInput, facts: FactsTable) -> ActorClaim | Stop | None:
    """`act` of what is issued."""
    subject = asked.subject
    if subject is None or asked.issuer is None:
        return None
    now, before, names = _now(asked, facts), subject.act, _names(asked)
    if before is None and subject.sub in names:
        return None
    if before is not None and before.sub in names and _remembered(before, now):
        before = before.act
    act = now.model_copy(update={"act": before})
    return act if sum(1 for _ in act.line()) <= MAX_HOPS else Stop(DenyReason.CHAIN_TOO_DEEP, f"more than {MAX_HOPS} have acted")


def _remembered(before: ActorClaim, now: ActorClaim) -> bool:
    """Naming the actor once loses neither an instance nor a token that somebody may yet revoke."""
    return before.instance in (None, now.instance) and before.jti in (None, now.jti)


def _now(asked: ExchangeInput, facts: FactsTable) -> ActorClaim:
    actor, itself = asked.actor, acts_itself(asked)
    workload = asked.workload if actor is None or (itself and actor.workload is None) else actor.workload
    instance = actor.instance if actor is not None else None
    return ActorClaim(
        sub=workload or asked.client_id,
        iss=asked.issuer,
        sub_profile=AGENT if workload is not None and facts.knows_agent(workload) else SERVICE,
        instance=instance or (asked.instance if itself else None),
        jti=None if actor is None else actor.jti,
    )


def _names(asked: ExchangeInput) -> frozenset[str]:
    """What the actor is called."""
    actor, own = asked.actor, (asked.workload, asked.client_id)
    shown = () if actor is None else (actor.workload, actor.client_id)
    return frozenset(name for name in (*shown, *(own if acts_itself(asked) else ())) if name is not None)


def earlier_agents(asked: ExchangeInput, facts: FactsTable) -> tuple[str, ...]:
    """The agents of this fabric that acted before, as the subject token says, even those whose record cannot be read."""
    act = asked.subject.act if asked.subject is not None else None
    line = act.line() if act is not None else ()
    return tuple(actor.sub for actor in line if is_workload(actor.sub) and facts.knows_agent(actor.sub))

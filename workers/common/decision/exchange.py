"""`decide_exchange(input, facts)`: a token request that names no tool.  Pure, and never raises.

The gates of an invocation, as far as they can be asked without a tool: no policy and no right over a tool is asked, which is why what
is granted opens none (a guard wants a `call`).  A tool that is named is decided by `decide`.

1. Registered: the client, its grant, the agent it is; the actor, and whether this client may bring it.  2. Views.  3. Posture of both,
the namespaces above them, the person, the transaction and whoever handed it on or acted before.
4. Namespace bounds of both.  5. Charter of each that is an agent.  6. The graph: the person is known, and lets every agent act.
7. Ceiling: of the client for this type of subject token; what an access token may be for.  8. Rights: the subject token's own scope, and
whom it lets act.  9. Life, and how long the chains are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

from schemas.actors import ActorClaim
from schemas.clients import ASSERTED, TOKEN_EXCHANGE, workload_of
from schemas.decision import Gate, GateLine
from schemas.exchange import ExchangeDecision, ExchangeInput
from schemas.facts import Client
from schemas.reasons import DenyReason
from schemas.token import MAX_TTL_S
from streams.facts_table import FactsTable
from workers.common.decision.acting import Party, act_of, admitted, earlier_agents, may_act, parties
from workers.common.decision.draft import Stop, is_workload
from workers.common.decision.patterns import Patterns, matches
from workers.common.decision.standing import earlier

MAX_NOTE = 400


@dataclass
class _Asked:
    """A decision in the making; its life only shrinks."""

    input: ExchangeInput
    facts: FactsTable
    client: Client = field(init=False)
    ttl_s: int = MAX_TTL_S
    act: ActorClaim | None = None

    @cached_property
    def parties(self) -> tuple[Party, ...]:
        """The client's workload, and the actor's."""
        return parties(self.input, self.facts)

    @cached_property
    def human(self) -> str | None:
        """The person it is for, if it is for one."""
        subject = self.input.subject
        if subject is None or is_workload(subject.sub) or subject.sub == self.input.client_id or self.facts.client(subject.sub):
            return None
        return subject.sub

    def outside(self, patterns: Patterns) -> tuple[str, ...]:
        """What of the scope these patterns do not allow."""
        return tuple(code for code in self.input.scope if not matches(patterns, code))


_Said = str | Stop


def decide_exchange(asked: ExchangeInput, facts: FactsTable) -> ExchangeDecision:
    """The decision, and one line for every gate that was asked."""
    draft = _Asked(asked, facts)
    lines: list[GateLine] = []
    for gate, judge in _GATES:
        said = _ask(judge, draft)
        stopped = isinstance(said, Stop)
        lines.append(GateLine(gate=gate, passed=not stopped, note=(said.note if isinstance(said, Stop) else said)[:MAX_NOTE]))
        if isinstance(said, Stop):
            return ExchangeDecision(outcome="deny", reason=said.reason, lines=tuple(lines), facts_revision=facts.revision)
    return ExchangeDecision(outcome="allow", lines=tuple(lines), ttl_s=draft.ttl_s, act=draft.act, facts_revision=facts.revision)


def _ask(judge: Callable[[_Asked], _Said], draft: _Asked) -> _Said:
    try:
        return judge(draft)
    except Exception as error:  # noqa: BLE001 - promise 7: a bug denies; the text of the error may hold the input
        return Stop(DenyReason.INTERNAL, type(error).__name__)


def _registered(draft: _Asked) -> _Said:
    asked = draft.input
    if not asked.views_fresh:
        return "not judged: the view is stale"
    client = draft.facts.client(asked.client_id)
    if client is None or client.state != "active":
        return Stop(DenyReason.CLIENT_UNKNOWN)
    if asked.grant not in client.grant_types:
        return Stop(DenyReason.GRANT_NOT_ALLOWED)
    draft.client = client
    workload = asked.workload
    if workload is not None and (client.spiffe_id is None or not workload_of(client.spiffe_id, workload)):
        return Stop(DenyReason.CLIENT_UNKNOWN, "not the workload that it is registered as")
    return admitted(asked, client, draft.facts) or _active(draft)


def _active(draft: _Asked) -> _Said:
    """Every agent among them is active; one whose record cannot be read is not."""
    for party in draft.parties:
        if draft.facts.knows_agent(party.workload) and (party.agent is None or party.agent.state != "active"):
            return Stop(DenyReason.AGENT_INACTIVE)
    return ", ".join("an agent" if party.agent else "a workload that is no agent" for party in draft.parties)


def _views(draft: _Asked) -> _Said:
    return "" if draft.input.views_fresh else Stop(DenyReason.VIEW_STALE)


def _posture(draft: _Asked) -> _Said:
    """Nobody can be asked for an approval here, so a step-up refuses.  Who handed the transaction on counts as in a chain of calls."""
    asked, subject = draft.input, draft.input.subject
    postures = [*draft.facts.postures_for(asked.instance, asked.workload, draft.human, None if subject is None else subject.txn)]
    for instance, workload in dict.fromkeys(_others(draft)):
        postures += draft.facts.postures_for(instance, workload, None)
    for posture in postures:
        if posture.level == "quarantined":
            return Stop(DenyReason.QUARANTINED, f"the {posture.scope} is quarantined")
        if posture.level == "step_up":
            return Stop(DenyReason.STEP_UP_REQUIRED, f"the {posture.scope} needs an approval")
        if posture.level == "narrowed":
            if draft.outside(posture.purposes):
                return Stop(DenyReason.NARROWED, f"the {posture.scope} is narrowed")
            draft.ttl_s = min(draft.ttl_s, posture.max_ttl_s)
    return ""


def _others(draft: _Asked) -> Iterator[tuple[str | None, str]]:
    """The actor, the subject where it is a workload, and whoever handed the transaction on or acted in it."""
    subject = draft.input.subject
    yield from ((party.instance, party.workload) for party in draft.parties)
    if subject is not None:
        yield from ((None, name) for name in (subject.sub, *(link.wl for link in subject.chain)) if is_workload(name))
        yield from earlier(subject.act)


def _namespace(draft: _Asked) -> _Said:
    seen = []
    for party in draft.parties:
        spaces = draft.facts.namespaces_above(party.workload)
        if not spaces:
            return Stop(DenyReason.NAMESPACE_UNKNOWN)
        for space in spaces:
            if outside := draft.outside(space.bounds.purposes):
                return Stop(DenyReason.OUT_OF_BOUNDS, f"{space.prefix}: {', '.join(outside)}")
            draft.ttl_s = min(draft.ttl_s, space.bounds.max_ttl_s)
            seen.append(space.prefix)
    return ", ".join(dict.fromkeys(seen)) or "no workload"


def _charter(draft: _Asked) -> _Said:
    agents = [party.agent for party in draft.parties if party.agent is not None]
    for agent in agents:
        if outside := draft.outside(agent.charter.purposes):
            return Stop(DenyReason.OUT_OF_CHARTER, ", ".join(outside))
        draft.ttl_s = min(draft.ttl_s, agent.charter.max_ttl_s)
    return "" if agents else "no agent"


def _graph(draft: _Asked) -> _Said:
    if draft.human is None:
        return "nobody's behalf"
    person = f"user:{draft.human}"
    live = [edge for edge in draft.facts.relations_from(person) if edge.live(draft.input.now)]
    if not live:
        return Stop(DenyReason.USER_LACKS_RIGHT, "unknown person")
    agents = {*(party.workload for party in draft.parties if party.agent is not None), *earlier_agents(draft.input, draft.facts)}
    for agent in sorted(agents):
        refused = _consented(draft, person, agent)
        if refused is not None:
            return refused
    return "the person lets the agent act" if agents else "a known person; which tools they may use is asked when one is named"


def _consented(draft: _Asked, person: str, agent: str) -> Stop | None:
    """RFC 8693 delegation: the person lets this agent act, for this, and no token outlives it."""
    _, edge = draft.facts.relation(person, "delegates_to", f"agent:{agent}")
    if edge is None or not edge.live(draft.input.now):
        return Stop(DenyReason.USER_NOT_DELEGATING)
    if draft.outside(edge.purposes):
        return Stop(DenyReason.USER_NOT_DELEGATING, "not for this purpose")
    if edge.expires_at is not None:
        draft.ttl_s = min(draft.ttl_s, edge.expires_at - draft.input.now)
    return None


def _ceiling(draft: _Asked) -> _Said:
    subject, client = draft.input.subject, draft.client
    if not draft.input.scope:
        return Stop(DenyReason.OUT_OF_CEILING, "no scope")
    patterns = client.scopes if subject is None else client.ceilings.get(subject.type)
    if patterns is None:
        return Stop(DenyReason.SUBJECT_TYPE_NOT_ALLOWED)
    if outside := draft.outside(patterns):
        return Stop(DenyReason.OUT_OF_CEILING, ", ".join(outside))
    return _targets(draft)


def _targets(draft: _Asked) -> _Said:
    """What an access token may be for: never for a tool, which is called: without a call it would be good for all that the tool does.

    One of an exchange is not for the fabric itself, whose interfaces take a client's own; and it rests on more than the client's word: who
    takes it sees a person, and cannot tell who vouched.
    """
    asked, client, subject = draft.input, draft.client, draft.input.subject
    if not asked.resources:
        return ""
    never = {tool.resource for tool in draft.facts.tools()} | ({asked.issuer} if subject is not None else set())
    if any(resource not in client.resources or resource in never for resource in asked.resources):
        return Stop(DenyReason.RESOURCE_NOT_ALLOWED)
    if subject is not None and (subject.asserted or subject.type in ASSERTED):
        return Stop(DenyReason.SUBJECT_TYPE_NOT_ALLOWED, "nobody but the client vouches for the subject")
    return ""


def _rights(draft: _Asked) -> _Said:
    subject = draft.input.subject
    if subject is None:
        return "its own"
    if not may_act(draft.input, draft.facts):
        return Stop(DenyReason.ACTOR_NOT_ALLOWED, "the subject token lets another act (may_act)")
    if subject.scope is None:
        return "the token says nothing of scope: the ceiling is its scope"
    beyond = [code for code in draft.input.scope if code not in subject.scope]
    return Stop(DenyReason.OUT_OF_SUBJECT_SCOPE, ", ".join(beyond)) if beyond else "within the subject token's scope"


def _constraints(draft: _Asked) -> _Said:
    asked, client, subject = draft.input, draft.client, draft.input.subject
    transaction = asked.grant == TOKEN_EXCHANGE and asked.requested == "txn_token"
    draft.ttl_s = min(draft.ttl_s, client.txn_ttl_s if transaction else client.access_ttl_s)
    if asked.actor is not None:
        draft.ttl_s = min(draft.ttl_s, asked.actor.exp - asked.now)
    act = act_of(asked, draft.facts)
    if isinstance(act, Stop):
        return act
    draft.act = act
    if subject is not None:
        if subject.exp is not None:
            draft.ttl_s = min(draft.ttl_s, subject.exp - asked.now)
        if subject.txn is not None and len(subject.chain) > client.replacements:
            return Stop(DenyReason.CHAIN_TOO_DEEP, f"replaced {client.replacements} times already")
    return f"{draft.ttl_s} s" if draft.ttl_s > 0 else Stop(DenyReason.PARENT_EXPIRED, "what it would rest on has expired")


_GATES: tuple[tuple[Gate, Callable[[_Asked], _Said]], ...] = (
    (Gate.REGISTERED, _registered),
    (Gate.VIEWS, _views),
    (Gate.POSTURE, _posture),
    (Gate.NAMESPACE, _namespace),
    (Gate.CHARTER, _charter),
    (Gate.GRAPH, _graph),
    (Gate.CEILING, _ceiling),
    (Gate.RIGHTS, _rights),
    (Gate.CONSTRAINTS, _constraints),
)

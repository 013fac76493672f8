"""`decide_exchange(input, facts)`: a token request that names no tool.  Pure, and never raises.

The gates of an invocation, as far as they can be asked without a tool: no policy and no right over a tool is asked, which is why what
is granted opens none (a guard wants a `call`).  A tool that is named is decided by `decide`.

1. Registered: the client, its grant, the agent it is.  2. Views.  3. Posture of its workload, the namespaces above it, the person,
the transaction and whoever handed it on.
4. Namespace bounds.  5. Charter, where the workload is an agent.  6. The graph: the person is known, and lets the agent act.
7. Ceiling: of the client for this type of subject token.  8. Rights: the subject token's own scope.  9. Life, and the call chain's length.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from schemas.clients import TOKEN_EXCHANGE, workload_of
from schemas.decision import Gate, GateLine
from schemas.exchange import ExchangeDecision, ExchangeInput
from schemas.facts import Agent, Client
from schemas.reasons import DenyReason
from schemas.token import MAX_TTL_S
from streams.facts_table import FactsTable
from workers.common.decision.draft import Stop, is_workload
from workers.common.decision.patterns import Patterns, matches

MAX_NOTE = 400


@dataclass
class _Asked:
    """A decision in the making; its life only shrinks."""

    input: ExchangeInput
    facts: FactsTable
    client: Client = field(init=False)
    agent: Agent | None = None
    ttl_s: int = MAX_TTL_S

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
    return ExchangeDecision(outcome="allow", lines=tuple(lines), ttl_s=draft.ttl_s, facts_revision=facts.revision)


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
    return "" if asked.workload is None else _workload(draft, asked.workload)


def _workload(draft: _Asked, workload: str) -> _Said:
    client = draft.client
    if client.spiffe_id is None or not workload_of(client.spiffe_id, workload):
        return Stop(DenyReason.CLIENT_UNKNOWN, "not the workload that it is registered as")
    if draft.facts.knows_agent(workload):
        draft.agent = draft.facts.agent(workload)
        if draft.agent is None or draft.agent.state != "active":
            return Stop(DenyReason.AGENT_INACTIVE)
    return "an agent" if draft.agent else "a workload that is no agent"


def _views(draft: _Asked) -> _Said:
    return "" if draft.input.views_fresh else Stop(DenyReason.VIEW_STALE)


def _posture(draft: _Asked) -> _Said:
    """Nobody can be asked for an approval here, so a step-up refuses.  Who handed the transaction on counts as in a chain of calls."""
    asked, subject = draft.input, draft.input.subject
    others = () if subject is None else (subject.sub, *(link.wl for link in subject.chain))
    postures = [*draft.facts.postures_for(asked.instance, asked.workload, draft.human, None if subject is None else subject.txn)]
    for workload in dict.fromkeys(filter(is_workload, others)):
        postures += draft.facts.postures_for(None, workload, None)
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


def _namespace(draft: _Asked) -> _Said:
    if draft.input.workload is None:
        return "no workload"
    spaces = draft.facts.namespaces_above(draft.input.workload)
    if not spaces:
        return Stop(DenyReason.NAMESPACE_UNKNOWN)
    for space in spaces:
        if outside := draft.outside(space.bounds.purposes):
            return Stop(DenyReason.OUT_OF_BOUNDS, f"{space.prefix}: {', '.join(outside)}")
        draft.ttl_s = min(draft.ttl_s, space.bounds.max_ttl_s)
    return ", ".join(space.prefix for space in spaces)


def _charter(draft: _Asked) -> _Said:
    if draft.agent is None:
        return "no agent"
    if outside := draft.outside(draft.agent.charter.purposes):
        return Stop(DenyReason.OUT_OF_CHARTER, ", ".join(outside))
    draft.ttl_s = min(draft.ttl_s, draft.agent.charter.max_ttl_s)
    return ""


def _graph(draft: _Asked) -> _Said:
    if draft.human is None:
        return "nobody's behalf"
    person = f"user:{draft.human}"
    live = [edge for edge in draft.facts.relations_from(person) if edge.live(draft.input.now)]
    if not live:
        return Stop(DenyReason.USER_LACKS_RIGHT, "unknown person")
    if draft.agent is None:
        return "a known person; which tools they may use is asked when one is named"
    _, edge = draft.facts.relation(person, "delegates_to", f"agent:{draft.agent.id}")
    if edge is None or not edge.live(draft.input.now):
        return Stop(DenyReason.USER_NOT_DELEGATING)
    if draft.outside(edge.purposes):
        return Stop(DenyReason.USER_NOT_DELEGATING, "not for this purpose")
    if edge.expires_at is not None:
        draft.ttl_s = min(draft.ttl_s, edge.expires_at - draft.input.now)
    return "the person lets the agent act"


def _ceiling(draft: _Asked) -> _Said:
    subject, client = draft.input.subject, draft.client
    if not draft.input.scope:
        return Stop(DenyReason.OUT_OF_CEILING, "no scope")
    patterns = client.scopes if subject is None else client.ceilings.get(subject.type)
    if patterns is None:
        return Stop(DenyReason.SUBJECT_TYPE_NOT_ALLOWED)
    if outside := draft.outside(patterns):
        return Stop(DenyReason.OUT_OF_CEILING, ", ".join(outside))
    beyond = [resource for resource in draft.input.resources if resource not in client.resources]
    return Stop(DenyReason.RESOURCE_NOT_ALLOWED) if beyond else ""


def _rights(draft: _Asked) -> _Said:
    subject = draft.input.subject
    if subject is None:
        return "its own"
    if subject.scope is None:
        return "the token says nothing of scope: the ceiling is its scope"
    beyond = [code for code in draft.input.scope if code not in subject.scope]
    return Stop(DenyReason.OUT_OF_SUBJECT_SCOPE, ", ".join(beyond)) if beyond else "within the subject token's scope"


def _constraints(draft: _Asked) -> _Said:
    asked, client, subject = draft.input, draft.client, draft.input.subject
    draft.ttl_s = min(draft.ttl_s, client.txn_ttl_s if asked.grant == TOKEN_EXCHANGE else client.access_ttl_s)
    if subject is not None:
        if subject.exp is not None:
            draft.ttl_s = min(draft.ttl_s, subject.exp - asked.now)
        if subject.txn is not None and len(subject.chain) > client.replacements:
            return Stop(DenyReason.CHAIN_TOO_DEEP, f"replaced {client.replacements} times already")
    return f"{draft.ttl_s} s" if draft.ttl_s > 0 else Stop(DenyReason.PARENT_EXPIRED, "the subject token has expired")


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

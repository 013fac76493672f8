"""`decide(input, facts)`: the gates in their order.  Pure: no clock, no logger, no await, and it never raises.

The same function serves gateway, broker, replay and what-if; the same input over the same facts gives the same bytes.  The gates
`limits` and `identity` are the gateway's; it puts their lines before these (`with_lines`).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from schemas.decision import Decision, DecisionInput, Gate, GateLine
from schemas.reasons import DenyReason
from streams.facts_table import FactsTable
from workers.common.decision.chain import ceiling, rights
from workers.common.decision.constraints import constraints
from workers.common.decision.draft import Draft, Hold, Judge, Said, Stop
from workers.common.decision.gates import charter, namespace, registered, views
from workers.common.decision.granting import grant_of
from workers.common.decision.graph import graph
from workers.common.decision.kept import Kept, kept_for, question
from workers.common.decision.standing import posture

GATES: tuple[tuple[Gate, Judge], ...] = (
    (Gate.REGISTERED, registered),
    (Gate.VIEWS, views),
    (Gate.POSTURE, posture),
    (Gate.NAMESPACE, namespace),
    (Gate.CHARTER, charter),
    (Gate.GRAPH, graph),
    (Gate.CEILING, ceiling),
    (Gate.RIGHTS, rights),
    (Gate.CONSTRAINTS, constraints),
)
MAX_NOTE = 400


def decide(asked: DecisionInput, facts: FactsTable) -> Decision:
    """The decision, and one line for every gate that was asked."""
    about = question(asked)
    held: Kept | None = facts.at_revision.get(about)
    if held is not None and held.since <= asked.now < held.until:
        return held.decision
    draft = Draft(asked, facts)
    decision = _through_the_gates(draft)
    if about is not None and decision and (keep := kept_for(decision, draft)) is not None:
        facts.at_revision.put(about, keep)
    return decision


def _through_the_gates(draft: Draft) -> Decision:
    lines: list[GateLine] = []
    hold: Hold | None = None
    for gate, judge in GATES:
        said = ask(judge, draft)
        lines.append(_line(gate, said))
        if isinstance(said, Stop):
            return _refuse(draft, lines, said.reason)
        hold = said if isinstance(said, Hold) else hold
    if hold is not None:
        return _step_up(draft, lines, hold)
    return _allow(draft, lines)


def ask(judge: Judge, draft: Draft) -> Said:
    """One gate.  A bug in it is a refusal, and the record says which kind."""
    try:
        return judge(draft)
    except Exception as error:  # noqa: BLE001 - promise 7: a bug denies; the text of the error may hold the input
        return Stop(DenyReason.INTERNAL, type(error).__name__)


def with_lines(before: Iterable[GateLine], decision: Decision) -> Decision:
    """The decision with the lines of the gates that its caller asked before."""
    return decision.model_copy(update={"lines": (*before, *decision.lines)})


def _allow(draft: Draft, lines: list[GateLine]) -> Decision:
    try:
        grant = grant_of(draft)
    except Exception as error:  # noqa: BLE001 - as in `ask`
        lines[-1] = _line(lines[-1].gate, Stop(DenyReason.INTERNAL, type(error).__name__))
        return _refuse(draft, lines, DenyReason.INTERNAL)
    return Decision(
        outcome="allow", lines=tuple(lines), grant=grant, facts_revision=draft.facts.revision, policy_digest=draft.policy_digest
    )


def _refuse(draft: Draft, lines: list[GateLine], reason: DenyReason) -> Decision:
    return Decision(
        outcome="deny", reason=reason, lines=tuple(lines), facts_revision=draft.facts.revision, policy_digest=draft.policy_digest
    )


def _step_up(draft: Draft, lines: list[GateLine], hold: Hold) -> Decision:
    return Decision(
        outcome="step_up",
        reason=DenyReason.STEP_UP_REQUIRED,
        needs=hold.needs,
        lines=tuple(lines),
        facts_revision=draft.facts.revision,
        policy_digest=draft.policy_digest,
    )


def _line(gate: Gate, said: Said) -> GateLine:
    if isinstance(said, str):
        return _made(gate, passed=True, note=said[:MAX_NOTE])
    return _made(gate, passed=False, note=said.note[:MAX_NOTE])


@lru_cache(maxsize=4096)
def _made(gate: Gate, *, passed: bool, note: str) -> GateLine:
    return GateLine(gate=gate, passed=passed, note=note)

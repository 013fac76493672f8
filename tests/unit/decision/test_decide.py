"""The decision, as a table: cases.yaml over world.yaml."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from weft.digest import target_digest

from schemas.decision import Decision, Gate
from schemas.facts import Kind
from schemas.reasons import AgentCode, DenyReason, told
from tests.support import world
from tests.support.facts import put
from workers.common.decision import decide, with_lines

CASES = yaml.safe_load((Path(__file__).parent / "cases.yaml").read_text())


def facts_of(case: dict[str, Any]) -> dict[str, Any]:
    """The case's facts; `posture: [scope, value, level]` is short for a posture."""
    return {name: posture(**body) if body and "posture" in body else body for name, body in case.get("facts", {}).items()}


def posture(posture: list[str], **more: Any) -> dict[str, Any]:
    scope, value, level = posture
    return {"kind": "posture", "scope": scope, "target": target_digest(scope, value), "level": level, "causes": [], **more}


def decided(case: dict[str, Any]) -> Decision:
    return decide(world.request(case["ask"], case.get("request")), world.facts(facts_of(case)))


def refused_at(decision: Decision) -> str:
    return decision.lines[-1].gate.value


@pytest.mark.parametrize("case", [c for c in CASES if "allow" in c], ids=lambda c: c["name"])
def test_allows(case: dict[str, Any]) -> None:
    decision = decided(case)
    assert decision.outcome == "allow", (decision.reason, decision.lines[-1])
    assert bool(decision)
    assert decision.grant is not None
    granted = {"evidence": [], "bound": []} | decision.grant.plain()
    for name, value in case["allow"].items():
        got = {key: granted[name][key] for key in value} if isinstance(value, dict) else granted[name]
        assert got == value, name


@pytest.mark.parametrize("case", [c for c in CASES if "deny" in c], ids=lambda c: c["name"])
def test_denies(case: dict[str, Any]) -> None:
    decision = decided(case)
    assert (decision.outcome, decision.reason, refused_at(decision)) == ("deny", DenyReason(case["deny"]), case["gate"])
    assert not decision
    assert decision.grant is None
    assert not decision.lines[-1].passed


@pytest.mark.parametrize("case", [c for c in CASES if "step_up" in c], ids=lambda c: c["name"])
def test_steps_up(case: dict[str, Any]) -> None:
    decision = decided(case)
    assert (decision.outcome, decision.reason, decision.needs) == ("step_up", DenyReason.STEP_UP_REQUIRED, case["step_up"])
    assert not decision
    assert decision.grant is None
    assert [line.gate for line in decision.lines if not line.passed] == [Gate.POSTURE]


def test_every_case_says_one_outcome() -> None:
    assert all(len({"allow", "deny", "step_up"} & set(case)) == 1 for case in CASES)
    assert len({case["name"] for case in CASES}) == len(CASES)


def test_every_gate_writes_its_line_in_order() -> None:
    decision = decide(world.request("refund"), world.facts())
    assert [line.gate for line in decision.lines] == list(Gate)[2:]


def test_the_way_through_the_graph_is_told_and_the_person_is_not() -> None:
    decision = decide(world.request("refund"), world.facts())
    note = next(line.note for line in decision.lines if line.gate is Gate.GRAPH)
    assert note == "person → team:refunds → toolgroup:payments → tool:payments-processing; permitted by default.on-behalf"
    assert "marty" not in "".join(line.note for line in decision.lines)


def test_the_gateway_puts_its_own_lines_first() -> None:
    decision = decide(world.request("refund"), world.facts())
    before = [line.model_copy(update={"gate": gate}) for line, gate in zip(decision.lines, (Gate.LIMITS, Gate.IDENTITY), strict=False)]
    assert [line.gate for line in with_lines(before, decision).lines] == list(Gate)


def test_unknown_and_forbidden_tool_are_one_answer() -> None:
    """INVARIANT: an agent cannot tell a tool that does not exist from one that it may not call, whatever its posture.

    It would break if a step-up ended the decision at the posture gate, or if a stale view said which tools exist.
    """
    for stepped in ({}, {"p": posture(["instance", "iaaaaaaaaaaaaaaaaaaaaaaaaaa", "step_up"])}):
        for fresh in (True, False):
            table = world.facts(stepped)
            asked = [
                world.request("refund", {"tool": tool, "actions": ["search"], "views_fresh": fresh}) for tool in ("web-search", "nothing")
            ]
            told_of = {told(decide(each, table).reason or DenyReason.INTERNAL) for each in asked}
            assert told_of == {AgentCode.DENIED if fresh else AgentCode.UNAVAILABLE}


@pytest.mark.parametrize("kind", [Kind.POSTURE, Kind.NAMESPACE, Kind.POLICY, Kind.AGENT, Kind.TOOL])
def test_an_unreadable_fact_denies(kind: Kind) -> None:
    """INVARIANT: a fact that cannot be read counts as its strictest reading: doubt denies (promise 7).

    It would break if a namespace, a policy or a posture that does not parse were skipped as if it were not there.
    """
    table = world.facts()
    digest = target_digest("instance", "iaaaaaaaaaaaaaaaaaaaaaaaaaa")
    key = {
        Kind.POSTURE: f"instance.{digest}",
        Kind.NAMESPACE: "88mph~com.agents",
        Kind.POLICY: "default",
        Kind.AGENT: "88mph~com.agents.advisor",
        Kind.TOOL: "payments-processing",
    }[kind]
    assert decide(world.request("refund"), table)
    table.apply(table.revision + 1, f"weft.fact.{kind.value}.{key}", b'{"data":{"kind":"posture"')
    assert decide(world.request("refund"), table).outcome == "deny"


def test_a_fact_that_cannot_be_read_beside_good_ones_denies() -> None:
    table = world.facts()
    table.apply(table.revision + 1, "weft.fact.policy.forbids", b"{}")
    assert decide(world.request("refund"), table).reason is DenyReason.POLICY_ERROR


def test_a_bug_in_a_gate_denies(monkeypatch: pytest.MonkeyPatch) -> None:
    """INVARIANT: an exception while deciding is a typed refusal, and its text is nowhere (promise 7).

    It would break if `decide` let an exception escape, or quoted one.
    """

    def broken(*_: object) -> None:
        raise RuntimeError("the secret")

    table = world.facts()
    monkeypatch.setattr(table, "postures_for", broken)
    decision = decide(world.request("refund"), table)
    assert (decision.outcome, decision.reason) == ("deny", DenyReason.INTERNAL)
    assert b"the secret" not in decision.wire()


def test_deleting_one_relation_flips_the_next_decision_and_putting_it_back_too() -> None:
    """INVARIANT: a decision sees a change with the event that made it; nothing is kept by a timer.

    It would break if a slice or a policy outcome outlived an event that touched one of its subjects.
    """
    table, bodies = world.facts(), world.bodies()
    asked = world.request("refund")
    for name in ("marty-refunds", "refunds-payments", "payments-tool", "marty-delegates", "policy", "advisor", "payments"):
        assert decide(asked, table), name
        put(table, bodies[name], deleted=True)
        assert not decide(asked, table), name
        put(table, bodies[name])
    assert decide(asked, table)


def test_a_new_namespace_bounds_at_once() -> None:
    table = world.facts()
    asked = world.request("refund")
    assert decide(asked, table)
    put(table, {"kind": "namespace", "prefix": "spiffe://88mph.com/agents/advisor", "owner": "x", "realm": "third_party"})
    put(table, {"kind": "policy", "name": "no", "cedar": 'forbid (principal, action, resource) when { context.realm == "third_party" };'})
    assert decide(asked, table).reason is DenyReason.POLICY_DENIED


def test_time_passes_over_a_kept_slice() -> None:
    table = world.facts({"marty-refunds": {"expires_at": 1010}})
    asked = {now: world.request("refund", {"now": now}) for now in (1000, 1009, 1010, 1020)}
    assert [bool(decide(asked[now], table)) for now in (1000, 1009, 1010, 1020, 1009, 1000)] == [True, True, False, False, True, True]


def test_the_intent_never_helps() -> None:
    table = world.facts()
    plain = decide(world.request("refund"), table)
    meant = decide(world.request("refund", {"intent": "B" * 43}), table)
    assert plain == meant

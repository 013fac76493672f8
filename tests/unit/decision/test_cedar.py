"""The policies as they are prepared: what parses, what is asked, what is named."""

import json

import cedarpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.facts import put, table_of
from workers.common.decision import policy_digest
from workers.common.decision.cedar import Policies, PolicyError, entities_of, parse, policies_of, uid

HEADS = st.sampled_from(["", '== Weft::Agent::"a"', '== Weft::Agent::"b"', 'in Weft::Team::"t"', "is Weft::Agent"])
TOOLS = st.sampled_from(["", '== Weft::Tool::"x"', '== Weft::Tool::"y"', 'in Weft::ToolGroup::"g"', "is Weft::Tool"])
EFFECTS = st.sampled_from(["permit", "permit", "forbid"])
RULES = st.builds(lambda effect, who, what: f"{effect} (principal {who}, action, resource {what});", EFFECTS, HEADS, TOOLS)
ENTITIES = [
    {"uid": uid("Agent", "a"), "attrs": {}, "parents": [uid("Team", "t")]},
    {"uid": uid("Tool", "x"), "attrs": {}, "parents": [uid("ToolGroup", "g")]},
]


def policy(name: str, text: str) -> dict[str, str]:
    return {"kind": "policy", "name": name, "cedar": text}


def request(agent: str = "a", tool: str = "x") -> dict[str, object]:
    return {"principal": uid("Agent", agent), "action": uid("Action", "read"), "resource": uid("Tool", tool), "context": {}}


@settings(deadline=None, max_examples=150)
@given(st.lists(st.lists(RULES, min_size=1, max_size=3), min_size=1, max_size=4), st.sampled_from("abc"), st.sampled_from("xyz"))
def test_leaving_out_policies_about_others_changes_no_answer(texts: list[list[str]], agent: str, tool: str) -> None:
    """INVARIANT: asking only the policies that can apply decides as Cedar decides over all of them.

    It would break if a policy whose head does not name one other entity were left out: a `forbid` among them would open.
    """
    policies = Policies.prepare(table_of(policy(f"p{n}", "\n".join(rules)) for n, rules in enumerate(texts)))
    entities = entities_of(ENTITIES)
    whole = cedarpy.is_authorized(request(agent, tool), "\n".join(rule for rules in texts for rule in rules), json.dumps(ENTITIES))
    (answer,) = policies.ask([request(agent, tool)], entities)
    assert answer.allowed == whole.allowed
    assert len(answer.because) == len(whole.diagnostics.reasons)


@pytest.mark.parametrize(
    "text", ["permit", "permit (principal, action, resource)", "\0", "permit (principal == ?principal, action, resource);"]
)
def test_what_is_not_a_policy(text: str) -> None:
    with pytest.raises(PolicyError):
        parse(text)


@pytest.mark.parametrize("text", ["", "// nothing"])
def test_an_empty_text_is_no_policy(text: str) -> None:
    assert Policies.prepare(table_of([policy("p", text)])).error == "there is no policy"


def test_answers_name_the_policy_and_its_rule() -> None:
    text = '@id("readers") permit (principal, action, resource); permit (principal, action, resource);'
    policies = Policies.prepare(table_of([policy("p", text)]))
    assert policies.ask([request()], entities_of(ENTITIES))[0].because == ("p.policy1", "p.readers")


def test_the_digest_names_every_text_and_nothing_else() -> None:
    one, two = policy("a", "permit (principal, action, resource);"), policy("b", "// none")
    table = table_of([one, two])
    assert policy_digest(table) == policy_digest(table_of([two, one]))
    seen = {policy_digest(table), policy_digest(table_of([one])), policy_digest(table_of([policy("c", one["cedar"]), two]))}
    table.apply(table.revision + 1, "weft.fact.policy.b", b"?")
    assert len(seen | {policy_digest(table)}) == 4


def test_they_are_prepared_once_per_change() -> None:
    table = table_of([policy("a", "permit (principal, action, resource);")])
    first = policies_of(table)
    assert policies_of(table) is first
    put(
        table,
        {
            "kind": "tool",
            "name": "x",
            "owner": "o",
            "workload": "spiffe://d/x",
            "endpoint": "http://x",
            "resource": "http://x",
            "actions": [],
            "purposes": [],
        },
    )
    assert policies_of(table) is first
    put(table, policy("b", "forbid (principal, action, resource);"))
    assert policies_of(table) is not first
    assert not policies_of(table).ask([request()], entities_of(ENTITIES))[0].allowed


def test_a_panic_of_the_engine_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    class PanicException(BaseException):  # as PyO3 names it, and past Exception as it makes it
        pass

    def panics(*_: object) -> None:
        raise PanicException

    monkeypatch.setattr(cedarpy, "is_authorized_batch", panics)
    policies = Policies.prepare(table_of([policy("a", "permit (principal, action, resource);")]))
    with pytest.raises(PolicyError):
        policies.ask([request()], entities_of(ENTITIES))

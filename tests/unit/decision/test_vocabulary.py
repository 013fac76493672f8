"""What policies may speak of is what requests have: faults are named before a policy denies everybody."""

import json

import cedarpy
import pytest

from tests.support import world
from tests.support.facts import table_of
from workers.common.decision import decide, graph
from workers.common.decision.vocabulary import SCHEMA, faults

HEAD = "permit (principal, action, resource) when"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (f"{HEAD} {{ context.on_behalff }};", "`on_behalff`"),
        (f'@id("mine") {HEAD} {{ context.dept == 1 }};', "mine: "),
        (f"{HEAD} {{ principal.nam == context.purpose }};", "`nam`"),
        (f'{HEAD} {{ resource.capabilities == "x" }};', "not compatible"),
        (f'{HEAD} {{ context.user in Weft::Team::"x" }};', "optional attribute `user`"),
        (f'{HEAD} {{ principal.getTag("security.data") == "low" }};', "tag"),
        ('permit (principal in Weft::Teams::"x", action, resource);', "`Weft::Teams`"),
        ('forbid (principal, action == Weft::Action::"refund", resource) when { context.amount > 5 };', "`amount`"),
    ],
)
def test_a_policy_of_what_no_request_has_is_named(text, named):
    """INVARIANT: a policy that would fail for every request is refused when it is written, by the name of what is wrong.

    Cedar parses it; evaluated, it is an error, and an error denies every agent of the fabric.
    """
    found = faults(text)
    assert found
    assert any(named in fault for fault in found), found
    assert len(found) == len(set(found))


@pytest.mark.parametrize(
    "text",
    [
        world.DEFAULT_POLICY,
        f'{HEAD} {{ context has user && context.user in Weft::Team::"refunds" && context.depth < 3 }};',
        f'{HEAD} {{ principal.hasTag("security.data") && principal.getTag("security.data") == "low" }};',
        'forbid (principal in Weft::Namespace::"spiffe://88mph.com/agents", action, resource in Weft::ToolGroup::"g");',
        'permit (principal, action in [Weft::Action::"pay", Weft::Action::"a b\\"c"], resource);',
        f'{HEAD} {{ action == Weft::Action::"refund" && context.environment.contains("region=us-east") }};',
        "",
    ],
)
def test_a_policy_of_what_requests_have_is_not(text):
    assert faults(text) == ()


@pytest.mark.parametrize("asked", ["refund", "search", "hop"])
def test_every_request_is_as_the_vocabulary_says(asked, monkeypatch):
    """INVARIANT: what a policy may speak of is exactly what requests and entities hold, as Cedar itself checks it.

    A field added to the request and not to the schema (or the other way round) would break it.
    """
    seen = []
    monkeypatch.setattr(graph, "_request", lambda *args, real=graph._request: seen.append(real(*args)) or seen[-1])
    rows = []
    monkeypatch.setattr(graph, "entities_of", lambda held, real=graph.entities_of: rows.extend(held) or real(held))
    decision = decide(world.request(asked), table_of(world.bodies().values()))
    assert decision.grant is not None
    actions = ", ".join(json.dumps(request["action"]["id"]) for request in seen)
    declared = f"action {actions} appliesTo {{ principal: [Agent], resource: [Tool], context: Context }};"
    schema = SCHEMA.replace("namespace Weft {", f"namespace Weft {{ {declared}", 1)
    for request in seen:
        answer = cedarpy.is_authorized(request, "permit (principal, action, resource);", json.dumps(rows), schema=schema)
        assert answer.allowed, answer.diagnostics.errors
        extra = {**request, "context": {**request["context"], "more": True}}
        assert not cedarpy.is_authorized(extra, "permit (principal, action, resource);", json.dumps(rows), schema=schema).allowed

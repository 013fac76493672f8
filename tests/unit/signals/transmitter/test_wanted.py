"""Who hears of an event: type, place, subject, status; and in which signature."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.events import CAEP, RISC, SSF
from schemas.facts import EventStream, PollDelivery
from schemas.subject_ids import parse_subject
from workers.signals.transmitter.wanted import SUPPORTED, algorithm, delivered, goes_to, place_of

ROOT = "spiffe://88mph.com"
REVOKED, RISK = f"{CAEP}session-revoked", f"{CAEP}risk-level-change"
ANN = {"format": "email", "email": "ann@example.com"}
BOB = {"format": "email", "email": "bob@example.com"}
AGENT = {"format": "uri", "uri": f"{ROOT}/agents/a"}
INSTANCE = {"format": "complex", "workload": AGENT, "instance": {"format": "opaque", "id": "i1"}}
NOBODYS = {"format": "complex", "instance": {"format": "opaque", "id": "i1"}}
WORKLOAD = {"format": "complex", "workload": AGENT}
ANNS = {"format": "iss_sub", "iss": "https://op.example", "sub": "ann@example.com"}
PERSON = {"format": "complex", "user": ANN}
LETTERS = {"format": "uri", "uri": f"{ROOT}/agents/ab"}
NONE = {"defaults": "NONE"}


def stream(**members: Any) -> EventStream:
    for name in ("added", "removed"):
        members[name] = tuple(parse_subject(said) for said in members.get(name, ()))
    return EventStream(stream_id="s", client_id="c", aud="c", delivery=PollDelivery(), created_at=1, **members)


CASES: list[tuple[str, dict[str, Any], str, dict[str, Any], dict[str, Any], bool]] = [
    ("all that we have", {}, REVOKED, ANN, {}, True),
    ("what was asked for", {"events_requested": (REVOKED,)}, REVOKED, ANN, {}, True),
    ("what was not", {"events_requested": (RISK,)}, REVOKED, ANN, {}, False),
    ("nothing at all", {"events_requested": ()}, REVOKED, ANN, {}, False),
    ("what we do not have", {"events_requested": ("https://x",)}, "https://x", ANN, {}, False),
    ("paused: it is held", {"status": "paused"}, REVOKED, ANN, {}, True),
    ("disabled: it is dropped", {"status": "disabled"}, REVOKED, ANN, {}, False),
    ("no client", {}, REVOKED, ANN, {"hears": None}, False),
    ("a client that may hear of nobody", {}, REVOKED, AGENT, {"hears": ()}, False),
    ("an agent of its own", {}, REVOKED, AGENT, {"hears": (f"{ROOT}/agents",)}, True),
    ("an instance of its own", {}, REVOKED, INSTANCE, {"hears": (f"{ROOT}/agents/a",)}, True),
    ("another's agent", {}, REVOKED, AGENT, {"hears": (f"{ROOT}/agents/b",)}, False),
    ("a namespace that is a prefix of letters", {}, REVOKED, LETTERS, {"hears": (f"{ROOT}/agents/a",)}, False),
    ("a person, without the trust domain", {}, REVOKED, ANN, {"hears": (f"{ROOT}/agents",)}, False),
    ("an instance of nobody known", {}, REVOKED, NOBODYS, {"hears": (f"{ROOT}/agents",)}, False),
    ("another trust domain's agent", {}, REVOKED, {"format": "uri", "uri": "spiffe://other/agents/a"}, {}, False),
    ("a removed subject", {"removed": (ANN,)}, REVOKED, ANN, {}, False),
    ("someone else than the removed one", {"removed": (ANN,)}, REVOKED, BOB, {}, True),
    ("an instance of the removed agent", {"removed": (WORKLOAD,)}, REVOKED, INSTANCE, {}, False),
    ("an agent of whom an instance was removed", {"removed": (INSTANCE,)}, REVOKED, WORKLOAD, {}, True),
    ("a complex subject that shares nothing with the removed", {"removed": (PERSON,)}, REVOKED, INSTANCE, {}, True),
    ("nobody by default", {}, REVOKED, ANN, NONE, False),
    ("whoever was added", {"added": (ANN,)}, REVOKED, ANN, NONE, True),
    ("added, and absent members count as agreement", {"added": (WORKLOAD,)}, REVOKED, INSTANCE, NONE, True),
    ("someone else than the added one", {"added": (ANN,)}, REVOKED, BOB, NONE, False),
    ("whoever was added by another name", {"added": (ANNS,)}, REVOKED, ANN, NONE | {"also": (ANNS,)}, True),
    ("whoever was removed by another name", {"removed": (ANNS,)}, REVOKED, ANN, {"also": (ANNS,)}, False),
    ("somebody else's other name", {"added": (BOB,)}, REVOKED, ANN, NONE | {"also": (ANNS,)}, False),
]  # fmt: skip


@pytest.mark.parametrize(("members", "uri", "subject", "given", "goes"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_where_an_event_goes(members: dict[str, Any], uri: str, subject: dict[str, Any], given: dict[str, Any], *, goes: bool) -> None:
    also = tuple(parse_subject(name) for name in given.get("also", ()))
    terms: dict[str, Any] = {"hears": (ROOT,), "defaults": "ALL", "root": ROOT, **given, "also": also}
    assert goes_to(stream(**members), uri, parse_subject(subject), **terms) is goes


@pytest.mark.parametrize(
    ("requested", "alg"),
    [
        (None, "RS256"),
        ((REVOKED,), "RS256"),
        ((RISK, f"{CAEP}credential-change"), "RS256"),
        ((f"{CAEP}device-compliance-change", "https://x"), "RS256"),
        ((RISK,), "ES256"),
        ((f"{RISC}account-disabled",), "ES256"),
        ((f"{SSF}verification",), "RS256"),  # whoever only wants to see that it works
        ((), "RS256"),
    ],
)
def test_the_signature_follows_from_what_is_delivered(requested: tuple[str, ...] | None, alg: str) -> None:
    assert algorithm(stream(events_requested=requested)) == alg


def test_what_we_send_and_what_is_delivered() -> None:
    assert not [uri for uri in SUPPORTED if uri.startswith(SSF)], "sent on every stream, asked for or not"
    assert f"{RISC}sessions-revoked" not in SUPPORTED, "deprecated"
    assert delivered(stream()) == SUPPORTED
    assert delivered(stream(events_requested=(RISK, "https://x", RISK, REVOKED))) == (RISK, REVOKED)


def test_the_place_of_who_has_none_is_the_trust_domain() -> None:
    for said in (ANN, {"format": "uri", "uri": "https://x"}, {"format": "uri", "uri": "spiffe://"}, {"format": "opaque", "id": "x"}):
        assert place_of(parse_subject(said), ROOT) == ROOT

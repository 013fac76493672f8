"""What is read of RECORD's events, and that what cannot be read is passed over."""

import json

import pytest

from schemas.record import DENIED, ISSUED, NOT_AUTHENTICATED, USED
from workers.signals.watch.seen import read

CLAIMS = {
    "txn": "x", "jti": "j", "call": {"tool": "pay", "actions": ["refund"]},
    "act": {"sub": "spiffe://88mph.com/agents/b", "instance": "i2"}, "act_chain": [{"sub": "spiffe://88mph.com/agents/a"}],
}  # fmt: skip
NAME = "i1.88mph~com.agents.a"


def event(type_, data, time="2027-01-15T08:00:00Z"):
    return json.dumps({"type": type_, "time": time, "data": data}).encode()


def test_a_grant():
    seen = read(7, "weft.record.broker.issued.x", event(ISSUED, {"claims": CLAIMS}))
    assert (seen.kind, seen.seq, seen.at, seen.agent, seen.instance) == ("granted", 7, 1_800_000_000.0, CLAIMS["act"]["sub"], "i2")
    assert (seen.tool, seen.actions, seen.before) == ("pay", ("refund",), ("spiffe://88mph.com/agents/a",))


def test_a_refusal_is_of_the_connection_that_the_server_attested():
    seen = read(7, "weft.record.gateway.denied.x", event(DENIED, {"caller": NAME, "reason": "out_of_charter"}))
    assert (seen.kind, seen.agent, seen.instance, seen.reason) == ("refused", "spiffe://88mph.com/agents/a", "i1", "out_of_charter")


FAILED = {"client": "front", "workload": "spiffe://88mph.com/services/front", "instance": "k1", "failures": 12, "replays": 3}


def test_failures_are_of_the_workload_that_the_client_is():
    seen = read(7, "weft.record.broker.notauthenticated.x", event(NOT_AUTHENTICATED, FAILED))
    assert (seen.kind, seen.agent, seen.instance, seen.times, seen.replays) == ("unproven", FAILED["workload"], "k1", 12, 3)


@pytest.mark.parametrize(
    ("subject", "body"),
    [
        ("weft.record.audit.issued.x", event(ISSUED, {"claims": CLAIMS})),
        ("weft.record.broker.issued.x", b"{"),
        ("weft.record.broker.issued.x", b"[]"),
        ("weft.record.broker.issued.x", event(ISSUED, {})),
        ("weft.record.broker.issued.x", event(ISSUED, {"claims": CLAIMS}, time="yesterday")),
        ("weft.record.broker.issued.x", event(ISSUED, None)),
        ("weft.record.gateway.denied.x", event(DENIED, {"caller": "nobody", "reason": "x"})),
        ("weft.record.point.used.x", event(USED, {"accepted": True})),
        ("weft.record.point.used.x", event("org.weft.record.other.v1", {})),
        ("weft.record.broker.notauthenticated.x", event(NOT_AUTHENTICATED, {**FAILED, "workload": None})),
        ("weft.record.broker.notauthenticated.x", event(NOT_AUTHENTICATED, {**FAILED, "failures": "many"})),
        ("weft.record.signals.notauthenticated.x", event(NOT_AUTHENTICATED, FAILED)),
    ],
)
def test_what_cannot_be_read_is_nothing(subject, body):
    assert read(1, subject, body) is None


def test_nobody_says_what_is_anothers_to_say() -> None:
    """INVARIANT: a detection believes of each worker what that worker does, by the subject that the server lets it publish to.

    Broken by the event's own word for its type: a gateway that lies would have tokens issued that nobody issued, and others answer for it.
    """
    assert read(7, "weft.record.gateway.denied.x", event(ISSUED, {"claims": CLAIMS})) is None
    assert read(7, "weft.record.broker.issued.x", event(ISSUED, {"claims": CLAIMS})) is not None

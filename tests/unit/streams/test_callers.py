"""Who called: the header that the server writes, and everything it is not."""

from __future__ import annotations

import json

import pytest

from streams.callers import Caller, CallerUnknown, caller

ACCOUNTS = {name: f"A{name}" for name in ("FABRIC", "AGENTS", "POINTS", "OPERATORS", "EDGE", "EGRESS", "AUTH", "SYS")}
AGENT = "i1.88mph~com.agents.advisor"


def _info(account: str, user: str | None, **more: object) -> dict[str, str]:
    return {"Nats-Request-Info": json.dumps({"acc": ACCOUNTS[account], **({} if user is None else {"user": user}), **more})}


@pytest.mark.parametrize(
    ("subject", "account", "name"),
    [
        (f"weft.invoke.{AGENT}", "AGENTS", AGENT),
        (f"weft.tools.{AGENT}", "AGENTS", AGENT),
        (f"weft.complete.{AGENT}", "AGENTS", AGENT),
        (f"weft.attach.{AGENT}", "POINTS", AGENT),
        (f"weft.claim.{AGENT}", "POINTS", AGENT),
        (f"weft.use.{AGENT}", "POINTS", AGENT),
        (f"weft.ack.{AGENT}", "POINTS", AGENT),
        (f"weft.notice.{AGENT}", "POINTS", AGENT),
        (f"weft.set.{AGENT}", "POINTS", AGENT),
        ("weft.set.UOPERATOR", "OPERATORS", "UOPERATOR"),
        ("weft.command.registry.apply.UOPERATOR", "OPERATORS", "UOPERATOR"),
        ("weft.command.signals.revoke.UOPERATOR", "OPERATORS", "UOPERATOR"),
        ("weft.command.signals.lift.UOPERATOR", "OPERATORS", "UOPERATOR"),
        ("weft.query.audit.UOPERATOR", "OPERATORS", "UOPERATOR"),
    ],
)
def test_an_attested_caller(subject: str, account: str, name: str) -> None:
    assert caller(_info(account, name, name="a lie", name_tag="sentinel"), subject, ACCOUNTS) == Caller(account, name)


@pytest.mark.parametrize("subject", ["weft.set.edge", "weft.edge.keys"])
def test_the_edge_is_named_by_its_own_jwt(subject: str) -> None:
    assert caller(_info("EDGE", "UNKEY", name_tag="edge"), subject, ACCOUNTS) == Caller("EDGE", "edge")


@pytest.mark.parametrize(
    ("headers", "subject"),
    [
        (None, f"weft.invoke.{AGENT}"),
        ({}, f"weft.invoke.{AGENT}"),
        ({"Nats-Request-Info": ""}, f"weft.invoke.{AGENT}"),
        ({"Nats-Request-Info": "not json"}, f"weft.invoke.{AGENT}"),
        ({"Nats-Request-Info": '"text"'}, f"weft.invoke.{AGENT}"),
        ({"Nats-Request-Info": "[" * 5000}, f"weft.invoke.{AGENT}"),
        ({"Nats-Request-Info": json.dumps({"user": AGENT})}, f"weft.invoke.{AGENT}"),
        ({"Nats-Request-Info": json.dumps({"acc": ACCOUNTS["AGENTS"], "user": AGENT, "x": "y" * 9000})}, f"weft.invoke.{AGENT}"),
        (_info("AGENTS", None, name=AGENT, name_tag=AGENT), f"weft.invoke.{AGENT}"),  # the client's own word
        (_info("AGENTS", "", name=AGENT), "weft.invoke."),
        (_info("AGENTS", AGENT), f"weft.invoke.{AGENT}x"),  # another's name
        (_info("AGENTS", AGENT), f"weft.invoke.x.{AGENT}"),
        (_info("AGENTS", AGENT), "weft.invoke"),
        (_info("AGENTS", ">"), f"weft.invoke.{AGENT}"),  # a forged wildcard
        (_info("AGENTS", "*"), f"weft.invoke.{AGENT}"),
        (_info("POINTS", AGENT), f"weft.invoke.{AGENT}"),  # another account
        (_info("AGENTS", AGENT), f"weft.use.{AGENT}"),
        (_info("FABRIC", AGENT), f"weft.invoke.{AGENT}"),
        (_info("POINTS", AGENT), f"weft.command.registry.apply.{AGENT}"),
        (_info("EDGE", "edge", name_tag="other"), "weft.set.edge"),
        (_info("OPERATORS", "edge"), "weft.edge.keys"),
        (_info("POINTS", AGENT), "$JS.API.DIRECT.GET.REVOCATIONS"),  # not shared: nobody is attested there
        (_info("AGENTS", AGENT), f"weft.unknown.{AGENT}"),
        (_info("OPERATORS", "U"), "weft.command.unknown.verb.U"),
    ],
)
def test_anyone_else_is_unknown(headers: dict[str, str] | None, subject: str) -> None:
    """INVARIANT: a caller is who the server attested, in the account the subject belongs to, under the name the subject ends in.

    Falling back to another member of the header, or to the subject alone, would break it.
    """
    with pytest.raises(CallerUnknown):
        caller(headers, subject, ACCOUNTS)

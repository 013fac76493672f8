"""Promise 6: every decision can be computed again from the record alone."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from weft.digest import object_digest, unb64u

from schemas.facts import UserIssuer
from schemas.invocation import Granted
from schemas.minting import MintAnswer
from schemas.record import DENIED, ISSUED, USED, Used
from streams.bus import event
from streams.facts_table import FactsTable
from streams.subjects import RECORD
from tests.support import world
from tests.support.facts import body
from tests.support.hotpath import HotPath
from tests.support.identities import user_claims
from tests.support.invocations import ADVISOR
from workers.audit.index import Indexed
from workers.audit.references import revision_of
from workers.audit.verify import verify

FRAUD = {"tool": "fraud-check", "actions": ["check"], "purpose": "process.refund"}
REFUND = {"tool": "payments-processing", "actions": ["refund"], "purpose": "process.refund"}
YEAR_S = 365 * 86_400
Message = tuple[int, str, bytes]  # of FACTS: sequence, subject, body


@pytest.fixture
def facts(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Message]]:
    """Every message of FACTS that the fabric of a test applies, as the stream keeps them."""
    kept: list[Message] = []
    apply = FactsTable.apply

    def keeping(table: FactsTable, seq: int, subject: str, body: bytes) -> Any:
        kept.append((seq, subject, body))
        return apply(table, seq, subject, body)

    with monkeypatch.context() as patched:
        patched.setattr(FactsTable, "apply", keeping)
        yield kept


async def refund(hot: HotPath) -> None:
    """The essay's: on behalf of marty, with the fraud check's evidence; the advisor's way out of its charter is on record as well."""
    hot.put(UserIssuer(iss="https://login.88mph.com", jwks={"keys": [hot.issuer.jwk]}, aud="https://fabric.88mph.com"))
    user = hot.issuer.sign(user_claims(now=hot.clock.at, sub="marty", scope="check refund", client_id=ADVISOR), typ="at+jwt")
    advisor = hot.agent(id=ADVISOR)
    checked = await hot.mint.grant(await hot.allowed(advisor, user=user, **FRAUD))
    seq = await fraud_check_reports(hot, checked)
    await hot.mint.grant(await hot.allowed(advisor, user=user, parent=checked.token, evidence=[seq], **REFUND))
    hot.broker.answer = MintAnswer(granted=checked)
    await hot.gateway.invoke(advisor.name, advisor.body(hot.clock.at, tool="web-search"), hot.clock.at)


async def fraud_check_reports(hot: HotPath, checked: Granted) -> int:
    """The step's own guard; its sequence in RECORD."""
    claims = json.loads(unb64u(checked.token.split(".")[1]))
    used = Used(
        point="i" + "f6" * 13 + ".88mph~com.tools.fraud",
        tool="fraud-check",
        jti=claims["jti"],
        txn=claims["txn"],
        sub="marty",
        agent=ADVISOR,
        instance=claims["act"]["instance"],
        actions=("check",),
        accepted=True,
        outcome="positive",
        object=object_digest({"order": "84729", "amount": "120"}),
        at=int(hot.clock.at),
    )
    return await hot.recorder.record(RECORD.at("point", "used", used.point), event(USED, used, source="/weft/revocation"), "point:1")


def decisions(hot: HotPath) -> list[Indexed]:
    """RECORD as audit indexes it."""
    held = [(seq, subject, json.loads(body)) for seq, (subject, body) in enumerate(hot.stream.messages, 1)]
    return [Indexed(seq, said["type"], "", subject, said) for seq, subject, said in held if said["type"] in (ISSUED, DENIED)]


def verified(events: list[Indexed], messages: list[Message]) -> dict[str, Any]:
    """Each decision over the facts as they were at its own revision."""
    checked, differ = 0, []
    for one in events:
        past, revision = FactsTable(), revision_of(one.type, one.data)
        for message in messages:
            if message[0] <= (revision or 0):
                past.apply(*message)
        found = verify([one], past)
        checked, differ = checked + found["checked"], differ + found["differ"]
    return {"checked": checked, "differ": differ}


async def test_a_decision_is_the_same_a_year_later(facts: list[Message], monkeypatch: pytest.MonkeyPatch) -> None:
    """INVARIANT: each decision on record, allowed or refused, follows from what the record holds and from FACTS, at any later time.

    Reading a clock, the environment or a view while deciding, or recording less than was read, would break it.
    """
    hot = HotPath()
    monkeypatch.setattr(time, "time", lambda: hot.clock.at)
    await refund(hot)
    hot.put(body({**world.bodies()["domain"], "bounds": {"tools": [], "purposes": [], "actions": []}}))  # nobody may do anything now
    messages, events = list(facts), decisions(hot)
    monkeypatch.setattr(time, "time", lambda: hot.clock.at + YEAR_S)
    assert [each.type for each in events] == [ISSUED, ISSUED, DENIED]
    assert verified(events, messages) == {"checked": 3, "differ": []}


async def test_a_decision_that_never_was_is_found(facts: list[Message]) -> None:
    """INVARIANT: what a taken-over worker writes into RECORD is reported when it does not follow from the facts (promises 6 and 8).

    Comparing less than the whole decision, and the claims beside it, would break it.
    """
    hot = HotPath()
    await refund(hot)
    messages, honest = list(facts), decisions(hot)
    for path, value in (
        (("input", "actions"), ["payout"]),
        (("decision", "grant", "ttl_s"), 300),
        (("claims", "call", "actions"), ["payout"]),
        (("claims", "sub"), "biff"),
        (("claims", "call", "authorization_details"), [{"type": "urn:88mph:all"}]),
        (("claims", "aud"), "https://payments.88mph.com"),
    ):
        forged = [honest[0], honest[1]._replace(event=changed(honest[1].event, ("data", *path), value)), honest[2]]
        assert [found["seq"] for found in verified(forged, messages)["differ"]] == [honest[1].seq], path


def changed(event: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """A copy with one member replaced."""
    name, *rest = path
    return {**event, name: changed(event[name], tuple(rest), value) if rest else value}

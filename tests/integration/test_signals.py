"""The signals worker on a real server, with `revocation` beside it where a response has to arrive."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest
from nats.aio.client import Client
from weft.digest import sha256, target_digest
from weft.nkey import KeyPair

from schemas.base import Wire
from schemas.commands import FAILED, LIFT, RESOLVE, REVOKE, WAITING, Lift, Resolve, Revoke, Waiting
from schemas.facts import Grant, Person, ResponsePolicy, Tool, Transmitter, TransmitterCeiling
from schemas.points import SET_DELIVERED, SIGNAL, PointSignal, SetDelivery
from schemas.record import ADMITTED, RECEIPTED, RESPONDED, REVOKED, SIGNALLED, Admitted
from schemas.responses import ResponseRule
from schemas.signals import CAEP, POINTS
from streams import subjects
from streams.bus import Publisher, event
from streams.facts_keys import posture_key
from tests.support.fabric import FabricServer
from tests.support.identities import Signer
from tests.support.signed import TokenKey
from tests.support.signed import claims as token_claims
from tests.support.workers import running
from workers.revocation.app import build as build_revocation
from workers.signals.app import build
from workers.signals.intake import REFUSALS_RECORDED

ISS, AUD = "https://risk.example", "https://txn-svc.88mph.com"
AGENT = "spiffe://88mph.com/agents/advisor"
OTHER_AGENT = "spiffe://88mph.com/agents/other"
INSTANCE, SIBLING = "i" + "a2" * 13, "i" + "b3" * 13
POINT = f"i{'c4' * 13}.88mph~com.tools.payments"
RISK = Signer(kid="risk-1")
DOC, CLERK = KeyPair("U"), KeyPair("U")
AnswerT = TypeVar("AnswerT")


def transmitter(iss: str = ISS, jwks: dict[str, Any] | None = None, **changes: Any) -> Transmitter:
    ceiling = {"namespaces": ("spiffe://88mph.com/agents",), "strongest": "quarantine", "subjects_per_minute": 60, **changes}
    return Transmitter(iss=iss, aud=AUD, jwks=jwks or {"keys": [RISK.jwk]}, trust={"*": "high"}, ceiling=TransmitterCeiling(**ceiling))


POLICY = ResponsePolicy(
    name="default",
    rules=(
        ResponseRule(name="high", confidence="high", response="quarantine"),
        ResponseRule(name="medium", confidence="medium", response="narrow", actions=("read",), max_ttl_s=30, duration_s=600),
        ResponseRule(name="low", confidence="low", response="record"),
    ),
)


def person(key: KeyPair, *roles: tuple[str, str], name: str = "doc") -> Person:
    return Person(nkey=key.public, name=name, roles=tuple(Grant(role=role, namespace=place) for role, place in roles))  # type: ignore[arg-type]


def a_set(level: str = "HIGH", *, instance: str | None = INSTANCE, workload: str = AGENT, signer: Signer = RISK, **changes: Any) -> str:
    now = int(time.time())
    sub_id: dict[str, Any] = {"format": "uri", "uri": workload}
    if instance is not None:
        sub_id = {"format": "complex", "workload": sub_id, "instance": {"format": "opaque", "id": instance}}
    payload = {"principal": "WORKLOAD", "current_level": level, **changes.pop("payload", {})}
    claims = {
        "iss": ISS,
        "aud": AUD,
        "iat": now,
        "jti": uuid.uuid4().hex,
        "sub_id": sub_id,
        "events": {f"{CAEP}risk-level-change": payload},
        **changes,
    }
    return signer.sign(claims, typ="secevent+jwt")


async def admit(fabric: FabricServer, instance: str = INSTANCE, agent: str = AGENT) -> None:
    """As admission records it: this instance was admitted as this agent."""
    nc = await fabric.worker("admission")
    name = f"{instance}.{agent.removeprefix('spiffe://').replace('.', '~').replace('/', '.')}"
    said = Admitted(name=name, kind="agent", id=agent, instance=instance, expires_at=int(time.time()) + 60)
    body = event(ADMITTED, said, source="/weft/admission")
    await Publisher(nc).publish("RECORD", subjects.RECORD.at("admission", "admitted", name), body, msg_id=f"admission:{uuid.uuid4().hex}")


async def ask(nc: Client, subject: str, type_: str, data: Wire) -> dict[str, Any]:
    return json.loads((await nc.request(subject, event(type_, data, source="/test"), timeout=6)).data)


class Fabric:
    """The fabric with a transmitter, a policy, a person who may bring SETs, and the worker."""

    def __init__(self, server: FabricServer) -> None:
        self.server = server
        self.doc: Client
        self.audit: Client

    async def start(self, *facts: Any) -> None:
        roles = (("transmitter", "spiffe://88mph.com"), ("revoker", "spiffe://88mph.com"))
        await self.server.put_facts(transmitter(), POLICY, person(DOC, *roles), *facts)
        self.doc = await self.server.outer("operator", DOC.public, DOC)
        self.audit = await self.server.worker("audit")

    async def send(self, unverified: str) -> dict[str, Any]:
        return (await ask(self.doc, subjects.SET.at(DOC.public), SET_DELIVERED, SetDelivery(set=unverified)))["data"]

    async def revoke(self, nc: Client | None = None, name: str = DOC.public, **order: Any) -> dict[str, Any]:
        order = {"id": uuid.uuid4().hex, "reason": "test", **order}
        return await ask(nc or self.doc, subjects.REVOKE.at(name), REVOKE, Revoke(**order))

    async def lift(self, **order: Any) -> dict[str, Any]:
        return await ask(self.doc, subjects.LIFT.at(DOC.public), LIFT, Lift(**{"id": uuid.uuid4().hex, "reason": "test", **order}))

    async def posture(self, scope: str = "instance", value: str = INSTANCE) -> dict[str, Any] | None:
        """The newest, with its revision."""
        subject = f"weft.fact.posture.{posture_key(scope, target_digest(scope, value))}"  # type: ignore[arg-type]
        msg = await self.audit.request("$JS.API.DIRECT.GET.FACTS", json.dumps({"last_by_subj": subject}).encode(), timeout=2)
        if (msg.headers or {}).get("Status"):
            return None
        return {**json.loads(msg.data)["data"]["body"], "revision": int(msg.headers["Nats-Sequence"])}

    async def records(self, type_: str) -> list[dict[str, Any]]:
        return [e["data"] for e in await stored(self.audit, "RECORD", "weft.record.>") if e["type"] == type_]

    async def responded(self, count: int = 1) -> list[dict[str, Any]]:
        """Once there are so many."""

        async def enough() -> list[dict[str, Any]]:
            found = await self.records(RESPONDED)
            return found if len(found) >= count else []

        return await eventually(enough)


async def stored(nc: Client, stream: str, filter_: str) -> list[dict[str, Any]]:
    found, seq = [], 1
    while True:
        query = json.dumps({"seq": seq, "next_by_subj": filter_}).encode()
        msg = await nc.request(f"$JS.API.DIRECT.GET.{stream}", query, timeout=2)
        if (msg.headers or {}).get("Status"):
            return found
        seq = int(msg.headers["Nats-Sequence"]) + 1
        found.append(json.loads(msg.data))


async def eventually(check: Callable[[], Awaitable[AnswerT]], within_s: float = 6.0) -> AnswerT:
    async with asyncio.timeout(within_s):
        while not (answer := await check()):  # noqa: ASYNC110 - what is stored is asked for, there is no event
            await asyncio.sleep(0.02)
        return answer


@pytest.fixture
async def fabric(fabric_server: FabricServer) -> Fabric:
    made = Fabric(fabric_server)
    await made.start()
    return made


# --- in ---------------------------------------------------------------------------------------------------------------------------


async def test_a_set_is_stored_as_received_before_it_is_answered_and_once(fabric: Fabric) -> None:
    """INVARIANT: a SET is on SIGNALS exactly as received before it is acknowledged; repeated, it is answered as new and acted on once.

    Broken by answering before the acknowledgement of the stream, or by relying on its window of duplicates: the same SET an hour later
    would act again.
    """
    unverified = a_set("LOW")
    signals = await fabric.server.worker("signals")
    async with running(build, fabric.server.settings):
        for _ in range(3):
            assert await fabric.send(unverified) == {"accepted": True}
        held = await stored(signals, "SIGNALS", "weft.signal.>")
        await fabric.responded()
        await asyncio.sleep(0.2)
        responded, signalled = await fabric.records(RESPONDED), await fabric.records(SIGNALLED)
    assert [e["data"]["set"] for e in held] == [unverified]
    assert len(responded) == 1
    assert [(s["iss"], s["seq"], s["by"]) for s in signalled] == [(ISS, 1, DOC.public)]


async def test_a_set_that_comes_again_after_the_streams_window_is_answered_and_not_stored_again(fabric: Fabric) -> None:
    """INVARIANT: a SET is acted on once for as long as SIGNALS keeps it, not for as long as the server remembers message ids.

    Broken by leaving it to `Nats-Msg-Id`: two minutes later the same SET would undo what an operator did about it.
    """
    signals, jti = await fabric.server.worker("signals"), "set-of-long-ago"
    unverified = a_set("LOW", jti=jti)
    body = event(SET_DELIVERED, SetDelivery(set=unverified), source="/weft/signals")
    await Publisher(signals).publish("SIGNALS", subjects.SIGNAL.at(sha256(ISS), sha256(jti)), body, msg_id="an id the server has forgotten")
    async with running(build, fabric.server.settings):
        assert await fabric.send(unverified) == {"accepted": True}
    assert len(await stored(signals, "SIGNALS", "weft.signal.>")) == 1


REFUSED = {
    "another key": (lambda: a_set(signer=Signer(kid="risk-1")), "invalid_key"),
    "unknown kid": (lambda: a_set(signer=Signer(kid="risk-9")), "invalid_key"),
    "another audience": (lambda: a_set(aud="https://elsewhere"), "invalid_audience"),
    "another issuer": (lambda: a_set(iss="https://elsewhere"), "invalid_issuer"),
    "expired": (lambda: a_set(iat=int(time.time()) - 7200), "invalid_request"),
    "early": (lambda: a_set(iat=int(time.time()) + 600), "invalid_request"),
    "garbage": (lambda: "a.b.c", "invalid_request"),
}


async def test_bad_sets_are_refused_with_their_codes_on_record_and_never_stored(fabric: Fabric) -> None:
    signals = await fabric.server.worker("signals")
    async with running(build, fabric.server.settings):
        for name, (make, err) in REFUSED.items():
            answer = await fabric.send(make())
            assert (answer["accepted"], answer["err"]) == (False, err), name
        assert len(await eventually(lambda: enough_refused(fabric, len(REFUSED)))) == len(REFUSED)
    assert await stored(signals, "SIGNALS", "weft.signal.>") == []


async def test_what_strangers_send_does_not_fill_record(fabric: Fabric) -> None:
    """INVARIANT: how much of RECORD refused SETs take is bounded in the long run, whoever brings them.

    Broken by twenty a second: anybody on the network fills it within a week, and then no token is issued.
    """
    most = int(REFUSALS_RECORDED[1])
    async with running(build, fabric.server.settings):
        answers = [await fabric.send(f"a.b.{number}") for number in range(most + 20)]
        recorded = await eventually(lambda: enough_refused(fabric, most))
    assert {answer["err"] for answer in answers} == {"invalid_request"}
    assert most <= len(recorded) < most + 20


async def test_a_sender_stores_no_more_than_its_ceiling_says(fabric: Fabric) -> None:
    """INVARIANT: how much of SIGNALS and RECORD one sender fills is bounded, and what is too much is neither stored nor acknowledged.

    Broken by a ceiling on what its signals cause alone: those that cause nothing fill what everybody needs.
    """
    await fabric.server.put_facts(transmitter(signals_per_minute=2))
    async with running(build, fabric.server.settings):
        answers = [await ask(fabric.doc, subjects.SET.at(DOC.public), SET_DELIVERED, SetDelivery(set=a_set("LOW"))) for _ in range(4)]
    assert [answer["data"].get("reason") for answer in answers] == [None, None, "rate_limited", "rate_limited"]
    assert len(await stored(await fabric.server.worker("signals"), "SIGNALS", "weft.signal.>")) == 2


async def enough_refused(fabric: Fabric, count: int) -> list[dict[str, Any]]:
    found = [record for record in await fabric.records(SIGNALLED) if record.get("refused")]
    return found if len(found) >= count else []


async def test_who_holds_no_role_may_not_bring_even_a_good_set(fabric: Fabric) -> None:
    await fabric.server.put_facts(person(CLERK, ("auditor", "spiffe://88mph.com"), name="clerk"))
    clerk = await fabric.server.outer("operator", CLERK.public, CLERK)
    async with running(build, fabric.server.settings):
        answer = await ask(clerk, subjects.SET.at(CLERK.public), SET_DELIVERED, SetDelivery(set=a_set()))
    assert answer["data"]["err"] == "access_denied"


async def test_garbage_on_every_subject_is_refused_with_a_type(fabric: Fabric) -> None:
    """INVARIANT: whatever bytes arrive, the caller hears a typed refusal and the worker goes on.

    Broken by an exception in a handler, which FastStream answers with silence.
    """
    point = await fabric.server.outer("point", POINT)
    bodies = (
        b"",
        b"\xff\x00",
        b"{",
        b"[]",
        b'{"specversion":"1.0"}',
        b"x" * 60_000,
        event(SIGNAL, SetDelivery(set="a.b.c"), source="/x")[:-3],
    )
    async with running(build, fabric.server.settings):
        for nc, subject in (
            (fabric.doc, subjects.SET.at(DOC.public)),
            (fabric.doc, subjects.REVOKE.at(DOC.public)),
            (fabric.doc, subjects.LIFT.at(DOC.public)),
            (point, subjects.NOTICE.at(POINT)),
        ):
            for body in bodies:
                answer = json.loads((await nc.request(subject, body, timeout=3)).data)
                assert (answer["type"], answer["data"]["reason"]) == (FAILED, "malformed")
        assert (await fabric.send(a_set("LOW")))["accepted"]


async def test_what_is_no_signal_on_the_stream_is_recorded_and_passed_over(fabric: Fabric) -> None:
    """A message that stands on SIGNALS is verified again: standing there is no proof."""
    signals = await fabric.server.worker("signals")
    forged = event(SET_DELIVERED, SetDelivery(set=a_set(signer=Signer(kid="risk-1"))), source="/x")
    for n, body in enumerate((b"garbage", forged)):
        await Publisher(signals).publish("SIGNALS", subjects.SIGNAL.at("x", str(n)), body, msg_id=f"x{n}")
    async with running(build, fabric.server.settings):
        found = await eventually(lambda: enough_refused(fabric, 2))
        assert {record["by"] for record in found} == {"stored"}
        assert await fabric.posture() is None


# --- what is done -----------------------------------------------------------------------------------------------------------------


async def test_a_high_signal_quarantines_one_instance_and_its_siblings_work(fabric: Fabric) -> None:
    """INVARIANT: a high-confidence SET about one instance commits its posture, then the entry that names that posture's revision; no
    sibling, and not the agent, is touched.  The response leaves a signed receipt.

    Broken by aiming at the agent, by an entry that does not name the posture, or by a response without its record.
    """
    await admit(fabric.server)
    async with running(build, fabric.server.settings), running(build_revocation, fabric.server.settings):
        assert (await fabric.send(a_set()))["accepted"]
        (responded,) = await fabric.responded()
        (revoked,) = await eventually(lambda: fabric.records(REVOKED))
        posture = await fabric.posture()
        untouched = [await fabric.posture("instance", SIBLING), await fabric.posture("agent", AGENT)]
    assert posture is not None
    assert (posture["level"], posture["revoke"], posture["value"]) == ("quarantined", True, INSTANCE)
    assert untouched == [None, None]
    assert revoked["posture_revision"] == posture["revision"] == responded["posture_revision"]
    assert (responded["response"], responded["target"], responded["rule"]) == ("quarantine", target_digest("instance", INSTANCE), "high")
    check_receipt(fabric, responded)


def check_receipt(fabric: Fabric, responded: dict[str, Any]) -> None:
    """By another implementation than the one that signs."""
    import jwt

    key = fabric.server.keys["signals"]
    header = jwt.get_unverified_header(responded["receipt"])
    told = jwt.decode(responded["receipt"], key.private.public_key(), ["ES256"], options={"verify_aud": False})
    assert (header["typ"], header["kid"]) == ("weft-receipt+jwt", key.kid)
    assert (told["response"]["iss"], told["response"]["jti"], told["response"]["target"]) == (ISS, responded["jti"], responded["target"])
    assert "value" not in told["response"]


async def test_medium_narrows_low_is_recorded_and_a_second_one_adds_nothing(fabric: Fabric) -> None:
    await admit(fabric.server)
    async with running(build, fabric.server.settings):
        await fabric.send(a_set("MEDIUM"))
        await fabric.responded(1)
        narrowed = await fabric.posture()
        await fabric.send(a_set("MEDIUM"))
        await fabric.responded(2)
        again = await fabric.posture()
    assert narrowed is not None
    assert again is not None
    assert (narrowed["level"], narrowed["actions"], narrowed["max_ttl_s"], narrowed["revoke"]) == ("narrowed", ["read"], 30, True)
    assert (again["level"], len(again["causes"])) == ("narrowed", 1)


async def test_signals_shuffled_over_two_copies_make_one_posture(fabric: Fabric) -> None:
    """INVARIANT: many signals about one subject, taken by two copies at once, lose none of their causes.

    Broken by writing a posture without the sequence it was read at: the later write would forget the earlier cause.
    """
    others = [transmitter(f"https://risk{i}.example") for i in range(6)]
    await fabric.server.put_facts(*others)
    await admit(fabric.server)
    now = int(time.time())
    levels = ["HIGH", "MEDIUM", "LOW", "MEDIUM", "HIGH", "MEDIUM"]
    async with running(build, fabric.server.settings), running(build, fabric.server.settings):
        sets = [
            a_set(level, iss=t.iss, payload={"event_timestamp": now - i}) for i, (t, level) in enumerate(zip(others, levels, strict=True))
        ]
        await asyncio.gather(*(fabric.send(one) for one in sets))
        await fabric.responded(6)
        posture = await fabric.posture()
    assert posture is not None
    assert posture["level"] == "quarantined"
    assert {cause["by"] for cause in posture["causes"]} == {t.iss for t in others}


async def test_a_contrary_signal_lifts_its_own_and_an_operator_lifts_anything(fabric: Fabric) -> None:
    other = transmitter("https://other.example")
    await fabric.server.put_facts(other)
    await admit(fabric.server)
    async with running(build, fabric.server.settings):
        now = int(time.time())
        await fabric.send(a_set("HIGH", payload={"event_timestamp": now - 10}))
        await fabric.send(a_set("HIGH", iss=other.iss, payload={"event_timestamp": now - 10}))
        await fabric.responded(2)
        await fabric.send(a_set("LOW"))
        await fabric.responded(3)
        after_contrary = await fabric.posture()
        lifted = await fabric.lift(scope="instance", value=INSTANCE, agent=AGENT)
        after_lift = await fabric.posture()
        await fabric.send(a_set("HIGH", payload={"event_timestamp": now - 5}))  # late: it happened before the lift
        await fabric.responded(5)
        after_late = await fabric.posture()
        revoked = await fabric.revoke(kind="instance", value=INSTANCE, agent=AGENT)
        at_last = await fabric.posture()
    assert after_contrary is not None
    assert after_contrary["level"] == "quarantined"
    assert {c["by"] for c in after_contrary["causes"] if c["level"] != "normal"} == {other.iss}
    assert lifted["data"]["rows"][0]["level"] == "normal"
    assert after_lift is not None
    assert after_late is not None
    assert (after_lift["level"], after_late["level"]) == ("normal", "normal")
    assert revoked["data"]["rows"][0]["level"] == "quarantined"  # in the same second as the lift, and yet after it
    assert at_last is not None
    assert at_last["revoke"]


async def test_a_response_ends_by_itself(fabric: Fabric) -> None:
    short = ResponsePolicy(name="default", rules=(ResponseRule(name="high", confidence="high", response="quarantine", duration_s=2),))
    await fabric.server.put_facts(short)
    await admit(fabric.server)
    async with running(build, fabric.server.settings), running(build, fabric.server.settings):
        await fabric.send(a_set())
        await fabric.responded(1)
        before = await fabric.posture()
        await fabric.responded(2)
        after = await fabric.posture()
        (restored,) = [r for r in await fabric.records(RESPONDED) if r["response"] == "lift"]
    assert before is not None
    assert after is not None
    assert (before["level"], after["level"], after["causes"]) == ("quarantined", "normal", [])
    assert restored["posture_revision"] == after["revision"]


async def test_beyond_a_ceiling_nothing_is_done_and_the_record_says_so(fabric: Fabric) -> None:
    """INVARIANT: a transmitter cannot reach an instance of another namespace by naming it beside a workload of its own.

    Broken by believing the SET for whose instance it is: the quarantine is by the instance's digest alone.
    """
    await admit(fabric.server, INSTANCE, "spiffe://88mph.com/batch/other")
    await fabric.server.put_facts(transmitter(subjects_per_minute=1))
    async with running(build, fabric.server.settings):
        for count, unverified in enumerate(
            (
                a_set(),  # an instance that is not of this agent
                a_set(workload="spiffe://88mph.com/batch/other"),  # outside its namespaces
                a_set(instance=None),  # within its pace
                a_set(instance=None, workload=OTHER_AGENT),  # beyond it
            ),
            1,
        ):
            await fabric.send(unverified)
            responded = await fabric.responded(count)
        assert await fabric.posture() is None
        assert await fabric.posture("agent", OTHER_AGENT) is None
        assert await fabric.posture("agent", AGENT) is not None
    waiting = [r for r in responded if (r.get("detail") or "").startswith("waits for an operator")]
    assert len(waiting) == 3


async def test_an_instance_no_issuer_attested_falls_back_to_its_agent_and_says_so(fabric: Fabric) -> None:
    async with running(build, fabric.server.settings):
        await fabric.send(a_set(instance="k" + "a2" * 13))
        (responded,) = await fabric.responded()
        posture = await fabric.posture("agent", AGENT)
    assert posture is not None
    assert posture["level"] == "quarantined"
    assert "not attested" in responded["detail"]


# --- people -------------------------------------------------------------------------------------------------------------------------


async def test_a_revoker_of_a_namespace_reaches_it_and_nothing_else(fabric: Fabric) -> None:
    """INVARIANT: a command is for who holds the role over it; deny by default, and the record names the person.

    Broken by asking for the role anywhere, or by believing the command for whose instance it is.
    """
    await fabric.server.put_facts(person(CLERK, ("revoker", AGENT), name="clerk"))
    await admit(fabric.server, SIBLING, OTHER_AGENT)
    clerk = await fabric.server.outer("operator", CLERK.public, CLERK)
    reaches = {"kind": "agent", "value": AGENT}
    refused = (
        {"kind": "agent", "value": OTHER_AGENT},
        {"kind": "agent", "value": f"{AGENT}s"},
        {"kind": "namespace", "value": "spiffe://88mph.com/agents"},
        {"kind": "namespace", "value": "spiffe://88mph.com"},
        {"kind": "user", "value": "m@88mph.com"},
        {"kind": "key", "value": "kid-1"},
        {"kind": "token", "value": "jti-1", "agent": OTHER_AGENT},
        {"kind": "token", "value": "jti-1"},
        {"kind": "token", "value": "jti-1", "agent": AGENT},  # whose it is, RECORD tells
        {"kind": "transaction", "value": "txn-1", "agent": AGENT, "record": 1},
        {"kind": "instance", "value": SIBLING, "agent": AGENT},  # it is another agent's
        {"kind": "instance", "value": "*", "agent": AGENT},
        {"kind": "agent", "value": "nobody"},
    )
    async with running(build, fabric.server.settings):
        for order in refused:
            answer = await fabric.revoke(clerk, CLERK.public, **order)
            assert answer["type"] == FAILED, order
        assert (await fabric.revoke(clerk, CLERK.public, **reaches))["data"]["rows"][0]["level"] == "quarantined"
        (responded,) = await fabric.records(RESPONDED)
    assert (responded["iss"], responded["event"], responded["detail"]) == (CLERK.public, "operator", "test")


async def test_tokens_and_keys_get_an_entry_alone_and_a_preview_does_nothing(fabric: Fabric) -> None:
    async with running(build, fabric.server.settings), running(build_revocation, fabric.server.settings):
        preview = await fabric.revoke(kind="agent", value=AGENT, preview=True)
        token = await fabric.revoke(kind="token", value="jti-1", agent=AGENT)
        key = await fabric.revoke(kind="key", value="kid-1")
        (first, second) = await eventually(lambda: two(fabric))
        assert await fabric.posture("agent", AGENT) is None
    assert preview["data"]["rows"][0] == {"kind": "agent", "value": AGENT, "target": target_digest("agent", AGENT), "level": "normal"}
    assert (token["data"]["rows"][0]["n"], key["data"]["rows"][0]["n"]) == (1, 2)
    assert (first["targets"], second["targets"]) == (["token:jti-1"], ["key:kid-1"])
    assert first["by"] == DOC.public


async def two(fabric: Fabric) -> list[dict[str, Any]]:
    found = await fabric.records(REVOKED)
    return found if len(found) == 2 else []


async def test_a_lift_of_nothing_says_so(fabric: Fabric) -> None:
    async with running(build, fabric.server.settings):
        answer = await fabric.lift(scope="agent", value=AGENT)
    assert (answer["type"], answer["data"]["reason"]) == (FAILED, "not_found")


# --- points -------------------------------------------------------------------------------------------------------------------------


def payments() -> Tool:
    return Tool(
        name="payments",
        owner="o",
        workload="spiffe://88mph.com/tools/payments",
        endpoint="http://127.0.0.1:1",
        resource="https://payments.example",
        actions=("refund",),
        purposes=("process.refund",),
    )


def shown(server: FabricServer, **changes: Any) -> str:
    """A token as a guard was shown it."""
    key = server.keys["tokens"]
    act = {"sub": AGENT, "instance": INSTANCE, "version": "1", "deployment": "d"}
    return TokenKey(key.kid, key.private).sign(token_claims(int(time.time()), **{"act": act, "txn": "t-odd", **changes}))  # type: ignore[arg-type]


def doubt(token: str, **changes: Any) -> PointSignal:
    return PointSignal(**{"tool": "payments", "token": token, "level": "high", "what": "wrong body", **changes})


async def test_a_points_word_is_a_signal_only_where_it_was_given_a_voice(fabric: Fabric) -> None:
    """INVARIANT: a guard's own signal counts for tools it serves alone, is never worth more than medium, and goes the way of any other.

    Broken by a way of its own past the policy and the ceiling: one guard taken over could quarantine whom it likes.
    """
    await fabric.server.put_facts(payments())
    await admit(fabric.server)
    point = await fabric.server.outer("point", POINT)
    said = doubt(shown(fabric.server))
    async with running(build, fabric.server.settings):
        recorded = await ask(point, subjects.NOTICE.at(POINT), SIGNAL, said)
        assert recorded["data"]["seq"] > 0
        assert await fabric.posture() is None
        foreign = await ask(point, subjects.NOTICE.at(POINT), SIGNAL, said.model_copy(update={"tool": "other"}))
        assert foreign["data"]["reason"] == "not_authorized"
        await fabric.server.put_facts(transmitter(POINTS, {"keys": [fabric.server.keys["signals"].jwk]}))
        await eventually(lambda: voiced(point, said))
        (responded,) = await fabric.responded()
        posture = await fabric.posture()
        everything = [await stored(fabric.audit, stream, ">") for stream in ("RECORD", "FACTS")]
    assert (responded["iss"], responded["confidence"], responded["response"]) == (POINTS, "medium", "narrow")
    assert posture is not None
    assert posture["level"] == "narrowed"
    assert said.token not in json.dumps(everything)


@pytest.mark.parametrize("flaw", ["by another key", "of another fabric", "too old", "no token"])
async def test_a_points_word_counts_for_tokens_it_was_shown(fabric: Fabric, flaw: str) -> None:
    """INVARIANT: whom a guard's signal is about is read from a token that this fabric signed, and from nothing else that the guard says.

    Taking agent and instance from the message would break it: a guard could speak about agents that never came to it.
    """
    await fabric.server.put_facts(payments(), transmitter(POINTS, {"keys": [fabric.server.keys["signals"].jwk]}))
    now = int(time.time())
    tokens = {
        "by another key": TokenKey(fabric.server.keys["tokens"].kid).sign(token_claims(now)),
        "of another fabric": shown(fabric.server, iss="https://other.example"),
        "too old": shown(fabric.server, iat=now - 600, exp=now - 540),
        "no token": "a.b.c",
    }
    point = await fabric.server.outer("point", POINT)
    async with running(build, fabric.server.settings):
        answer = await ask(point, subjects.NOTICE.at(POINT), SIGNAL, doubt(tokens[flaw]))
    assert answer["type"] == FAILED
    assert answer["data"]["reason"] == "not_authorized"
    assert tokens[flaw] not in json.dumps(answer)


async def voiced(point: Client, said: PointSignal) -> bool:
    answer = await ask(point, subjects.NOTICE.at(POINT), SIGNAL, said)
    return bool(answer["data"].get("seq") == 0)


async def test_a_flood_of_one_points_signals_is_limited(fabric: Fabric) -> None:
    await fabric.server.put_facts(payments())
    point = await fabric.server.outer("point", POINT)
    said = doubt(shown(fabric.server), level="low")
    async with running(build, fabric.server.settings):
        answers = await asyncio.gather(*(ask(point, subjects.NOTICE.at(POINT), SIGNAL, said) for _ in range(100)))
    assert sum(a["type"] == FAILED and a["data"]["reason"] == "rate_limited" for a in answers) == 40


# --- policies that count, and responses that wait ----------------------------------------------------------------------------------


COUNTS = ResponsePolicy(
    name="counts",
    rules=(
        ResponseRule(name="low", confidence="low", response="record"),
        ResponseRule(name="thrice", confidence="medium", count=3, within_s=600, response="quarantine", scope="agent", receipt=True),
    ),
)


async def test_what_is_counted_survives_a_restart_and_a_second_copy(fabric: Fabric) -> None:
    """INVARIANT: a window is full when so many happened within it, whoever answered which of them, and however often the worker died.

    Broken by counting in memory: the third signal would be the first of a new process.
    """
    await fabric.server.put_facts(POLICY.model_copy(update={"rules": COUNTS.rules}))
    now = int(time.time())
    for n in range(2):
        async with running(build, fabric.server.settings):
            assert (await fabric.send(a_set("MEDIUM", instance=None, payload={"event_timestamp": now - 60 * n})))["accepted"]
            await fabric.responded(n + 1)
            assert await fabric.posture("agent", AGENT) is None
    async with running(build, fabric.server.settings), running(build, fabric.server.settings):
        assert (await fabric.send(a_set("MEDIUM", instance=None, payload={"event_timestamp": now - 599})))["accepted"]
        posture = await eventually(lambda: fabric.posture("agent", AGENT))
    assert posture is not None
    assert (posture["level"], posture["causes"][0]["rule"], posture["trigger"]["receipt"]) == ("quarantined", "thrice", True)
    (counted,) = [r for r in await fabric.records(RESPONDED) if r["response"] == "quarantine"]
    assert (counted["counted"], counted["deliver"], counted["policy"]) == (3, True, "default")


async def test_what_is_beyond_a_ceiling_waits_until_an_operator_says_so(fabric: Fabric) -> None:
    """INVARIANT: beyond its transmitter's ceiling a response waits for somebody with the role over its target, and is done at their word.

    Broken by doing it, by forgetting it, or by taking the word of anybody who asks.
    """
    await fabric.server.put_facts(transmitter(strongest="narrow"), person(CLERK, ("revoker", "spiffe://88mph.com/batch"), name="clerk"))
    await admit(fabric.server)
    clerk = await fabric.server.outer("operator", CLERK.public, CLERK)

    async def ask_doc(subject: Any, type_: str, data: Wire, nc: Client = fabric.doc, name: str = DOC.public) -> dict[str, Any]:
        return (await ask(nc, subject.at(name), type_, data))["data"]

    async with running(build, fabric.server.settings), running(build_revocation, fabric.server.settings):
        for count in (1, 2):
            await fabric.send(a_set())
            responded = await fabric.responded(count)
        assert await fabric.posture() is None
        assert len({r["pending"] for r in responded}) == 1  # the same response waits once
        (row,) = await eventually(lambda: rows(ask_doc))
        assert (row["response"], row["scope"], row["value"], row["state"]) == ("quarantine", "instance", INSTANCE, "pending")
        order = Resolve(id=row["id"], verdict="confirm", reason="it is real")
        foreign = await ask_doc(subjects.RESOLVE, RESOLVE, order, clerk, CLERK.public)
        assert foreign["reason"] == "not_found"
        assert (await ask_doc(subjects.RESPONSES, WAITING, Waiting(), clerk, CLERK.public))["rows"] == []
        for _ in range(2):  # repeated, it is as it was
            confirmed = await ask_doc(subjects.RESOLVE, RESOLVE, order)
            assert confirmed["rows"][0]["state"] == "confirmed"
        posture = await fabric.posture()
        late = await ask_doc(subjects.RESOLVE, RESOLVE, Resolve(id=row["id"], verdict="dismiss", reason="no"))
        assert late["reason"] == "conflict"
        (receipted,) = await eventually(lambda: fabric.records(RECEIPTED))
    assert posture is not None
    assert (posture["level"], posture["causes"][0]["confirmed_by"], posture["causes"][0]["by"]) == ("quarantined", DOC.public, ISS)
    (done,) = [r for r in await fabric.records(RESPONDED) if r["response"] == "quarantine"]
    assert (done["confirmed_by"], done["posture_revision"]) == (DOC.public, posture["revision"])
    check_receipt(fabric, done)
    assert (receipted["posture_revision"], receipted["contained"], receipted["jti"]) == (posture["revision"], True, done["jti"])
    check_completion(fabric, receipted)


async def test_a_confirmation_hits_no_instance_of_somebody_elses(fabric: Fabric) -> None:
    """INVARIANT: whoever confirms a response about an instance is revoker of a namespace above the workload that it really is of.

    Broken by believing the signal about whose instance it is: its sender names one of another agent beside a workload of the person's own.
    """
    batch = "spiffe://88mph.com/batch"
    await fabric.server.put_facts(person(CLERK, ("revoker", batch), name="clerk"))
    await admit(fabric.server)
    clerk = await fabric.server.outer("operator", CLERK.public, CLERK)
    async with running(build, fabric.server.settings):
        await fabric.send(a_set(workload=f"{batch}/job"))
        await fabric.responded()
        (row,) = (await ask(clerk, subjects.RESPONSES.at(CLERK.public), WAITING, Waiting()))["data"]["rows"]
        assert (row["scope"], row["value"]) == ("instance", INSTANCE)
        order = Resolve(id=row["id"], verdict="confirm", reason="it is real")
        refused = (await ask(clerk, subjects.RESOLVE.at(CLERK.public), RESOLVE, order))["data"]
        assert await fabric.posture() is None
        dismissed = await ask(clerk, subjects.RESOLVE.at(CLERK.public), RESOLVE, order.model_copy(update={"verdict": "dismiss"}))
    assert refused.get("reason") == "not_found"
    assert dismissed["data"]["rows"][0]["state"] == "dismissed"


async def rows(ask_doc: Any) -> list[dict[str, Any]]:
    return (await ask_doc(subjects.RESPONSES, WAITING, Waiting()))["rows"]


def check_completion(fabric: Fabric, receipted: dict[str, Any]) -> None:
    import jwt

    told = jwt.decode(receipted["receipt"], fabric.server.keys["signals"].private.public_key(), ["ES256"], options={"verify_aud": False})
    assert (told["completion"]["iss"], told["completion"]["n"], told["completion"]["contained"]) == (ISS, receipted["n"], True)


async def test_to_revoke_is_to_end_what_was_minted_and_to_notify_is_to_say_so(fabric: Fabric) -> None:
    """INVARIANT: `revoke` leaves an entry and no lasting posture; `notify` leaves an event and nothing else.

    Broken by a quarantine in other words, or by an entry for every notification.
    """
    rules = (
        ResponseRule(name="high", confidence="high", response="revoke", scope="agent"),
        ResponseRule(name="medium", confidence="medium", response="notify", message="have a look"),
    )
    await fabric.server.put_facts(POLICY.model_copy(update={"rules": rules}))
    async with running(build, fabric.server.settings), running(build_revocation, fabric.server.settings):
        await fabric.send(a_set("MEDIUM", instance=None))
        (notified,) = await fabric.responded()
        await fabric.send(a_set("HIGH", instance=None))
        (revoked,) = await eventually(lambda: fabric.records(REVOKED))
        await fabric.responded(2)
        posture = await fabric.posture("agent", AGENT)
    assert (notified["response"], notified["message"], notified.get("posture_revision")) == ("notify", "have a look", None)
    assert posture is not None
    assert (posture["level"], posture["causes"], posture["revision"]) == ("normal", [], revoked["posture_revision"])

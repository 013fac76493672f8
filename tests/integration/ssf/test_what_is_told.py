"""What the fabric does, as the events that receivers get."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from schemas.commands import FAILED, LIFT, REVOKE, Lift, Revoke
from schemas.events import CAEP
from schemas.facts import Relation, ResponsePolicy, Transmitter, TransmitterCeiling
from schemas.points import SET_DELIVERED, SetDelivery
from schemas.responses import ResponseRule
from schemas.subject_ids import parse_subject
from streams import subjects
from streams.bus import event
from tests.support.identities import Signer
from tests.support.people import PARTNER, provider
from tests.support.receiving import DOC, POLL, ROOT, STRANGER, Stage, stage

pytestmark = pytest.mark.asyncio(loop_scope="module")
AGENT, THEIRS = f"{ROOT}/agents/advisor", f"{ROOT}/agents/theirs/bot"
INSTANCE = "i" + "a2" * 13
RISK = Signer(kid="risk-1")
SENDER, AUD = "https://risk.example", "https://txn-svc.88mph.com"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ssf(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with stage(tmp_path_factory.mktemp("told")) as running:
        ceiling = TransmitterCeiling(namespaces=(ROOT,), strongest="quarantine")
        sender = Transmitter(iss=SENDER, aud=AUD, jwks={"keys": [RISK.jwk]}, trust={"*": "high"}, ceiling=ceiling, people=("https://op",))
        partner = sender.model_copy(update={"iss": PARTNER, "people": None})
        rules = (
            ResponseRule(name="proof", events=(f"{CAEP}credential-change",), confidence="high", response="step_up"),
            ResponseRule(name="high", confidence="high", response="quarantine"),
            ResponseRule(name="medium", confidence="medium", response="narrow", actions=("read",), max_ttl_s=30, duration_s=600),
        )
        await running.server.put_facts(sender, partner, ResponsePolicy(name="default", rules=rules))
        known = Relation(subject="user:partner::carl", relation="member_of", object="team:partners")
        await running.server.put_facts(provider("https://op"), provider(PARTNER, "partner"), known)
        yield running


async def command(ssf: Stage, subject: subjects.Subject, type_: str, data: Revoke | Lift) -> None:
    answer = json.loads((await ssf.person.request(subject.at(DOC.public), event(type_, data, source="/test"), timeout=6)).data)
    assert answer["type"] != FAILED, answer


async def revoke(ssf: Stage, kind: str, value: str, agent: str | None = None) -> None:
    wanted = {"id": uuid.uuid4().hex, "kind": kind, "value": value, "agent": agent, "reason": "the secret reason of a person"}
    await command(ssf, subjects.REVOKE, REVOKE, Revoke.model_validate(wanted))


async def lift(ssf: Stage, scope: str, value: str) -> None:
    await command(ssf, subjects.LIFT, LIFT, Lift.model_validate({"id": uuid.uuid4().hex, "scope": scope, "value": value, "reason": "over"}))


async def signal(ssf: Stage, level: str, sub_id: dict[str, Any], what: str = "risk-level-change", sender: str = SENDER) -> None:
    now = int(time.time())
    payload = {"principal": "WORKLOAD", "current_level": level, "credential_type": "x509", "change_type": "revoke"}
    claims = {
        "iss": sender, "aud": AUD, "iat": now, "jti": uuid.uuid4().hex, "sub_id": sub_id, "events": {f"{CAEP}{what}": payload},
    }  # fmt: skip
    edge = await ssf.server.worker("edge")
    delivery = event(SET_DELIVERED, SetDelivery(set=RISK.sign(claims, typ="secevent+jwt")), source="/test")
    answer = json.loads((await edge.request(subjects.SET.at("edge"), delivery, timeout=6)).data)
    assert answer["data"]["accepted"], answer
    await edge.close()


async def received(ssf: Stage, stream: dict[str, Any], count: int, token: str = "") -> dict[str, dict[str, Any]]:
    """So many events, by the last part of their type: payload, subject, cause."""
    got: dict[str, dict[str, Any]] = {}
    while len(got) < count:
        answer = await ssf.poll(stream, token, maxEvents=10, returnImmediately=False)
        sets = answer.json()["sets"]
        assert sets, f"only {list(got)} came"
        for compact in sets.values():
            claims = await ssf.decode(stream, compact)
            ((uri, payload),) = claims["events"].items()
            got[uri.rpartition("/")[2]] = {**payload, "sub_id": claims["sub_id"], "txn": claims["txn"]}
        await ssf.poll(stream, token, maxEvents=0, ack=list(sets))
    assert (await ssf.poll(stream, token)).json()["sets"] == {}
    return got


def well_formed(payload: dict[str, Any], by: str) -> None:
    assert abs(payload["event_timestamp"] - time.time()) < 60
    assert payload["initiating_entity"] == by
    assert payload["reason_admin"]["en"]
    assert "secret reason" not in json.dumps(payload), "what a person wrote is for the record alone"
    parse_subject(payload["sub_id"])


async def test_an_operator_quarantines_an_agent_and_lifts_it(ssf: Stage) -> None:
    stream = await ssf.create({"method": POLL})
    about = {"format": "uri", "uri": AGENT}
    await revoke(ssf, "agent", AGENT)
    got = await received(ssf, stream, 2)
    assert set(got) == {"session-revoked", "risk-level-change"}
    for payload in got.values():
        well_formed(payload, "admin")
        assert payload["sub_id"] == about
    assert (got["risk-level-change"]["current_level"], got["risk-level-change"]["principal"]) == ("HIGH", "WORKLOAD")
    assert got["session-revoked"]["txn"] == got["risk-level-change"]["txn"], "one cause"

    await lift(ssf, "agent", AGENT)
    got = await received(ssf, stream, 1)
    assert (got["risk-level-change"]["current_level"], got["risk-level-change"]["previous_level"]) == ("LOW", "HIGH")
    await ssf.delete(stream)


async def test_further_proof_is_asked_for_and_no_longer(ssf: Stage) -> None:
    stream = await ssf.create({"method": POLL})
    agent = f"{ROOT}/agents/proving"
    await signal(ssf, "HIGH", {"format": "uri", "uri": agent}, "credential-change")
    got = await received(ssf, stream, 2)
    well_formed(got["assurance-level-change"], "policy")
    asked = {name: got["assurance-level-change"][name] for name in ("current_level", "previous_level", "change_direction")}
    assert asked == {"current_level": "step_up", "previous_level": "normal", "change_direction": "decrease"}
    assert got["risk-level-change"]["current_level"] == "MEDIUM"
    await lift(ssf, "agent", agent)
    got = await received(ssf, stream, 2)
    assert got["assurance-level-change"]["change_direction"] == "increase"
    assert (got["risk-level-change"]["current_level"], got["risk-level-change"]["previous_level"]) == ("LOW", "MEDIUM")
    await ssf.delete(stream)


async def test_a_signal_about_an_instance_narrows_it(ssf: Stage) -> None:
    stream = await ssf.create({"method": POLL})
    about = {"format": "complex", "workload": {"format": "uri", "uri": AGENT}, "instance": {"format": "opaque", "id": INSTANCE}}
    await signal(ssf, "MEDIUM", about)
    got = await received(ssf, stream, 2)
    assert set(got) == {"token-claims-change", "risk-level-change"}
    for payload in got.values():
        well_formed(payload, "policy")
        assert payload["sub_id"] == about
    assert got["token-claims-change"]["claims"] == {"actions": ["read"], "purposes": ["*"], "max_ttl_s": 30}
    assert got["risk-level-change"]["current_level"] == "MEDIUM"
    await ssf.delete(stream)


@pytest.mark.parametrize(
    "about", [{"format": "email", "email": "ann@example.com"}, {"format": "iss_sub", "iss": "https://op", "sub": "ann"}]
)
async def test_a_signal_about_a_person_is_told_in_its_own_words(ssf: Stage, about: dict[str, Any]) -> None:
    stream = await ssf.create({"method": POLL})
    await signal(ssf, "HIGH", about)
    got = await received(ssf, stream, 2)
    assert set(got) == {"session-revoked", "risk-level-change"}
    assert got["risk-level-change"]["principal"] == "USER"
    assert {json.dumps(payload["sub_id"]) for payload in got.values()} == {json.dumps(about)}
    await ssf.delete(stream)


async def test_a_person_is_told_of_by_the_provider_that_calls_them_so(ssf: Stage) -> None:
    """INVARIANT: a receiver hears of a person by their own provider's `iss` and `sub`.

    Broken by telling the fabric's own name, or an address that another provider's people may have too: it would act on the wrong one.
    """
    stream = await ssf.create({"method": POLL})
    carl = {"format": "iss_sub", "iss": PARTNER, "sub": "carl"}
    await revoke(ssf, "user", "partner::carl")
    got = await received(ssf, stream, 2)
    assert {json.dumps(payload["sub_id"]) for payload in got.values()} == {json.dumps(carl)}
    await lift(ssf, "user", "partner::carl")
    assert (await received(ssf, stream, 1))["risk-level-change"]["sub_id"] == carl
    for said in (
        {"format": "email", "email": "dora@88mph.com"},
        {"format": "aliases", "identifiers": [{"format": "email", "email": "dora@88mph.com"}]},
    ):
        await signal(ssf, "HIGH", said, sender=PARTNER)
        got = await received(ssf, stream, 2)
        assert {json.dumps(payload["sub_id"]) for payload in got.values()} == {json.dumps(carl | {"sub": "dora@88mph.com"})}
        await lift(ssf, "user", "partner::dora@88mph.com")
        # nobody whom the facts know: this was the fabric's word, and only the signal's own could name her
    await ssf.delete(stream)


async def test_tokens_transactions_and_keys(ssf: Stage) -> None:
    stream = await ssf.create({"method": POLL})
    await revoke(ssf, "token", "jti-1", AGENT)
    got = await received(ssf, stream, 1)
    assert got["session-revoked"]["sub_id"] == {"format": "jwt_id", "iss": ssf.server.settings.issuer, "jti": "jti-1"}
    await revoke(ssf, "transaction", "txn-1", AGENT)
    got = await received(ssf, stream, 1)
    assert got["session-revoked"]["sub_id"] == {"format": "complex", "transaction": {"format": "opaque", "id": "txn-1"}}
    await revoke(ssf, "key", "kid-1")
    got = await received(ssf, stream, 1)
    well_formed(got["credential-change"], "admin")
    assert got["credential-change"]["change_type"] == "revoke"
    await ssf.delete(stream)


async def test_a_receiver_hears_of_its_own_namespaces_alone(ssf: Stage) -> None:
    """INVARIANT: no stream tells of an agent outside the namespaces that its client's fact lists.

    Asking only whether the event was requested would break it: one tenant would be told of another's agents and people.
    """
    token = ssf.token(client_id=STRANGER)
    made = await ssf.ask("POST", ssf.metadata["configuration_endpoint"], token, json={})
    stream = made.json()
    await revoke(ssf, "agent", f"{ROOT}/agents/elsewhere")
    await revoke(ssf, "user", "marty")
    await signal(ssf, "HIGH", {"format": "email", "email": "bob@example.com"})
    await revoke(ssf, "agent", THEIRS)
    got = await received(ssf, stream, 2, token)
    assert {json.dumps(payload["sub_id"]) for payload in got.values()} == {json.dumps({"format": "uri", "uri": THEIRS})}
    await ssf.ask("DELETE", ssf.metadata["configuration_endpoint"], token, params={"stream_id": stream["stream_id"]})


async def test_a_removed_subject_is_silent_and_everyone_else_is_not(ssf: Stage) -> None:
    stream = await ssf.create({"method": POLL})
    named = {"stream_id": stream["stream_id"], "subject": {"format": "uri", "uri": f"{ROOT}/agents/removed"}}
    await ssf.ask("POST", ssf.metadata["remove_subject_endpoint"], json=named)
    await revoke(ssf, "agent", f"{ROOT}/agents/removed")
    await revoke(ssf, "agent", f"{ROOT}/agents/kept")
    got = await received(ssf, stream, 2)
    assert {payload["sub_id"]["uri"] for payload in got.values()} == {f"{ROOT}/agents/kept"}
    await ssf.ask("POST", ssf.metadata["add_subject_endpoint"], json=named)
    await lift(ssf, "agent", f"{ROOT}/agents/removed")
    assert {payload["sub_id"]["uri"] for payload in (await received(ssf, stream, 1)).values()} == {f"{ROOT}/agents/removed"}
    await ssf.delete(stream)


async def test_es256_where_no_use_case_of_caep_interop_is_delivered(ssf: Stage) -> None:
    import jwt

    stream = await ssf.create({"method": POLL}, events_requested=[f"{CAEP}risk-level-change"])
    await revoke(ssf, "agent", f"{ROOT}/agents/risky")
    ((_, compact),) = (await ssf.poll(stream, returnImmediately=False)).json()["sets"].items()
    assert jwt.get_unverified_header(compact)["alg"] == "ES256"
    await ssf.decode(stream, compact)
    await ssf.delete(stream)

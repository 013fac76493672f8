"""The SDK and the schemas speak the same contract, though neither imports the other's half (design section 7)."""

import asyncio
import json

import pytest
from weft import agent, claims, errors, follower, guard, identity, point, reading, revocation_messages, session, token, wire
from weft.agent import sign_request
from weft.claims import parse_claims
from weft.nkey import KeyPair
from weft.records import parse_attachment
from weft.revocation import RevocationView
from weft.verified import use_of

from schemas import base as schema_base
from schemas import drills, envelope, facts, invocation, points, reasons, revocation
from schemas import token as schema_token
from schemas.envelope import CloudEvent
from streams import subjects
from tests.support.signed import ADVISOR, INSTANCE, ISSUER, NOW, PAYMENTS, TokenKey, Writer
from tests.support.signed import claims as token_claims

KEY = TokenKey()

CONSTANTS = {
    "token typ": (token.TOKEN_TYP, schema_token.TOKEN_TYP),
    "token alg": (token.TOKEN_ALG, schema_token.TOKEN_ALG),
    "longest life": (token.MAX_TTL_S, schema_token.MAX_TTL_S),
    "skew": (token.SKEW_S, schema_token.SKEW_S),
    "token size": (token.MAX_TOKEN_BYTES, schema_token.MAX_TOKEN_BYTES),
    "hops": (claims.MAX_HOPS, schema_token.MAX_HOPS),
    "entry typ": (revocation_messages.ENTRY_TYP, revocation.ENTRY_TYP),
    "beacon typ": (revocation_messages.BEACON_TYP, revocation.BEACON_TYP),
    "entry": (revocation_messages.ENTRY, revocation.ENTRY),
    "beacon": (revocation_messages.BEACON, revocation.BEACON),
    "genesis": (revocation_messages.GENESIS, revocation.GENESIS),
    "content type": (wire.CONTENT_TYPE, envelope.CONTENT_TYPE),
    "request typ": (agent.REQUEST_TYP, invocation.REQUEST_TYP),
    "requested": (agent.REQUESTED, invocation.REQUESTED),
    "granted": (agent.GRANTED, invocation.GRANTED),
    "attach": (point.ATTACH, points.ATTACH),
    "claim": (point.CLAIM, points.CLAIM),
    "use": (point.USE, points.USE),
    "ack": (point.ACK, points.ACK),
    "signal": (point.SIGNAL, points.SIGNAL),
    "subject of revocations": (follower.SOURCE, subjects.REVOCATION.filter),
    "subject of pushed revocations": (follower.PUSH, subjects.PUSH_REVOCATION.filter),
    "subject of tool changes": (guard.PUSH_TOOL, subjects.PUSH_TOOL.prefix),
    "latest second": (reading.MAX_SECONDS, next(m.le for m in schema_base.Seconds.__metadata__[0].metadata if hasattr(m, "le"))),
}


@pytest.mark.parametrize("name", CONSTANTS)
def test_constants_agree(name):
    ours, theirs = CONSTANTS[name]
    assert ours == theirs


def test_reasons_agree():
    assert {r.name: r.value for r in errors.GuardReason} == {r.name: r.value for r in reasons.GuardReason}
    assert guard.GuardReason is errors.GuardReason


def test_names_agree():
    assert identity.workload_identity is not None
    name = subjects.connection_name(INSTANCE, subjects.SpiffeID.parse(PAYMENTS))
    assert asyncio.run(identity.workload_identity("point", fake_svid, "88mph.com")).name == name
    assert session.CLIENT_OPTIONS["max_reconnect_attempts"] == -1


async def fake_svid(audience):
    """As an issuer would make it, unsigned: the SDK reads its own SVID and verifies nothing about it."""
    return KEY.sign({"sub": PAYMENTS, "aud": [audience], "iat": NOW, "exp": NOW + 300, "weft_instance": INSTANCE})


# --- what the SDK says validates ---------------------------------------------------------------------------------------------------


def validated(model, type_, data):
    event = CloudEvent[model].model_validate_json(wire.event(type_, data, source=PAYMENTS))
    assert event.type == type_
    return event.data


class Recorded:
    """A connection that keeps what was said on it, and answers."""

    name = f"{INSTANCE}.88mph~com.tools.payments"
    source = PAYMENTS

    def __init__(self, answer):
        self.said = []
        self._answer = answer

    async def request(self, subject, body, timeout_s):
        self.said.append((subject, body))
        return self._answer

    async def publish(self, subject, body):
        self.said.append((subject, body))


def said(ask, answer):
    """What `ask` put on the bus."""
    connection = Recorded(wire.event("org.weft.answer.v1", answer, source="/weft/test"))
    asyncio.run(ask(point.Point(connection)))
    ((subject, body),) = connection.said
    return subject, body


def verified(**changes):
    raw = KEY.sign(token_claims(**changes))
    return token.verify_token(raw, {KEY.kid: KEY.public}, issuer=ISSUER, audiences=["88mph.com"], now=NOW)


USE = use_of(verified(), "payments-processing", ("refund",), NOW, outcome="positive", object="o" * 43)
REFUSED = use_of(verified(), "payments-processing", ("refund",), NOW, reason=errors.GuardReason.REVOKED)
SIGNAL = {"tool": "payments-processing", "token": verified().raw, "level": "high", "what": "odd"}
VERDICT = {"drill": "d1", "tool": "payments-processing", "accepted": False, "reason": "token_revoked", "n": 3, "at": 1.5}

SAYINGS = {
    "attach": (
        lambda p: p.attach(["payments-processing"]),
        {"tools": [], "keys": [], "trust_domain": "a", "issuer": "b"},
        points.Attach,
        subjects.ATTACH,
    ),
    "claim": (lambda p: p.claim("payments-processing", "j", NOW), {"first": True}, points.Claim, subjects.CLAIM),
    "use": (lambda p: p.use(USE, "r1"), {"seq": 7}, points.Use, subjects.USE),
    "refused use": (lambda p: p.use(REFUSED, "r1"), {"seq": 7}, points.Use, subjects.USE),
    "signal": (lambda p: p.signal(SIGNAL), {"seq": 7}, points.PointSignal, subjects.NOTICE),
    "verdict": (lambda p: p.verdict(VERDICT), {}, drills.Verdict, subjects.VERDICT),
    "ack": (lambda p: p.ack(4, 2), {}, revocation.Ack, subjects.ACK),
}


@pytest.mark.parametrize("name", SAYINGS)
def test_what_a_guard_says_validates(name):
    ask, answer, model, subject = SAYINGS[name]
    where, body = said(ask, answer)
    assert where == subject.at(Recorded.name)
    CloudEvent[model].model_validate_json(body)


def test_a_signed_request_validates():
    payload = {"id": "r1", "tool": "payments-processing", "actions": ["refund"], "purpose": "process.refund", "iat": NOW}
    key = KeyPair("U")
    jws = sign_request(payload, key.public, key.sign)
    data = {"request": jws, "svid": asyncio.run(fake_svid("x"))}
    request = validated(invocation.InvocationRequest, agent.REQUESTED, data)
    middle = request.request.split(".")[1]
    invocation.SignedRequest.model_validate_json(json.dumps(json.loads(_bytes(middle))))


def _bytes(part):
    from weft.digest import unb64u

    return unb64u(part)


# --- what the schemas say is understood ------------------------------------------------------------------------------------------


def schema_token_claims(**changes):
    """Claims as the schemas hold them: every optional member used."""
    evidence = ({"tool": "fraud-check", "seq": 3, "object": "o" * 43, "at": NOW},)
    past = ({"sub": ADVISOR, "instance": INSTANCE, "jti": "j0", "tool": "search-agent", "iat": NOW},)
    made = token_claims(evidence=evidence, act_chain=past, act={"sub": ADVISOR, "instance": INSTANCE, "version": "1", "deployment": "blue"})
    made["status"] = {"status_list": {"idx": 7, "uri": "https://txn-svc.88mph.com/status/1"}}
    return schema_token.TokenClaims.model_validate_json(json.dumps(made | changes))


def test_every_token_the_schemas_make_verifies():
    made = schema_token_claims()
    raw = KEY.sign(made.wire())
    read = token.verify_token(raw, {KEY.kid: KEY.public}, issuer=ISSUER, audiences=["88mph.com"], now=NOW)
    for name in schema_token.TokenClaims.model_fields.keys() - {"cnf"}:
        ours, theirs = getattr(read, name), getattr(made, name)
        assert _plain(ours) == _plain(theirs), name
    assert read.jkt == made.cnf.jkt


def _plain(value):
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "plain"):
        return {name: _plain(getattr(value, name)) for name in type(value).model_fields}
    if hasattr(value, "__dataclass_fields__"):
        return {name: _plain(getattr(value, name)) for name in value.__dataclass_fields__}
    return value


def test_the_sdk_knows_every_claim_of_the_schemas():
    ours = set(claims.VerifiedToken.__dataclass_fields__) - {"raw", "digest", "kid", "jkt", "typ"}
    assert ours == set(schema_token.TokenClaims.model_fields) - {"cnf"}
    assert parse_claims.__doc__


def test_entries_and_beacons_of_the_schemas_are_applied():
    writer = Writer()
    view = RevocationView({writer.kid: writer.public}.get)
    entry = revocation.Entry(
        n=1, prev=revocation.GENESIS, epoch=1, at=NOW, targets=(revocation.Target(kind="user", digest="d" * 22),), posture=4
    )
    jws = writer.sign(entry.plain(), revocation.ENTRY_TYP)
    view.apply(CloudEvent[revocation.Signed](**_attributes(revocation.ENTRY), data=revocation.Signed(jws=jws)).wire())
    from weft.digest import sha256

    beacon = revocation.Beacon(n=1, head=sha256(jws), epoch=1, at=NOW + 0.5, facts=9, floor=1)
    signed = revocation.Signed(jws=writer.sign(beacon.plain(), revocation.BEACON_TYP))
    view.apply(CloudEvent[revocation.Signed](**_attributes(revocation.BEACON), data=signed).wire())
    assert (view.counter, view.facts_head, view.age(NOW + 1)) == (1, 9, 0.5)


def _attributes(type_):
    return {"id": "e", "source": "/weft/revocation", "type": type_, "time": "2026-11-24T00:00:00Z"}


def test_an_attachment_of_the_schemas_is_understood():
    writer = Writer()
    tool = facts.Tool(
        name="payments-processing",
        owner="payments@88mph.com",
        workload=PAYMENTS,
        endpoint="https://payments.internal:8443",
        resource="https://payments.flux.88mph.com",
        actions=("refund", "read"),
        purposes=("process.refund",),
        single_use=True,
        evidence=(facts.EvidenceRule(tool="fraud-check", fields=("order",)),),
        object_fields={"order": "/order"},
        chain=(ADVISOR,),
        staleness_s=30,
    )
    keys = (
        facts.Key(purpose="tokens", kid=KEY.kid, jwk=KEY.jwk, trust_domain="88mph.com"),
        facts.Key(purpose="tokens", kid="gone", jwk=KEY.jwk, trust_domain="88mph.com", state="compromised"),
        facts.Key(purpose="revocation", kid=writer.kid, jwk=writer.jwk, trust_domain="88mph.com"),
    )
    attached = points.Attached(tools=(tool,), keys=keys, trust_domain="88mph.com", issuer=ISSUER, facts_revision=3)
    read = parse_attachment(attached.plain())
    assert read.token_keys.keys() == {KEY.kid}
    assert read.revocation_keys == {writer.kid: writer.public}
    ours = read.tools["payments-processing"]
    assert (ours.single_use, ours.staleness_s, ours.chain, ours.evidence[0].max_age_s) == (True, 30, (ADVISOR,), 300)
    assert (ours.audience, ours.bind) == ("88mph.com", {"method", "path", "body"})
    assert ours.object_fields == {"order": "/order"}


def test_a_tool_whose_tokens_are_leaves_has_its_resource_as_audience():
    record = {"name": "a", "workload": PAYMENTS, "resource": "https://a", "actions": ["read"], "token_form": "resource"}
    data = {"tools": [record], "keys": [], "trust_domain": "88mph.com", "issuer": ISSUER}
    assert parse_attachment(data).audiences == {"https://a"}

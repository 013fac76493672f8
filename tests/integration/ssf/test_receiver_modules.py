"""The OpenID Foundation's conformance modules for receivers, one test each and named after it, `openid-ssf-` left out.

Our receiver against an emulated transmitter: the edge on a real port, `signals` behind a real server.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from nats.aio.client import Client
from weft.digest import sha256

from config.settings import OutboundPrivate
from schemas.events.common import CAEP, RISC, SSF
from schemas.facts import Subscription, Transmitter, TransmitterCeiling
from schemas.points import SET_DELIVERED, SetDelivery
from schemas.record import RESPONDED, SIGNALLED
from streams.bus import Publisher, event
from streams.secretfile import write_secret
from streams.subjects import SIGNAL
from tests.integration.test_signals import eventually, stored
from tests.support.fabric import FabricServer
from tests.support.identities import Signer
from tests.support.transmitting import RISK, Emulated, transmitter
from tests.support.workers import running
from workers.common.rpc import Refused
from workers.edge import app as edge
from workers.signals import app as signals
from workers.signals import responder
from workers.signals.intake import Intake
from workers.supervisor.waiting import free_port

REVOKED = f"{CAEP}session-revoked"
MODES = ("push", "poll")
EXAMPLES: dict[str, dict[str, Any]] = {
    REVOKED: {},
    f"{CAEP}credential-change": {"credential_type": "password", "change_type": "revoke"},
    f"{CAEP}device-compliance-change": {"previous_status": "compliant", "current_status": "not-compliant"},
    f"{CAEP}token-claims-change": {"claims": {"role": "ro-admin"}},
    f"{CAEP}assurance-level-change": {"namespace": "NIST-AAL", "current_level": "nist-aal2", "change_direction": "decrease"},
    f"{CAEP}session-established": {},
    f"{CAEP}session-presented": {},
    RISK: {"principal": "USER", "current_level": "HIGH"},
    f"{RISC}account-disabled": {"reason": "hijacking"},
    f"{RISC}account-purged": {},
    f"{RISC}sessions-revoked": {},
    f"{RISC}opt-in": {},
}
SUBJECTS = ({"format": "email", "email": "marty@88mph.com"}, {"format": "iss_sub", "iss": "https://op.88mph.com", "sub": "marty"})


@dataclass
class Place:
    """The fabric and the transmitter."""

    server: FabricServer
    tx: Emulated
    nc: Client
    app: Any
    mode: str

    async def held(self) -> list[dict[str, Any]]:
        """The SETs on SIGNALS."""
        return [_claims(e["data"]["set"]) for e in await stored(self.nc, "SIGNALS", "weft.signal.>")]

    async def verdict(self, compact: str) -> str | None:
        """None where it was acknowledged, else the error; the way that the mode goes."""
        if self.mode == "push":
            answer = await self.tx.send(compact)
            if answer.status_code == 202:
                assert answer.content == b""
                return None
            if answer.status_code == 503:
                return "again"
            assert answer.headers["content-language"] == "en"
            assert answer.json()["description"]
            return str(answer.json()["err"])
        jti = self.tx.offer(compact)
        await self.tx.until(lambda: jti in self.tx.acked or jti in self.tx.errors)
        return None if jti in self.tx.acked else str(self.tx.errors[jti]["err"])

    async def detail(self) -> str:
        return str((await self.app.runtime.health(canary=False)).detail.get("subscriptions", {}).get("corp"))


def _claims(compact: str) -> dict[str, Any]:
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(compact.split(".")[1] + "=="))
    return claims


def subscription(tx: Emulated, mode: str, **changes: Any) -> Subscription:
    how = {"method": "client_credentials", "token_endpoint": f"{tx.iss}/token", "client_id": "weft", "client_auth": "private_key_jwt"}
    said = {"name": "corp", "iss": tx.iss, "delivery": mode, "events": [RISK, REVOKED], "authorization": how, **changes}
    return Subscription.model_validate_json(json.dumps(said))


def sender(tx: Emulated, **changes: Any) -> Transmitter:
    ceiling = TransmitterCeiling(namespaces=("spiffe://88mph.com/agents",), strongest="quarantine")
    return Transmitter(iss=tx.iss, aud=tx.aud, jwks_uri=f"{tx.iss}/jwks", trust={"*": "high"}, ceiling=ceiling, **changes)


@asynccontextmanager
async def place(server: FabricServer, mode: str, tx: Emulated, *, wait: bool = True, **changes: Any) -> AsyncIterator[Place]:
    port = free_port()
    more = {
        "edge_port": port,
        "outbound_private": OutboundPrivate(receivers=("127.0.0.0/8",), transmitters=("127.0.0.0/8",)),
        "ssf_issuer": f"https://127.0.0.1:{port}",
    }
    settings = server.settings.model_copy(update=more)
    await server.put_facts(sender(tx), subscription(tx, mode, **changes))
    async with running(edge.build, settings), running(signals.build, settings) as app:
        made = Place(server, tx, await server.worker("signals"), app, mode)
        if wait:
            await tx.until(lambda: bool(tx.states))
        yield made


@pytest.fixture
async def tx() -> AsyncIterator[Emulated]:
    async with transmitter() as made:
        yield made


@pytest.mark.parametrize("mode", MODES)
async def test_receiver_stream_create_delete(fabric_server: FabricServer, tx: Emulated, mode: str) -> None:
    """And happy path: only receiver's members on create; the status is read; deleted with the subscription."""
    async with place(fabric_server, mode, tx) as here:
        assert tx.stream is not None
        assert tx.stream["events_requested"] == [RISK, REVOKED]
        assert ("GET", "/status") in tx.calls
        await eventually(lambda: _says(here, "held"))
        if mode == "push":
            assert tx.stream["delivery"]["endpoint_url"].endswith("/ssf/receive/corp")
            assert len(tx.stream["delivery"]["authorization_header"]) > 40
        await fabric_server.delete_fact("subscription", "corp")
        await tx.until(lambda: tx.stream is None)
    (form, *_) = tx.forms
    assert (form["grant_type"], form["scope"]) == ("client_credentials", "ssf.manage ssf.read")
    assert _claims(form["client_assertion"])["aud"] == f"{tx.iss}/token"


@pytest.mark.parametrize("mode", MODES)
async def test_receiver_stream_verification(fabric_server: FabricServer, tx: Emulated, mode: str) -> None:
    """Also unsolicited-stream-verification, verification-behind-queued-events, verification-wrong-state and -wrong-subject."""
    async with place(fabric_server, mode, tx) as here:
        for _ in range(3):
            assert await here.verdict(tx.a_set()) is None
        assert await here.verdict(tx.verification(tx.states[0])) is None
        assert await here.verdict(tx.verification(None)) is None
        assert await here.verdict(tx.verification("another state")) == "invalid_state"
        assert await here.verdict(tx.verification(tx.states[0], "another stream")) == "invalid_request"
        assert len(await here.held()) == 5


@pytest.mark.parametrize("mode", MODES)
async def test_receiver_stream_supported_events(fabric_server: FabricServer, tx: Emulated, mode: str) -> None:
    """And caep-interop: every event, about every subject, with every enumerated value; each is on SIGNALS as it was signed."""
    sets = [
        tx.a_set(event, {"event_timestamp": int(time.time()), **members}, subject)
        for event, members in EXAMPLES.items()
        for subject in SUBJECTS
    ]
    for kind in (
        "password",
        "pin",
        "x509",
        "fido2-platform",
        "fido2-roaming",
        "fido-u2f",
        "verifiable-credential",
        "phone-voice",
        "phone-sms",
        "app",
    ):
        members = {"credential_type": kind, "change_type": "create", "reason_admin": {"en": "x"}}
        sets.append(tx.a_set(f"{CAEP}credential-change", members, SUBJECTS[0]))
    async with place(fabric_server, mode, tx, events=list(EXAMPLES)) as here:
        assert [await here.verdict(compact) for compact in sets] == [None] * len(sets)
        assert {claims["jti"] for claims in await here.held()} == {_claims(compact)["jti"] for compact in sets}


@pytest.mark.parametrize("mode", MODES)
async def test_receiver_invalid_set_rejection(fabric_server: FabricServer, tx: Emulated, mode: str) -> None:
    """INVARIANT: a SET that its transmitter did not sign for us is never acknowledged and never stored, whatever way it comes."""
    async with place(fabric_server, mode, tx) as here:
        good = tx.a_set()
        last = good[-2]
        tampered = good[:-2] + ("A" if last != "A" else "B") + good[-1]
        assert await here.verdict(tampered) == "invalid_key"
        assert await here.verdict(tx.a_set(iss="https://other.example")) == "invalid_issuer"
        assert await here.verdict(tx.a_set(aud="https://other.example")) == "invalid_audience"
        assert await here.verdict(tx.a_set(signer=Signer(kid="unknown"))) == "invalid_key"
        assert await here.verdict(tx.a_set(exp=int(time.time()) + 60)) == "invalid_request"
        assert await here.held() == []
        assert tx.calls.count(("GET", "/jwks")) <= 2, "an unknown key asks for the set, but not at any rate"


@pytest.mark.parametrize("mode", MODES)
async def test_receiver_redelivered_set(fabric_server: FabricServer, tx: Emulated, mode: str) -> None:
    """RFC 8935 section 2.3: answered as if new, acted on once."""
    async with place(fabric_server, mode, tx) as here:
        compact = tx.a_set()
        assert await here.verdict(compact) is None
        tx.acked.clear()
        assert await here.verdict(compact) is None
        assert len(await here.held()) == 1


async def test_receiver_stream_issuer_mismatch(fabric_server: FabricServer, tx: Emulated) -> None:
    """A stream of a foreign issuer: neither verified nor polled nor enabled."""
    tx.foreign_iss = "https://evil.example"
    async with place(fabric_server, "poll", tx, wait=False) as here:
        await tx.until(lambda: len(tx.calls) >= 5)  # made, and looked at again
        assert {path for _, path in tx.calls} == {"/stream"}
        await eventually(lambda: _says(here, "another issuer"))


async def test_receiver_access_token_expiry(fabric_server: FabricServer, tx: Emulated) -> None:
    async with place(fabric_server, "poll", tx) as here:
        tx.tokens.clear()
        assert await here.verdict(tx.a_set()) is None
        assert len(tx.forms) == 2
        await eventually(lambda: _says(here, "held"))


async def test_receiver_transmitter_initiated_status_change(fabric_server: FabricServer, tx: Emulated) -> None:
    async with place(fabric_server, "poll", tx) as here:
        for status in ("paused", "enabled"):
            about = {"format": "opaque", "id": (tx.stream or {})["stream_id"]}
            assert await here.verdict(tx.a_set(f"{SSF}stream-updated", {"status": status}, about)) is None
        assert await here.verdict(tx.a_set()) is None


async def test_receiver_removed_subject_event(fabric_server: FabricServer, tx: Emulated) -> None:
    """And subjects: added where the transmitter starts with none; an event about another is no error."""
    tx.default_subjects = "NONE"
    async with place(fabric_server, "push", tx, subjects=[SUBJECTS[0]]) as here:
        assert tx.subjects == [SUBJECTS[0]]
        assert await here.verdict(tx.a_set(sub_id=SUBJECTS[1])) is None


# --- what the suite does not ask ----------------------------------------------------------------------------------------------------


async def test_a_push_shows_what_we_asked_the_transmitter_to_send(fabric_server: FabricServer, tx: Emulated) -> None:
    """INVARIANT: a push for a stream counts only with the credential that this stream was given.

    Leaving it to the signature would break it: whoever gets hold of a SET could choose when it arrives, and on which stream.
    """
    async with place(fabric_server, "push", tx) as here:
        for given in (None, "Bearer wrong", "bearer " + (tx.stream or {})["delivery"]["authorization_header"][7:]):
            answer = await tx.send(tx.a_set(), authorization=given)
            assert answer.status_code == 401
            assert answer.json()["err"] == "authentication_failed"
            assert answer.headers["www-authenticate"] == "Bearer"
        assert (await tx.send(tx.a_set(), media="application/json")).json()["err"] == "invalid_request"
        assert (await tx.send("not a token")).json()["err"] == "invalid_request"
        tx.stream["delivery"]["endpoint_url"] = tx.stream["delivery"]["endpoint_url"].replace("/corp", "/other")  # type: ignore[index]
        assert (await tx.send(tx.a_set())).status_code == 401
        assert await here.held() == []


async def test_keys_that_were_rotated_are_fetched_and_a_change_of_events_is_asked_for(fabric_server: FabricServer, tx: Emulated) -> None:
    async with place(fabric_server, "push", tx) as here:
        assert await here.verdict(tx.a_set()) is None
        fetched = tx.calls.count(("GET", "/jwks"))
        assert await here.verdict(tx.a_set()) is None
        assert tx.calls.count(("GET", "/jwks")) == fetched, "known keys are not fetched for every SET"
        await fabric_server.put_facts(subscription(tx, "push", events=[RISK]))
        await tx.until(lambda: (tx.stream or {})["events_requested"] == [RISK])


async def test_a_transmitter_that_changes_no_stream_gets_a_new_one(fabric_server: FabricServer, tx: Emulated) -> None:
    """CAEP Interop asks a transmitter for neither PATCH nor PUT."""
    tx.cannot = ("PATCH /stream",)
    async with place(fabric_server, "poll", tx):
        first = (tx.stream or {})["stream_id"]
        await fabric_server.put_facts(subscription(tx, "poll", events=[RISK]))
        await tx.until(lambda: tx.stream is not None and tx.stream["events_requested"] == [RISK])
        assert tx.stream is not None
        assert tx.stream["stream_id"] != first


async def test_a_secret_comes_from_its_file_and_a_missing_one_is_said(fabric_server: FabricServer, tx: Emulated) -> None:
    async with place(fabric_server, "poll", tx, wait=False, authorization={"method": "static"}) as here:
        await eventually(lambda: _says(here, "keys/subscriptions/corp"))
        write_secret(fabric_server.settings.keys / "subscriptions" / "corp", b"given-by-hand\n")
        tx.tokens.add("given-by-hand")
        await tx.until(lambda: bool(tx.states))
        assert tx.forms == []


async def test_what_could_not_be_stored_is_neither_acknowledged_nor_refused(
    fabric_server: FabricServer, tx: Emulated, monkeypatch: Any
) -> None:
    """INVARIANT: a SET is on SIGNALS before it is acknowledged.

    Acknowledging what was only verified would break it: a crash, or a full stream, and the signal is gone for ever.
    """
    from workers.signals.intake import DenyReason, Intake

    async with place(fabric_server, "poll", tx) as here:
        store, failed = Intake._store, []

        async def fail_once(self: Intake, *args: Any) -> None:
            if not failed:
                failed.append(True)
                raise Refused(DenyReason.RECORD_UNAVAILABLE, "SIGNALS did not acknowledge")
            await store(self, *args)

        monkeypatch.setattr(Intake, "_store", fail_once)
        assert await here.verdict(tx.a_set()) is None
        assert failed
        assert len(await here.held()) == 1


async def test_a_suspended_subscription_pauses_the_stream(fabric_server: FabricServer, tx: Emulated) -> None:
    async with place(fabric_server, "push", tx) as here:
        await fabric_server.put_facts(subscription(tx, "push", state="suspended"))
        await tx.until(lambda: tx.status == "paused")
        assert (await tx.send(tx.a_set())).status_code == 401
        await fabric_server.put_facts(subscription(tx, "push"))
        await tx.until(lambda: tx.status == "enabled")
        assert await here.verdict(tx.a_set()) is None


async def test_a_transmitter_may_push_the_verification_before_it_answers(fabric_server: FabricServer, tx: Emulated) -> None:
    """When the second of our streams is made there, and when its verification is asked for: its id has not been told by then."""
    tx.pushes_verification_first, tx.one_each = True, False
    async with place(fabric_server, "push", tx):
        await fabric_server.put_facts(subscription(tx, "push", name="second"))
        await tx.until(lambda: len(tx.states) == 2)
        assert tx.unsolicited == [202, 202]


async def test_a_verification_that_was_asked_too_often_holds_nothing_up(fabric_server: FabricServer, tx: Emulated) -> None:
    """SSF 1.0 section 8.1.4.2: `min_verification_interval`, 429.  A worker that starts again within it polls all the same."""
    tx.too_often = 1000
    async with place(fabric_server, "poll", tx, wait=False) as here:
        await eventually(lambda: _says(here, "held"), 15)
        assert await here.verdict(tx.a_set()) is None
        assert tx.states == []


async def test_a_scope_that_is_too_small_is_not_a_token_that_expired(fabric_server: FabricServer, tx: Emulated) -> None:
    """RFC 6750 section 3.1: no other token of the same scope will do, and the reason is told."""
    tx.scope_is_too_small = True
    async with place(fabric_server, "poll", tx, wait=False) as here:
        await eventually(lambda: _says(here, "scope is too small"), 15)
        await tx.until(lambda: len(tx.calls) >= 2)
        assert len(tx.forms) == 1


@pytest.mark.parametrize("mode", MODES)
async def test_a_set_whose_key_cannot_be_looked_for_comes_again(fabric_server: FabricServer, tx: Emulated, mode: str) -> None:
    """INVARIANT: a SET is refused only for what is known of it.

    Refusing it while the transmitter's keys cannot be fetched would break it: a transmitter sends nothing again that was refused.
    """
    async with place(fabric_server, mode, tx) as here:
        tx.keys_are_away = True
        compact = tx.a_set()
        if mode == "push":
            answer = await tx.send(compact)
            assert (answer.status_code, answer.headers.get("retry-after")) == (503, "1")
        else:
            jti = tx.offer(compact)
            await tx.until(lambda: ("GET", "/jwks") in tx.calls)
            assert jti not in tx.acked
            assert jti not in tx.errors
        tx.keys_are_away = False
        if mode == "push":
            await eventually(lambda: _acknowledged(here, compact), 15)
        else:
            await tx.until(lambda: jti in tx.acked)
        assert len(await here.held()) == 1


@pytest.mark.parametrize("mode", MODES)
async def test_what_a_transmitter_kept_for_us_is_not_too_old(fabric_server: FabricServer, tx: Emulated, mode: str) -> None:
    """Paused, or away for a night.  By hand, where anyone may bring it, an hour is the most (tests/unit/signals/test_verify.py)."""
    async with place(fabric_server, mode, tx) as here:
        assert await here.verdict(tx.a_set(iat=int(time.time()) - 3 * 86_400)) is None
        assert await here.verdict(tx.a_set(iat=int(time.time()) - 8 * 86_400)) == "invalid_request"
        assert len(await here.held()) == 1


async def test_a_key_that_was_published_just_now_is_found(fabric_server: FabricServer, tx: Emulated) -> None:
    """A transmitter that rotates its keys signs with the new one at once, however shortly ago we looked."""
    async with place(fabric_server, "push", tx) as here:
        for kid in ("tx-2", "tx-3"):
            tx.signer = Signer(kid=kid)
            assert await here.verdict(tx.a_set()) is None


async def test_a_poll_that_is_held_for_longer_than_we_wait_is_asked_again(
    fabric_server: FabricServer, tx: Emulated, monkeypatch: Any
) -> None:
    """RFC 8936 section 2.2: nothing is lost by it, since nothing was acknowledged."""
    monkeypatch.setattr("workers.signals.receiver.poller.DEADLINE_S", 0.3)
    tx.held_poll_s = 2.0
    async with place(fabric_server, "poll", tx) as here:
        await tx.until(lambda: tx.calls.count(("POST", "/poll")) >= 3)
        await eventually(lambda: _says(here, "held"))
        assert await here.verdict(tx.a_set()) is None


async def test_a_backlog_of_large_sets_comes_in_smaller_answers(fabric_server: FabricServer, tx: Emulated) -> None:
    """And what is larger than any SET is refused, so that it is not in the way for ever."""
    async with place(fabric_server, "poll", tx) as here:
        large = [tx.a_set(members={"principal": "USER", "current_level": "LOW", "more": "x" * 10_000}) for _ in range(20)]
        offered = [tx.offer(compact) for compact in large]
        await tx.until(lambda: set(offered) <= set(tx.acked))
        assert len(await here.held()) == 20
        assert (
            await here.verdict(tx.a_set(members={"principal": "USER", "current_level": "LOW", "more": "x" * 15_000})) == "invalid_request"
        )


async def _acknowledged(here: Place, compact: str) -> bool:
    return await here.verdict(compact) is None


async def _says(here: Place, part: str) -> bool:
    return part in await here.detail()


async def test_a_stored_set_waits_for_its_senders_keys(fabric_server: FabricServer, tx: Emulated) -> None:
    """INVARIANT: a SET that was acknowledged is acted on, however long its sender's keys cannot be fetched after a restart.

    Recording it as refused would break it: an attacker who keeps the keys away has the signal forgotten.
    """
    await fabric_server.put_facts(sender(tx))
    nc = await fabric_server.worker("signals")
    compact = tx.a_set()
    body = event(SET_DELIVERED, SetDelivery(set=compact), source="/test")
    await Publisher(nc).publish("SIGNALS", SIGNAL.at(sha256(tx.iss), sha256("jti")), body, msg_id="test:waiting")
    settings = fabric_server.settings.model_copy(
        update={"edge_port": free_port(), "outbound_private": OutboundPrivate(receivers=("127.0.0.0/8",), transmitters=("127.0.0.0/8",))}
    )
    audit = await fabric_server.worker("audit")

    async def recorded() -> list[dict[str, Any]]:
        found = await stored(audit, "RECORD", "weft.record.signals.>")
        return [e["data"] for e in found if e["type"] in (RESPONDED, SIGNALLED)]

    async with running(signals.build, settings) as app:
        await eventually(lambda: _looked_at(app))
        assert await recorded() == []
        async with running(edge.build, settings):
            (responded,) = await eventually(recorded)
    assert (responded["iss"], responded["response"]) == (tx.iss, "record")


async def test_what_waits_for_one_senders_keys_leaves_room_for_others(
    fabric_server: FabricServer, tx: Emulated, monkeypatch: pytest.MonkeyPatch
) -> None:
    """INVARIANT: a sender whose keys cannot be had keeps nobody else's signals from being answered, and what is given up is on record.

    It would break if any number of its SETs could wait: the consumer hands out so many unacknowledged messages, and then none of anybody's.
    """
    monkeypatch.setattr(responder, "MOST_HELD", 2)
    await fabric_server.put_facts(sender(tx))
    nc = await fabric_server.worker("signals")
    for jti in "abc":
        body = event(SET_DELIVERED, SetDelivery(set=tx.a_set(jti=jti)), source="/test")
        await Publisher(nc).publish("SIGNALS", SIGNAL.at(sha256(tx.iss), sha256(jti)), body, msg_id=f"test:{jti}")
    audit = await fabric_server.worker("audit")

    async def refused() -> list[dict[str, Any]]:
        found = await stored(audit, "RECORD", "weft.record.signals.>")
        return [e["data"] for e in found if e["type"] == SIGNALLED and e["data"].get("refused")]

    async with running(signals.build, fabric_server.settings):
        (given_up,) = await eventually(refused)
    assert (given_up["iss"], given_up["refused"]) == (tx.iss, "transmitter_unavailable")


async def _looked_at(app: Any) -> bool:
    info = await app.runtime.nc.jetstream().consumer_info("SIGNALS", "signals")
    return bool(info.num_redelivered or info.num_ack_pending)

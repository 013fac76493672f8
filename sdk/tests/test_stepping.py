"""`Agent.step_up`: what the agent shows, what it asks for again, and when it gives up.  The fabric is what this test answers."""

import json
from dataclasses import dataclass, field
from typing import Any

import nats.errors
import pytest
from weft import stepping
from weft.agent import Agent
from weft.digest import call_parts, unb64u
from weft.grants import Grant, HTTPCall, Refusal, StepUp
from weft.nkey import KeyPair
from weft.spiffeid import SpiffeID

CALL = HTTPCall.json("POST", "/refunds", {"order": "84729"})


def told(type_: str, **data: Any) -> bytes:
    event = {"specversion": "1.0", "id": "1", "source": "/test", "type": type_, "time": "2026-01-01T00:00:00Z", "data": data}
    return json.dumps(event).encode()


def step_up(**data: Any) -> bytes:
    return told("org.weft.invocation.refused.v1", code="step_up", explanation="e1", **data)


GRANTED = told(
    "org.weft.invocation.granted.v1",
    txn="t1",
    endpoint="https://tool",
    token="a.b.c",
    expires_at=1,
    actions=["refund"],
    explanation="e2",
    request_id="r1",
)
DENIED = told("org.weft.invocation.refused.v1", code="denied", explanation="e3")


@dataclass
class Fabric:
    """A connection whose other end says what it is told to, in order."""

    invocations: list[bytes]
    states: list[Any] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    shown: list[dict[str, Any]] = field(default_factory=list)
    renewed: int = 0
    name: str = "i1.agents.a"
    key: KeyPair = field(default_factory=lambda: KeyPair("U"))
    spiffe_id: SpiffeID = field(default_factory=lambda: SpiffeID.parse("spiffe://88mph.com/agents/a"))

    @property
    def svid(self) -> str:
        return f"a.b.{self.renewed}"

    def renew(self) -> None:
        self.renewed += 1

    async def request(self, subject: str, body: bytes, timeout_s: float) -> bytes:
        data = json.loads(body)["data"]
        if subject == f"weft.approval.{self.name}":
            self.shown.append(data)
            state = self.states.pop(0)
            if isinstance(state, Exception):
                raise state
            return told("org.weft.approval.told.v1", id=data["id"], state=state)
        assert subject == f"weft.invoke.{self.name}"
        self.asked.append(json.loads(unb64u(data["request"].split(".")[1])) | {"svid": data["svid"]})
        return self.invocations.pop(0)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_time(_: float) -> None:
        return None

    monkeypatch.setattr(stepping.asyncio, "sleep", no_time)


async def play(fabric: Fabric, wait_s: float = 5.0) -> Grant | Refusal:
    agent = Agent(fabric)  # type: ignore[arg-type]
    refusal = await agent.invoke("payments", ["refund"], "process.refund", call=CALL, user_token="u.s.r")
    assert isinstance(refusal, StepUp)
    assert not refusal
    assert "u.s.r" not in repr(refusal)
    return await agent.step_up(refusal, wait_s=wait_s)


async def test_it_waits_for_a_person_shows_the_call_and_asks_for_the_same_again() -> None:
    fabric = Fabric([step_up(needs="approval", approval="a1"), GRANTED], ["pending", nats.errors.TimeoutError(), "pending", "approved"])
    assert isinstance(await play(fabric), Grant)
    assert [data["id"] for data in fabric.shown] == ["a1"] * 4
    assert fabric.shown[0]["arguments"] == {"path": "/refunds", "body": '{"order":"84729"}'}
    first, again = fabric.asked
    assert first["call"] == again["call"] == call_parts("POST", "/refunds", CALL.body)
    assert {name: first[name] for name in ("tool", "actions", "purpose", "user")} == {
        name: again[name] for name in ("tool", "actions", "purpose", "user")
    }
    assert first["id"] != again["id"]  # another request: the first one's answer stands


async def test_what_a_person_denied_is_denied() -> None:
    fabric = Fabric([step_up(needs="approval", approval="a1"), DENIED], ["denied"])
    outcome = await play(fabric)
    assert (type(outcome), outcome.code if isinstance(outcome, Refusal) else "") == (Refusal, "denied")


async def test_who_waited_long_enough_gets_the_step_up_back_and_may_wait_again() -> None:
    fabric = Fabric([step_up(needs="approval", approval="a1")], ["pending"] * 10_000)
    outcome = await play(fabric, wait_s=0.05)
    assert isinstance(outcome, StepUp)
    assert outcome.approval == "a1"
    fabric.states, fabric.invocations = ["approved"], [GRANTED]
    assert isinstance(await Agent(fabric).step_up(outcome), Grant)  # type: ignore[arg-type]


async def test_one_need_after_the_other() -> None:
    fabric = Fabric(
        [
            step_up(needs="fresh_attestation"),
            step_up(needs="approval", retry_after_s=0.1),
            step_up(needs="approval", approval="a1"),
            step_up(needs="proof_of_possession", challenge="C" * 43),
            GRANTED,
        ],
        ["approved"],
    )
    assert isinstance(await play(fabric), Grant)
    assert [asked["svid"] for asked in fabric.asked] == ["a.b.0", *["a.b.1"] * 4]
    assert [asked.get("challenge") for asked in fabric.asked] == [None, None, None, None, "C" * 43]


async def test_a_call_that_no_person_could_read_is_not_shown() -> None:
    for call in (HTTPCall("POST", "/x", b"\xff\xfe"), HTTPCall("POST", "/x", b"a" * 10_000), HTTPCall("GET", "/" + "a" * 3_000)):
        fabric = Fabric([step_up(needs="approval", approval="a1"), GRANTED], ["approved"])
        agent = Agent(fabric)  # type: ignore[arg-type]
        refusal = await agent.invoke("payments", ["refund"], "process.refund", call=call)
        assert isinstance(refusal, StepUp)
        assert isinstance(await agent.step_up(refusal), Grant)
        assert "arguments" not in fabric.shown[0]

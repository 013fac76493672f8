"""Step-up, shown and not shown: gateway, registry and broker over one small fabric, without a bus.

Each attack has an honest twin beside it that gets through, so that a fabric which refuses everybody fails here too.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from weft.digest import call_parts, sha256, target_digest, unb64u
from weft.nkey import KeyPair

from schemas.commands import Approve
from schemas.facts import MAX_APPROVALS, Agent, Cause, Grant, Person, Posture, Relation, StepUp
from schemas.invocation import ApprovalAsked, Arguments, Granted, Refused
from schemas.minting import MintAnswer, MintRequest
from schemas.reasons import AgentCode, DenyReason
from schemas.record import APPROVED, Approved
from streams.bus import parse
from tests.support.hotpath import HotPath
from tests.support.identities import NOW
from tests.support.invocations import CALL, RESEARCHER, AgentSide
from tests.support.invoking import answer_in
from workers.broker.mint import NotAllowed
from workers.common.approvals import GIVEN_LIFE_S
from workers.common.requests import RequestRefused
from workers.common.rpc import Refused as DeskRefused
from workers.gateway.stepping import NotAsked

DOC, EVE = KeyPair("U"), KeyPair("U")
MARTY = "marty@88mph.com"
OTHER = call_parts("GET", "/search?q=plutonium", b"")


def person(key: KeyPair, *roles: str, name: str = "doc", user: str | None = None, place: str = "spiffe://88mph.com/agents") -> Person:
    grants = tuple(Grant(role=role, namespace=place) for role in roles)  # type: ignore[arg-type]
    return Person(nkey=key.public, name=name, user=user, roles=grants)


def step_up(*needs: str, since: int = NOW - 10) -> Posture:
    """The researcher has to show something since then."""
    asks = tuple(StepUp(needs=need, since=since) for need in needs)  # type: ignore[arg-type]
    cause = Cause(id="c", by="https://risk", level="step_up", event_time=since, event="https://e", rule="medium", policy="p")
    return Posture(
        scope="agent", target=target_digest("agent", RESEARCHER), value=RESEARCHER, level="step_up", step_ups=asks, causes=(cause,)
    )


class Story:
    """One agent that has to step up, a person who may let it, and both workers."""

    def __init__(self, *needs: str) -> None:
        self.hot = HotPath()
        self.agent = self.hot.agent()
        self.hot.put(person(DOC, "approver", user="doc@88mph.com"))
        self.hot.put(step_up(*(needs or ("approval",))))

    @property
    def now(self) -> float:
        return self.hot.clock.at

    async def ask(self, agent: AgentSide | None = None, **changes: Any) -> Refused | MintRequest:
        """A refusal, or what the gateway hands the broker."""
        who = agent or self.agent
        self.hot.broker.answer = MintAnswer(refused=DenyReason.BROKER_UNAVAILABLE)
        answer = answer_in(await self.hot.gateway.invoke(who.name, who.body(self.now, **changes), self.now))
        assert isinstance(answer, Refused)
        return self.hot.broker.asked.pop() if self.hot.broker.asked else answer

    async def asked(self, **changes: Any) -> str:
        """The id of what a person is asked about this request."""
        refused = await self.ask(**changes)
        assert isinstance(refused, Refused)
        assert (refused.code, refused.needs) == (AgentCode.STEP_UP, "approval")
        assert refused.approval is not None
        return refused.approval

    async def approve(self, id_: str, key: KeyPair = DOC, verdict: str = "approve") -> None:
        await self.hot.people.desk.answer(key.public, Approve(id=id_, verdict=verdict, reason="because"))  # type: ignore[arg-type]

    async def allowed(self, **changes: Any) -> MintRequest:
        mint = await self.ask(**changes)
        assert isinstance(mint, MintRequest), mint
        return mint

    async def granted(self, **changes: Any) -> Granted:
        return await self.hot.mint.grant(await self.allowed(**changes))

    async def still_needs(self, needs: str = "approval", **changes: Any) -> Refused:
        refused = await self.ask(**changes)
        assert isinstance(refused, Refused)
        assert (refused.code, refused.needs) == (AgentCode.STEP_UP, needs)
        return refused

    def recorded(self) -> list[Approved]:
        return [parse(Approved, body).data for _, body in self.hot.stream.messages if json.loads(body)["type"] == APPROVED]


def claims(granted: Granted) -> dict[str, Any]:
    return json.loads(unb64u(granted.token.split(".")[1]))


# --- approvals -----------------------------------------------------------------------------------------------------------------------


async def test_one_request_passes_once_and_its_token_is_for_that_call_alone() -> None:
    """INVARIANT: what a person approved is one call, once: the token binds method, path and body and is good once, whatever the tool asks.

    Broken by a token as the tool's record has it: one that binds nothing would carry any other arguments through the approval.
    """
    story = Story()
    await story.approve(await story.asked())
    call = claims(await story.granted())["call"]
    assert (sorted(call["bound"]), call["single_use"]) == (["body", "method", "path"], True)
    assert [(said.what, said.by) for said in story.recorded()] == [
        ("asked", story.agent.name),
        ("approved", DOC.public),
        ("spent", "broker"),
    ]


async def test_a_replayed_approval_lets_nothing_pass() -> None:
    """INVARIANT: an approval is used by one request, however many are decided on it at once.

    Broken by a broker that reads "approved" in its view and mints, instead of spending it first.
    """
    story = Story()
    await story.approve(await story.asked())
    first, second = await story.allowed(), await story.allowed()
    await story.hot.mint.grant(first)
    with pytest.raises((RequestRefused, NotAllowed)) as caught:
        await story.hot.new_mint().grant(second)
    assert caught.value.reason in (DenyReason.APPROVAL_SPENT, DenyReason.STEP_UP_REQUIRED)
    await story.still_needs()
    assert (await story.hot.new_mint().grant(first)).token  # the same request again is answered again


async def test_the_broker_asks_the_desk_and_not_its_view() -> None:
    """As the last one, for a broker whose view has not heard that it is spent."""
    story = Story()
    id_ = await story.asked()
    await story.approve(id_)
    first, second = await story.allowed(), await story.allowed()
    late = HotPath()
    late.issuer, late.clock = story.hot.issuer, story.hot.clock
    late.put(late.issuer.fact(assurance="development"), person(DOC, "approver", user="doc@88mph.com"), step_up("approval"))
    (approval,) = story.hot.table.approvals_of(RESEARCHER)
    late.put(approval)
    await story.hot.mint.grant(first)
    behind = second.model_copy(update={"decision": second.decision.model_copy(update={"facts_revision": 1})})
    with pytest.raises(RequestRefused) as caught:
        await late.new_mint(approvals=story.hot.people).grant(behind)
    assert caught.value.reason is DenyReason.APPROVAL_SPENT


@pytest.mark.parametrize(
    "change",
    [{"call": OTHER}, {"purpose": "web.search.other"}, {"user": "x"}, {"instance": "i" + "c3" * 13}],
    ids=["other arguments", "another purpose", "for somebody", "another instance"],
)
async def test_an_approval_is_for_the_request_it_was_given_for(change: dict[str, Any]) -> None:
    """INVARIANT: an approval is bound to agent, instance, person, tool, actions, purpose and arguments.

    Broken by leaving one of them out of the digest: an approval of a search for flux would let a search for plutonium pass.
    """
    story = Story()
    first = await story.asked()
    await story.approve(first)
    agent = story.hot.agent(instance=change["instance"]) if "instance" in change else story.agent
    asked = {name: value for name, value in change.items() if name in ("call", "purpose")}
    answer = await story.ask(agent, **asked)
    if "user" in change:  # there is no token for him here: the digest alone
        assert_bound(story, user=MARTY)
    elif change.get("purpose"):
        assert isinstance(answer, Refused)
        assert answer.code in (AgentCode.DENIED, AgentCode.STEP_UP)
        assert_bound(story, purpose=change["purpose"])
    else:
        assert isinstance(answer, Refused)
        assert answer.approval not in (None, first)


def assert_bound(story: Story, **change: Any) -> None:
    from schemas.approvals import Ask
    from workers.common.approvals import asked_digest

    (approval,) = [a for a in story.hot.table.approvals_of(RESEARCHER) if a.state == "approved"]
    fields = {name: getattr(approval, name) for name in ("agent", "instance", "user", "tool", "actions", "purpose", "call")}
    ask = Ask(**fields, explanation="", caller="")
    assert asked_digest(ask) == approval.digest
    assert asked_digest(ask.model_copy(update=change)) != approval.digest
    assert asked_digest(ask.model_copy(update={"tool": "other"})) != approval.digest
    assert asked_digest(ask.model_copy(update={"actions": ("search", "delete")})) != approval.digest


async def test_an_expired_approval_lets_nothing_pass() -> None:
    story = Story()
    await story.approve(await story.asked())
    story.hot.clock.at += GIVEN_LIFE_S - 1
    await story.allowed()
    story.hot.clock.at += 1
    await story.still_needs()


async def test_an_answer_to_an_older_signal_is_none() -> None:
    """INVARIANT: an approval given before the last signal that asked for one lifts nothing: who gave it did not know of that signal.

    Broken by looking for any approval of the request.
    """
    story = Story()
    await story.approve(await story.asked())
    story.hot.put(step_up("approval", since=int(story.now) + 1))
    story.hot.clock.at += 5
    await story.still_needs()


async def test_it_lifts_the_step_up_alone() -> None:
    """INVARIANT: every other gate is asked again: an approval makes nobody active, operates no tool and outlasts no quarantine.

    Broken by taking an approved request past the gates.
    """
    story = Story()
    await story.approve(await story.asked())
    await story.allowed()
    agent = story.hot.table.agent(RESEARCHER)
    assert isinstance(agent, Agent)
    story.hot.put(agent.model_copy(update={"state": "suspended"}))
    denied = await story.ask()
    assert isinstance(denied, Refused)
    assert denied.code is AgentCode.DENIED
    story.hot.put(agent, step_up("approval").model_copy(update={"level": "quarantined"}))
    denied = await story.ask()
    assert isinstance(denied, Refused)
    assert denied.code is AgentCode.DENIED


async def test_nobody_is_asked_to_approve_what_would_be_refused_anyway() -> None:
    story = Story()
    refused = await story.ask(tool="payments-processing", actions=["refund"], purpose="process.refund")
    assert isinstance(refused, Refused)
    assert (refused.code, refused.approval) == (AgentCode.DENIED, None)
    assert story.hot.table.approvals() == ()


async def test_a_denied_request_is_denied_for_as_long_as_it_would_have_waited() -> None:
    story = Story()
    await story.approve(await story.asked(), verdict="deny")
    denied = await story.ask()
    assert isinstance(denied, Refused)
    assert denied.code is AgentCode.DENIED
    await story.asked(call=OTHER)


async def test_a_decision_that_was_approved_is_never_kept_for_another_call() -> None:
    """INVARIANT: what was shown was shown for one request: the next is decided anew.

    Broken by keeping the decision like any other: the question it is kept under does not hold the arguments.
    """
    story = Story()
    await story.approve(await story.asked())
    await story.allowed()
    await story.still_needs(call=OTHER)


async def test_a_step_up_that_only_the_broker_has_heard_of_is_offered_too() -> None:
    story = Story()
    story.hot.put(step_up("approval").model_copy(update={"level": "normal"}))
    story.hot.broker.answer = MintAnswer(refused=DenyReason.STEP_UP_REQUIRED, needs="approval")
    answer = answer_in(await story.hot.gateway.invoke(story.agent.name, story.agent.body(story.now), story.now))
    assert isinstance(answer, Refused)
    assert (answer.code, answer.needs, answer.approval is not None) == (AgentCode.STEP_UP, "approval", True)


# --- who may approve -----------------------------------------------------------------------------------------------------------------

MAY_NOT: dict[str, Person] = {
    "no role": person(EVE, "auditor", user="eve@88mph.com", name="eve"),
    "an approver of another namespace": person(EVE, "approver", user="eve@88mph.com", name="eve", place="spiffe://88mph.com/tools"),
    "suspended": person(EVE, "approver", user="eve@88mph.com", name="eve").model_copy(update={"state": "suspended"}),
    "a revoker": person(EVE, "revoker", "registrar", user="eve@88mph.com", name="eve"),
}


@pytest.mark.parametrize("who", MAY_NOT.values(), ids=MAY_NOT)
async def test_who_may_not_approve_does_not(who: Person) -> None:
    """INVARIANT: an approval is given by somebody who may approve for a namespace above the agent.

    Broken by taking any operator's word.
    """
    story = Story()
    story.hot.put(who)
    id_ = await story.asked()
    with pytest.raises(DeskRefused) as caught:
        await story.approve(id_, EVE)
    assert caught.value.reason is DenyReason.NOT_AUTHORIZED
    await story.still_needs()


@pytest.mark.parametrize("user", [MARTY, MARTY.upper(), None])
def test_nobody_approves_what_is_asked_on_their_own_behalf(user: str | None) -> None:
    """INVARIANT: the human a request is made for cannot approve it; nor can somebody of whom nobody knows which user they are.

    Broken by comparing the operator's key with a user's name, which never agree.
    """
    from workers.common.approvals import why_not

    table = HotPath().table
    asked = (RESEARCHER, MARTY, table, NOW)
    assert why_not(person(DOC, "approver", user=user), *asked) is not None
    assert why_not(person(DOC, "approver", user="doc@88mph.com", name=MARTY), *asked) is not None
    assert why_not(person(DOC, "approver", user=f"partner::{MARTY}"), *asked) is not None, "a namesake at another provider"
    assert why_not(person(DOC, "approver", user="doc@88mph.com"), *asked) is None


async def test_the_relation_may_approve_is_enough_and_its_end_is_heard() -> None:
    """INVARIANT: who lost the right to approve before the request came lets nothing pass.

    Broken by checking the approver when they answer and never again.
    """
    story = Story()
    story.hot.put(person(EVE, "auditor", user="eve@88mph.com", name="eve"))
    may = Relation(subject="user:eve@88mph.com", relation="may_approve", object="namespace:spiffe://88mph.com/agents", expires_at=NOW + 50)
    story.hot.put(may)
    await story.approve(await story.asked(), EVE)
    await story.allowed()
    story.hot.clock.at += 51
    await story.still_needs()


# --- what the agent may ask ----------------------------------------------------------------------------------------------------------


async def test_the_same_question_is_one_and_there_are_only_so_many() -> None:
    """INVARIANT: an agent has a bounded number of questions open, and a repeated one is the same.

    Broken by a new question for each request: one agent would bury the people who answer.
    """
    story = Story()
    assert await story.asked() == await story.asked()
    calls = [call_parts("GET", f"/search?q={n}", b"") for n in range(MAX_APPROVALS)]
    for call in calls[1:]:
        await story.asked(call=call)
    full = await story.still_needs(call=calls[0])
    assert (full.approval, full.retry_after_s) == (None, 5.0)
    assert len(story.hot.table.approvals_of(RESEARCHER)) == MAX_APPROVALS


async def test_an_agent_hears_of_its_own_approvals_alone_and_shows_nothing_but_the_call() -> None:
    story = Story()
    id_ = await story.asked()
    stepping = story.hot.gateway._stepping
    sibling = story.hot.agent(instance="i" + "c3" * 13)
    assert await stepping.state(sibling.name, ApprovalAsked(id=id_)) is None
    with pytest.raises(NotAsked):
        await stepping.state(story.agent.name, ApprovalAsked(id=id_, arguments=Arguments(path="/search?q=kittens", body="")))
    told = await stepping.state(story.agent.name, ApprovalAsked(id=id_, arguments=Arguments(path="/search?q=flux", body="")))
    assert told is not None
    assert told.state == "pending"
    (approval,) = story.hot.table.approvals_of(RESEARCHER)
    assert approval.arguments == Arguments(path="/search?q=flux", body="")
    await story.approve(id_)
    told = await stepping.state(story.agent.name, ApprovalAsked(id=id_))
    assert told is not None
    assert told.state == "approved"


async def test_a_request_without_a_call_cannot_be_approved() -> None:
    story = Story()
    tool = story.hot.table.tool("web-search")
    assert tool is not None
    story.hot.put(tool.model_copy(update={"bind": ()}))
    refused = await story.still_needs(call=None)
    assert refused.approval is None


# --- fresh attestation, proof of possession -----------------------------------------------------------------------------------------


async def test_an_svid_of_before_is_not_fresh() -> None:
    """INVARIANT: fresh attestation is an SVID issued after the signal that asked for it.

    Broken by counting the one the agent had all along, or one that does not say when it was issued.
    """
    story = Story("fresh_attestation")

    def issued(at: float | None) -> AgentSide:
        agent = story.hot.agent()
        agent.svid = lambda now, **changes: AgentSide.svid(agent, now, **{**changes, "iat": None if at is None else int(at)})  # type: ignore[method-assign]
        return agent

    for at in (NOW - 20, NOW - 10, None):
        refused = await story.ask(issued(at))
        assert isinstance(refused, Refused)
        assert (refused.code, refused.needs, refused.approval) == (AgentCode.STEP_UP, "fresh_attestation", None)
    assert isinstance(await story.ask(issued(NOW - 9)), MintRequest)


async def test_a_proof_answers_a_challenge_of_ours_made_since() -> None:
    """INVARIANT: proof of possession is a signature over a challenge that could not be known before; requests signed beforehand fail.

    Broken by accepting any challenge, an old one, or none.
    """
    story = Story("proof_of_possession")
    made = story.hot.views.challenges._made
    made[sha256("old")] = NOW - 60.0
    made[sha256("before")] = NOW - 11.0
    made[sha256("since")] = NOW - 1.0
    offered = await story.still_needs("proof_of_possession")
    assert offered.challenge == sha256("since")
    for challenge in (sha256("invented"), sha256("old"), sha256("before")):
        await story.still_needs("proof_of_possession", challenge=challenge)
    granted = await story.granted(challenge=offered.challenge)
    assert claims(granted)["call"]["single_use"] is False  # it is the agent's own call, as the tool's record has it


async def test_all_that_is_asked_for_is_shown_one_after_the_other() -> None:
    story = Story("approval", "proof_of_possession")
    id_ = await story.asked()
    await story.approve(id_)
    story.hot.views.challenges._made[sha256("since")] = NOW - 1.0
    offered = await story.still_needs("proof_of_possession")
    assert (await story.granted(challenge=offered.challenge)).token


def test_the_call_of_these_tests_is_the_one_that_is_shown() -> None:
    assert call_parts("GET", "/search?q=flux", b"") == CALL

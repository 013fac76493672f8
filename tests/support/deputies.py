"""The confused deputy: every way we know to make a powerful agent act for a weak one.  A scenario is what its attacker sends.

The world is tests/unit/decision/world.yaml: the advisor is powerful (it may refund, for marty), the researcher and the search agent are
not; biff is a person with no right to anything.  A `Town` is where it is played: gateway and broker in one process, or on a real bus.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from weft.digest import object_digest, target_digest, unb64u
from weft.nkey import KeyPair

from schemas.facts import Agent, FactBody, Posture, Relation, Tool, UserIssuer
from schemas.invocation import Granted, InvocationRequest
from schemas.minting import MintRequest
from schemas.reasons import DenyReason as Deny
from schemas.record import USED, Used
from streams.bus import event
from tests.support.hotpath import HotPath
from tests.support.identities import Signer, user_claims
from tests.support.invocations import ADVISOR, RESEARCHER, SEARCH, AgentSide

FRAUD = {"tool": "fraud-check", "actions": ["check"], "purpose": "process.refund"}
REFUND = {"tool": "payments-processing", "actions": ["refund"], "purpose": "process.refund"}
SEARCHING = {"tool": "web-search", "actions": ["search"], "purpose": "web.search.execute"}
DELEGATE = {"tool": "search-agent", "actions": ["delegate"], "purpose": "web.search.execute"}
TOOL = "spiffe://88mph.com/tools/web-search"
OBJECT = object_digest({"order": "84729", "amount": "120"})
PARTNER = "https://login.partner.example"
POINT = "i" + "f6" * 13 + ".88mph~com.tools.fraud"

Attack = tuple[AgentSide, dict[str, Any]]  # who asks, and for what
Scenario = Callable[["Town"], Awaitable[Attack]]


class Town(ABC):
    """Gateway and broker, and everybody in it."""

    def __init__(self, issuer: Signer) -> None:
        self.issuer = issuer
        self.advisor = self.agent(id=ADVISOR)
        self.researcher = self.agent(id=RESEARCHER, instance="i" + "c3" * 13)
        self.search = self.agent(id=SEARCH, instance="i" + "d4" * 13)

    @abstractmethod
    def now(self) -> float:
        """The town's time."""

    @abstractmethod
    async def later(self, seconds: float) -> None:
        """Time goes by."""

    @abstractmethod
    async def put(self, *bodies: FactBody) -> None:
        """Facts, known to gateway and broker."""

    @abstractmethod
    def fact(self, kind: str, name: str) -> Any:
        """An agent's or a tool's record as it stands."""

    @abstractmethod
    async def grant(self, agent: AgentSide, **asked: Any) -> Granted:
        """An honest call."""

    @abstractmethod
    async def revoke(self, granted: Granted) -> None:
        """The token, and whatever descends from it."""

    @abstractmethod
    async def report(self, used: Used, body: bytes) -> int:
        """What a guard says of a call; its sequence in RECORD."""

    def agent(self, **options: Any) -> AgentSide:
        return AgentSide(self.issuer, **options)

    def tool(self, name: str) -> Tool:
        found: Tool = self.fact("tool", name)
        return found

    def login(self) -> UserIssuer:
        """Marty's identity provider."""
        return UserIssuer(iss="https://login.88mph.com", jwks={"keys": [self.issuer.jwk]}, aud="https://fabric.88mph.com")

    async def partner(self, namespace: str = "partner") -> None:
        """Another provider, which knows somebody as `marty` too, and whose people nobody gave any right."""
        await self.put(self.login().model_copy(update={"iss": PARTNER, "namespace": namespace}))

    def user(self, sub: str = "marty", agent: str = ADVISOR, scope: str = "check refund search delegate", **claims: Any) -> str:
        """A person's token, made out to an agent."""
        made = user_claims(now=self.now(), sub=sub, scope=scope, client_id=agent, **claims)
        return self.issuer.sign(made, typ="at+jwt")

    async def relate(self, subject: str, relation: Any, obj: str, **fields: Any) -> None:
        await self.put(Relation(subject=subject, relation=relation, object=obj, **fields))

    async def change(self, agent: str, **charter: Any) -> None:
        """An agent becomes as powerful as a scenario needs it."""
        known: Agent = self.fact("agent", agent)
        await self.put(known.model_copy(update={"charter": known.charter.model_copy(update=charter)}))

    async def checked(self) -> Granted:
        """The advisor's token for the fraud check, on behalf of marty."""
        return await self.grant(self.advisor, user=self.user(), **FRAUD)

    async def used(self, granted: Granted) -> int:
        """What the fraud check's guard reports of it."""
        claims = claims_of(granted)
        used = Used(
            point=POINT, tool="fraud-check", jti=claims["jti"], txn=claims["txn"], sub="marty", agent=ADVISOR,
            instance=claims["act"]["instance"], actions=("check",), accepted=True, outcome="positive", object=OBJECT, at=int(self.now()),
        )  # fmt: skip
        return await self.report(used, event(USED, used, source="/weft/revocation"))

    async def delegated(self) -> Granted:
        """The researcher's token for the search agent."""
        return await self.grant(self.researcher, **DELEGATE)

    def message(self, agent: AgentSide, asked: dict[str, Any]) -> bytes:
        """What the attacker publishes."""
        sent = {name: value for name, value in asked.items() if name not in ("as_sub", "connection")}
        raw: bytes = sent["raw"] if "raw" in sent else agent.body(self.now(), **sent)
        return raw

    async def lie(self, agent: AgentSide, asked: dict[str, Any], revision: int) -> MintRequest:
        """An Allow for whatever is asked, by a gateway that holds its own credential and nothing else."""
        elsewhere = HotPath()
        honest = await elsewhere.allowed(elsewhere.agent(), **SEARCHING)
        assert honest.decision.grant is not None
        wanted = {"actions": tuple(asked.get("actions", ("search",))), "purpose": asked.get("purpose", "web.search.execute"), "ttl_s": 300}
        grant = honest.decision.grant.model_copy(update={**wanted, "sub": asked.get("as_sub", ADVISOR), "bound": ()})
        decision = honest.decision.model_copy(update={"grant": grant, "facts_revision": revision})
        request = InvocationRequest.model_validate(json.loads(self.message(agent, asked))["data"])
        now, name = self.now(), asked.get("connection", agent.name)
        return MintRequest(request=request, caller=name, received_at=int(now), decision=decision, explanation="e", deadline=now + 5)


def claims_of(granted: Granted) -> dict[str, Any]:
    claims: dict[str, Any] = json.loads(unb64u((granted.token or "").split(".")[1]))
    return claims


# --- the person's token ---------------------------------------------------------------------------------------------------------------


async def a_persons_token_made_out_to_another_agent(town: Town) -> Attack:
    return town.researcher, {"user": town.user(agent=ADVISOR), **REFUND}


async def a_persons_token_in_which_another_agent_acts(town: Town) -> Attack:
    return town.advisor, {"user": town.user(act={"sub": RESEARCHER}), **FRAUD}


async def a_persons_token_bound_to_another_agents_key(town: Town) -> Attack:
    return town.advisor, {"user": town.user(cnf={"jkt": "k" * 43}), **FRAUD}


async def a_persons_token_for_another_service(town: Town) -> Attack:
    return town.advisor, {"user": town.user(aud="https://mail.88mph.com"), **FRAUD}


async def a_persons_token_of_an_issuer_nobody_named(town: Town) -> Attack:
    return town.advisor, {"user": town.user(iss="https://login.biff.com"), **FRAUD}


async def a_namesake_at_another_provider(town: Town) -> Attack:
    """Both providers call somebody `marty`.  Whoever controls the second one is not everybody of the first."""
    await town.partner()
    return town.advisor, {"user": town.user(iss=PARTNER), "as_sub": "partner::marty", **FRAUD}


async def a_namesake_the_other_way_round(town: Town) -> Attack:
    """Somebody of the second provider has rights; the first one's person of that `sub` has none of them."""
    await town.partner()
    for relation, to in (("delegates_to", f"agent:{ADVISOR}"), ("member_of", "team:refunds")):
        await town.relate("user:partner::carl", relation, to)
    honest = await town.grant(town.advisor, user=town.user(iss=PARTNER, sub="carl"), **FRAUD)
    assert claims_of(honest)["sub"] == "partner::carl"
    return town.advisor, {"user": town.user(sub="carl"), "as_sub": "carl", **FRAUD}


async def a_sub_that_spells_another_providers_person(town: Town) -> Attack:
    await town.partner()
    await town.relate("user:partner::carl", "delegates_to", f"agent:{ADVISOR}")
    return town.advisor, {"user": town.user(sub="partner::carl"), "as_sub": "partner::carl", **FRAUD}


async def a_namesake_in_a_persons_transaction(town: Town) -> Attack:
    await town.partner()
    await town.relate("user:partner::marty", "delegates_to", f"agent:{ADVISOR}")
    await town.relate("user:partner::marty", "member_of", "team:refunds")
    checked = await town.checked()
    return town.advisor, {"user": town.user(iss=PARTNER), "parent": checked.token, "as_sub": "marty", **FRAUD}


async def two_providers_that_nobody_can_tell_apart(town: Town) -> Attack:
    await town.partner(namespace="")
    return town.advisor, {"user": town.user(iss=PARTNER), "as_sub": "marty", **FRAUD}


async def an_agent_that_calls_itself_a_person(town: Town) -> Attack:
    """A user whose `sub` is the powerful agent's own name."""
    return town.advisor, {"user": town.user(sub=ADVISOR), **FRAUD}


async def a_weak_person_through_a_powerful_agent(town: Town) -> Attack:
    """The agent could, the person could not: rights are the person's, never the agent's own."""
    await town.relate("user:biff", "delegates_to", f"agent:{ADVISOR}")
    await town.relate(f"agent:{ADVISOR}", "operates", "toolgroup:payments")
    return town.advisor, {"user": town.user(sub="biff"), "as_sub": "biff", **FRAUD}


async def a_person_nobody_knows(town: Town) -> Attack:
    await town.relate(f"agent:{ADVISOR}", "operates", "toolgroup:payments")
    return town.advisor, {"user": town.user(sub="nobody"), "as_sub": "nobody", **FRAUD}


async def more_than_the_person_put_into_the_token(town: Town) -> Attack:
    checked = await town.checked()
    evidence = [await town.used(checked)]
    user = town.user(scope="check")
    return town.advisor, {"user": user, "parent": checked.token, "evidence": evidence, "as_sub": "marty", **REFUND}


async def a_person_who_lets_another_agent_act(town: Town) -> Attack:
    """marty consents to the advisor; the researcher has a token of his, and every right of its own."""
    await town.relate("user:marty", "operates", "tool:web-search")
    return town.researcher, {"user": town.user(agent=RESEARCHER, scope="search"), "as_sub": "marty", **SEARCHING}


async def a_consent_for_something_else(town: Town) -> Attack:
    await town.relate("user:marty", "delegates_to", f"agent:{ADVISOR}", purposes=("web.*",))
    return town.advisor, {"user": town.user(), "as_sub": "marty", **FRAUD}


async def a_step_right_after_the_consent_expired(town: Town) -> Attack:
    await town.relate("user:marty", "delegates_to", f"agent:{ADVISOR}", expires_at=int(town.now()) + 20)
    checked = await town.checked()
    evidence = [await town.used(checked)]
    await town.later(20)
    return town.advisor, {"user": town.user(), "parent": checked.token, "evidence": evidence, "as_sub": "marty", **REFUND}


async def a_step_after_the_consent_was_withdrawn_without_the_token(town: Town) -> Attack:
    """The agent drops the person's token and goes on in the transaction, as itself."""
    checked = await town.checked()
    await town.relate(f"agent:{ADVISOR}", "operates", "toolgroup:payments")
    await town.relate("user:marty", "delegates_to", f"agent:{ADVISOR}", expires_at=1)
    return town.advisor, {"parent": checked.token, "as_sub": "marty", **FRAUD}


async def another_person_in_a_persons_transaction(town: Town) -> Attack:
    await town.relate("user:biff", "delegates_to", f"agent:{ADVISOR}")
    await town.relate("user:biff", "member_of", "team:refunds")
    checked = await town.checked()
    return town.advisor, {"user": town.user(sub="biff"), "parent": checked.token, "as_sub": "biff", **FRAUD}


# --- the parent token -----------------------------------------------------------------------------------------------------------------


async def a_parent_addressed_to_somebody_else(town: Town) -> Attack:
    return town.advisor, {"parent": (await town.delegated()).token, **SEARCHING}


async def a_parent_of_another_instance(town: Town) -> Attack:
    granted = await town.delegated()
    return replace(town.researcher, instance="i" + "e5" * 13), {"parent": granted.token, **DELEGATE}


async def a_powerful_callee_for_a_weak_caller(town: Town) -> Attack:
    """The search agent may refund in its own right; called by the researcher it may not."""
    await town.change(SEARCH, tools=("*",), purposes=("process.*", "web.search.*"), actions=("*",))
    await town.relate(f"agent:{SEARCH}", "operates", "toolgroup:payments")
    parent = await town.delegated()
    return town.search, {"parent": parent.token, "as_sub": RESEARCHER, **FRAUD}


async def a_wider_replacement(town: Town) -> Attack:
    """A token of this very instance, replaced by one for more than the transaction began with."""
    await town.relate("user:marty", "delegates_to", f"agent:{ADVISOR}", actions=("check",))
    checked = await town.checked()
    await town.relate("user:marty", "delegates_to", f"agent:{ADVISOR}")
    evidence = [await town.used(checked)]
    return town.advisor, {"user": town.user(), "parent": checked.token, "evidence": evidence, "as_sub": "marty", **REFUND}


async def a_chain_deeper_than_it_may_be(town: Town) -> Attack:
    await town.change(RESEARCHER, depth=0)
    return town.search, {"parent": (await town.delegated()).token, "as_sub": RESEARCHER, **SEARCHING}


async def a_healthy_agent_for_a_quarantined_one(town: Town) -> Attack:
    parent = await town.delegated()
    instance = town.researcher.instance
    await town.put(Posture(scope="instance", target=target_digest("instance", instance), value=instance, level="quarantined", causes=()))
    return town.search, {"parent": parent.token, "as_sub": RESEARCHER, **SEARCHING}


async def a_revoked_parent(town: Town) -> Attack:
    parent = await town.delegated()
    await town.revoke(parent)
    return town.search, {"parent": parent.token, "as_sub": RESEARCHER, **SEARCHING}


async def a_leaf_as_a_parent(town: Town) -> Attack:
    """A token whose audience is the tool's resource begins nothing."""
    tool = town.tool("search-agent")
    await town.put(tool.model_copy(update={"token_form": "resource"}))
    return town.search, {"parent": (await town.delegated()).token, "as_sub": RESEARCHER, **SEARCHING}


async def an_access_token_as_a_parent(town: Town) -> Attack:
    tool = town.tool("search-agent")
    await town.put(tool.model_copy(update={"token_form": "access_token"}))
    return town.search, {"parent": (await town.delegated()).token, "as_sub": RESEARCHER, **SEARCHING}


async def an_access_token_of_ours_as_a_persons_token(town: Town) -> Attack:
    """`typ` at+jwt, `client_id` the agent itself: but its issuer names no people."""
    await town.put(town.tool("web-search").model_copy(update={"token_form": "access_token"}))
    held = await town.grant(town.researcher, **SEARCHING)
    return town.researcher, {"user": held.token, **SEARCHING}


async def a_persons_token_as_a_parent(town: Town) -> Attack:
    return town.advisor, {"parent": town.user(), **FRAUD}


async def a_parent_as_a_persons_token(town: Town) -> Attack:
    return town.search, {"user": (await town.delegated()).token, **SEARCHING}


async def an_agent_that_may_not_hand_on_a_step(town: Town) -> Attack:
    await town.change(RESEARCHER, delegates=())
    return town.researcher, {**DELEGATE}


# --- who asks -------------------------------------------------------------------------------------------------------------------------


async def a_tool_with_its_callers_token(town: Town) -> Attack:
    """The tool holds a token that is addressed to it, and turns round."""
    parent = await town.grant(town.researcher, **SEARCHING)
    return town.agent(id=TOOL, instance="i" + "f6" * 13), {"parent": parent.token, "as_sub": RESEARCHER, **SEARCHING}


async def a_request_that_another_agent_signed(town: Town) -> Attack:
    """Seen on the way, and published again on the attacker's own subject."""
    stolen = town.advisor.body(town.now(), user=town.user(), **FRAUD)
    return town.researcher, {"raw": stolen, "connection": town.researcher.name, **FRAUD}


async def another_agents_identity(town: Town) -> Attack:
    """The attacker's request, under an SVID that it copied."""
    data = town.researcher.carried(town.now(), **FRAUD) | {"svid": town.advisor.svid(town.now())}
    return town.advisor, {"raw": enveloped(data), **FRAUD}


async def an_actor_named_in_the_request(town: Town) -> Attack:
    return town.researcher, {"act": {"sub": ADVISOR}, **FRAUD}


async def a_subject_named_in_the_request(town: Town) -> Attack:
    return town.advisor, {"sub": "marty", **FRAUD}


async def a_key_of_ones_own(town: Town) -> Attack:
    """Signed by a key that the SVID does not name."""
    key = KeyPair("U")
    payload = town.advisor.payload(town.now(), **FRAUD)
    data = {"request": town.advisor.sign(payload, key=key), "svid": town.advisor.svid(town.now())}
    return town.advisor, {"raw": enveloped(data), **FRAUD}


# --- evidence -------------------------------------------------------------------------------------------------------------------------


async def evidence_of_another_transaction(town: Town) -> Attack:
    """Somebody's fraud check went well; this one did not take place."""
    theirs = await town.used(await town.checked())
    mine = await town.checked()
    return town.advisor, {"user": town.user(), "parent": mine.token, "evidence": [theirs], "as_sub": "marty", **REFUND}


async def evidence_without_a_transaction(town: Town) -> Attack:
    theirs = await town.used(await town.checked())
    return town.advisor, {"user": town.user(), "evidence": [theirs], "as_sub": "marty", **REFUND}


def enveloped(data: dict[str, Any]) -> bytes:
    type_ = "org.weft.invocation.requested.v1"
    envelope = {"specversion": "1.0", "id": "a", "source": "/a", "type": type_, "time": "2026-01-01T00:00:00Z", "data": data}
    return json.dumps(envelope).encode()


BOTH = {  # why an honest gateway refuses it, and why the broker does where the gateway lies
    a_persons_token_made_out_to_another_agent: Deny.USER_TOKEN_INVALID,
    a_persons_token_in_which_another_agent_acts: Deny.USER_TOKEN_INVALID,
    a_persons_token_bound_to_another_agents_key: Deny.USER_TOKEN_INVALID,
    a_persons_token_for_another_service: Deny.USER_TOKEN_INVALID,
    a_persons_token_of_an_issuer_nobody_named: Deny.USER_TOKEN_INVALID,
    a_namesake_at_another_provider: Deny.NO_RELATION,
    a_namesake_the_other_way_round: Deny.NO_RELATION,
    a_sub_that_spells_another_providers_person: Deny.USER_TOKEN_INVALID,
    a_namesake_in_a_persons_transaction: Deny.PARENT_INVALID,
    two_providers_that_nobody_can_tell_apart: Deny.USER_TOKEN_INVALID,
    an_agent_that_calls_itself_a_person: Deny.NO_RELATION,
    a_weak_person_through_a_powerful_agent: Deny.POLICY_DENIED,
    a_person_nobody_knows: Deny.POLICY_DENIED,
    more_than_the_person_put_into_the_token: Deny.USER_LACKS_RIGHT,
    a_person_who_lets_another_agent_act: Deny.POLICY_DENIED,
    a_consent_for_something_else: Deny.POLICY_DENIED,
    a_step_right_after_the_consent_expired: Deny.PARENT_EXPIRED,
    a_step_after_the_consent_was_withdrawn_without_the_token: Deny.POLICY_DENIED,
    another_person_in_a_persons_transaction: Deny.PARENT_INVALID,
    a_parent_addressed_to_somebody_else: Deny.PARENT_NOT_ADDRESSED,
    a_parent_of_another_instance: Deny.PARENT_NOT_ADDRESSED,
    a_powerful_callee_for_a_weak_caller: Deny.OUT_OF_CEILING,
    a_wider_replacement: Deny.OUT_OF_CEILING,
    a_chain_deeper_than_it_may_be: Deny.CHAIN_TOO_DEEP,
    a_healthy_agent_for_a_quarantined_one: Deny.QUARANTINED,
    a_revoked_parent: Deny.PARENT_REVOKED,
    a_leaf_as_a_parent: Deny.PARENT_INVALID,
    an_access_token_as_a_parent: Deny.PARENT_INVALID,
    an_access_token_of_ours_as_a_persons_token: Deny.USER_TOKEN_INVALID,
    a_persons_token_as_a_parent: Deny.PARENT_INVALID,
    a_parent_as_a_persons_token: Deny.USER_TOKEN_INVALID,
    an_agent_that_may_not_hand_on_a_step: Deny.OUT_OF_CHARTER,
    a_tool_with_its_callers_token: Deny.AGENT_UNKNOWN,
    a_request_that_another_agent_signed: Deny.CALLER_UNKNOWN,
    another_agents_identity: Deny.SIGNATURE_INVALID,
    an_actor_named_in_the_request: Deny.MALFORMED,
    a_subject_named_in_the_request: Deny.MALFORMED,
    a_key_of_ones_own: Deny.SIGNATURE_INVALID,
    evidence_without_a_transaction: Deny.EVIDENCE_INVALID,
    evidence_of_another_transaction: Deny.EVIDENCE_INVALID,
}
AT_THE_BROKER_ALONE = {evidence_of_another_transaction, evidence_without_a_transaction}  # a gateway reads no RECORD

"""Steps 1 to 3: attested, on behalf of a person, delegated."""

from __future__ import annotations

from typing import Any

import httpx

from schemas.facts import Kind, Relation
from workers.demo.scene import ADVISOR, MARTY, REFUND, RESEARCHER, SEARCH_AGENT, Scene
from workers.demo.stage import StageError

FRAUD_CHECK: dict[str, Any] = {"tool": "fraud-check", "actions": ["check"], "purpose": "process.refund", "path": "/check"}
PAY: dict[str, Any] = {"tool": "payments-processing", "actions": ["refund"], "purpose": "process.refund", "path": "/refunds"}
INTENT = "process refund for order 84729"
TEAM_OPERATES = Relation(subject="team:refunds", relation="operates", object="toolgroup:payments", actions=("refund", "check"))


async def attested(scene: Scene) -> None:
    """Step 1: the advisor is attested, connects, appears; an unregistered program is refused."""
    scene.report.step(1, "An attested agent")
    stage = scene.stage
    advisor = scene.actors["advisor"] = await stage.launch(ADVISOR, "agent.py", title="advisor")
    me = scene.kept["advisor"] = await advisor.ask("who")
    scene.report.check(me["id"] == ADVISOR and me["instance"].startswith("i"), "the advisor is attested and connected", me["name"])
    admitted = await _admitted(scene, me["name"])
    scene.report.check(admitted, "it appears in the record of admissions", me["instance"])
    listed = (await advisor.ask("tools"))["tools"]
    scene.report.check("payroll" not in listed, "it sees only tools within its charter", listed)
    unregistered = ADVISOR if scene.broken == 1 else "spiffe://88mph.com/agents/stranger"
    program = "agent.py" if scene.broken == 1 else "tool.py"
    try:
        await stage.launch(unregistered, program, title="stranger")
    except StageError:
        refused = True
    else:
        refused = False
    scene.report.check(refused, "an unregistered program gets no identity", unregistered)


async def _admitted(scene: Scene, name: str) -> bool:
    async for row in scene.stage.operator.replay(types=("org.weft.record.admitted.v1",)):
        if row["event"]["data"]["name"] == name:
            return True
    return False


async def on_behalf(scene: Scene) -> None:
    """Step 2: the refund of order 84729 on behalf of Marty, with evidence, over three hops of the graph."""
    scene.report.step(2, f"On behalf of {MARTY}: the refund of order {REFUND['order']}")
    stage = scene.stage
    await stage.launch(
        "spiffe://88mph.com/tools/fraud", "tool.py", "fraud-check", str(stage.ports["fraud"]), str(stage.ledger("fraud")), title="fraud"
    )
    for title in ("payments", "payments_replica"):
        arguments = ("payments-processing", str(stage.ports[title]), str(stage.ledger("payments")))
        await stage.launch("spiffe://88mph.com/tools/payments", "tool.py", *arguments, title=title)
    if scene.broken == 2:
        tool = await scene.fact(Kind.TOOL, "payments-processing")
        await scene.put(tool.model_copy(update={"evidence": ()}), reason="planted fault: no evidence wanted")
    advisor, user_token = scene.actors["advisor"], scene.user_token()

    early = await advisor.ask("invoke", **PAY, body=REFUND, user_token=user_token, intent=INTENT)
    scene.report.check(not early["granted"], "no token for the refund before the fraud check", await scene.reason(early["explanation"]))

    small = {**REFUND, "amount": "1.00"}
    checked = await advisor.ask("call", **FRAUD_CHECK, body=small, user_token=user_token)
    other = await _pay(scene, checked, user_token)
    scene.report.check(other.get("status") == 403, "payments refuses: the check handled another amount", other.get("answer"))

    checked = await advisor.ask("call", **FRAUD_CHECK, body=REFUND, user_token=user_token, intent=INTENT)
    scene.report.check(checked.get("status") == 200, "the fraud check handled this order and amount", checked.get("answer"))
    paid = scene.kept["refund"] = await _pay(scene, checked, user_token)
    scene.report.check(paid.get("status") == 200, "now it is paid", paid.get("answer"))
    done = [line for line in stage.served("payments") if line["txn"] == paid.get("txn")]
    scene.report.check(len(done) == 1 and done[0]["sub"] == MARTY, "payments' own ledger: paid once, for Marty", done)
    await _flip(scene, user_token)


async def _pay(scene: Scene, checked: dict[str, Any], user_token: str) -> dict[str, Any]:
    evidence = [checked["evidence"]] if checked.get("evidence") else []
    parent: dict[str, Any] = {"parent": checked["token"]} if "token" in checked else {}
    return await scene.actors["advisor"].ask("call", **PAY, body=REFUND, user_token=user_token, evidence=evidence, intent=INTENT, **parent)


async def _flip(scene: Scene, user_token: str) -> None:
    """Over user -> team -> tool group -> tool: without one edge the next call is refused, with it the next is granted."""
    advisor = scene.actors["advisor"]
    await scene.delete(TEAM_OPERATES, reason="demo: the team loses the tool group")
    flipped = await advisor.ask("invoke", **FRAUD_CHECK, body=REFUND, user_token=user_token)
    reason = await scene.reason(flipped["explanation"])
    scene.report.check(not flipped["granted"], "one relation less: the next call is refused, nothing restarted", reason)
    await scene.put(TEAM_OPERATES, reason="demo: and gets it back")
    again = await advisor.ask("invoke", **FRAUD_CHECK, body=REFUND, user_token=user_token)
    scene.report.check(again["granted"], "the relation is back: the next call is granted")


async def delegated(scene: Scene) -> None:
    """Step 3: the researcher delegates to the search agent; the chain shows both; the search tool verifies the path."""
    scene.report.step(3, "A chain of two agents")
    stage = scene.stage
    web, agent = str(stage.ports["web_search"]), str(stage.ports["search_agent"])
    await stage.launch("spiffe://88mph.com/tools/web-search", "tool.py", "web-search", web, str(stage.ledger("web")), title="web-search")
    await stage.launch(SEARCH_AGENT, "search_agent.py", agent, str(stage.ledger("search-agent")), title="search-agent")
    researcher = scene.actors["researcher"] = await stage.launch(RESEARCHER, "agent.py", title="researcher")
    ask: dict[str, Any] = {"tool": "search-agent", "actions": ["delegate"], "purpose": "web.search.execute", "path": "/delegate"}

    body = {"query": "flux capacitor", "within": scene.broken != 3}
    found = await researcher.ask("call", **ask, body=body)
    scene.report.check(found.get("answer", {}).get("status") == 200, "researcher -> search agent -> search tool", found.get("answer"))
    done = [line for line in stage.served("web") if line["txn"] == found.get("txn")]
    scene.report.check(len(done) == 1 and done[0]["agent"] == SEARCH_AGENT, "one transaction; the search agent acted last", done)
    explained = await stage.operator.explain(found["txn"])
    chains = [[past["sub"] for past in row["claims"].get("act_chain", [])] for row in explained.rows if "claims" in row]
    scene.report.check([RESEARCHER] in chains, "the chain shows the researcher before it", chains)

    alone = await researcher.ask("call", **ask, body={"query": "flux capacitor", "within": False})
    refused = alone.get("answer", {})
    scene.report.check(refused.get("status") == 403, "outside the chain the same agent is refused", refused)


async def post(url: str, token: str, body: bytes) -> tuple[int, dict[str, Any]]:
    """A thief's HTTP request: a token and whatever body he likes."""
    async with httpx.AsyncClient(timeout=5, trust_env=False) as http:
        response = await http.post(url, content=body, headers={"Txn-Token": token, "Content-Type": "application/json"})
    return response.status_code, response.json()

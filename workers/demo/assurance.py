"""Steps 5 and 6: a signal about one instance, and what the record says of it all."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from workers.demo.calls import FRAUD_CHECK, post
from workers.demo.scene import ADVISOR, REFUND, Scene
from workers.demo.stage import StageError

CONTAINED_S = 10.0


async def quarantined(scene: Scene) -> None:
    """Step 5: a high-confidence SET about one instance; its siblings keep working."""
    scene.report.step(5, "A signal about one instance of the advisor")
    stage, advisor, user_token = scene.stage, scene.actors["advisor"], scene.user_token()
    me = await advisor.ask("who")
    sibling = await stage.launch(ADVISOR, "agent.py", title="sibling")
    live = await advisor.ask("invoke", **FRAUD_CHECK, body=REFUND, user_token=user_token)
    scene.report.check(live["granted"], "before the signal the instance holds a live token")

    sent = time.time()
    await stage.operator.send_set(scene.risk_level_set(ADVISOR, me["instance"], "high"))
    completion = await completed_after(scene, sent)
    scene.report.check(completion is not None and completion["contained"], "every enforcement point confirmed the revocation")
    if completion:
        scene.report.say(timeline(sent, completion))

    body = json.dumps(REFUND, separators=(",", ":")).encode()
    status, answer = await post(f"http://127.0.0.1:{stage.ports['fraud']}/check", live["token"], body)
    scene.report.check(answer.get("error") == "token_revoked", "the live token is refused at the tool", f"{status} {answer}")
    again = await advisor.ask("invoke", **FRAUD_CHECK, body=REFUND, user_token=user_token)
    scene.report.check(not again["granted"], "connection cut, minting stopped", again)
    await _cut_and_kept_out(scene, me)
    works = await sibling.ask("call", **FRAUD_CHECK, body=REFUND, user_token=user_token)
    scene.report.check(works.get("status") == 200, "its sibling, the same agent, works", works.get("answer"))


async def _cut_and_kept_out(scene: Scene, me: dict[str, Any]) -> None:
    """The instance comes back by itself with a new key and a new SVID; admission knows the instance."""
    cuts, kept_out = [], []
    async for row in scene.stage.operator.replay(types=("org.weft.record.cut.v1", "org.weft.record.notadmitted.v1"), follow_s=CONTAINED_S):
        data = row["event"]["data"]
        if data.get("name") == me["name"]:
            cuts.append(data)
        if data.get("reason") == "quarantined":
            kept_out.append(data)
        if cuts and kept_out:
            break
    scene.report.check(bool(cuts), "its connection was cut", cuts[:1])
    scene.report.check(bool(kept_out), "it returned with a new key and SVID and was refused", kept_out[:1])


async def completed_after(scene: Scene, sent: float) -> dict[str, Any] | None:
    """The completion record of the first entry after this moment."""
    async for row in scene.stage.operator.replay(types=("org.weft.record.completed.v1",), follow_s=CONTAINED_S):
        data: dict[str, Any] = row["event"]["data"]
        if data["committed_at"] >= sent:
            return data
    return None


def timeline(sent: float, completion: dict[str, Any]) -> str:
    """From the SET to the last confirmation, in milliseconds."""
    committed = (completion["committed_at"] - sent) * 1e3
    lines = [f"{0:8.1f} ms  SET handed to the fabric", f"{committed:8.1f} ms  entry {completion['n']} committed"]
    for point in sorted(completion["points"], key=lambda p: p.get("ms") or 0):
        at = f"{committed + point['ms']:8.1f} ms" if point.get("ms") is not None else "       - ms"
        lines.append(f"{at}  {point['state']}: {point['point']}")
    return "\n".join(lines)


async def explained(scene: Scene) -> None:
    """Step 6: `weft explain`, `weft record verify`, and what the record says of the attacks."""
    scene.report.step(6, "What the record says")
    stage = scene.stage
    if scene.broken == 6:
        await plant_forged_record(scene)
    refund = scene.kept["refund"]
    text = await weft(scene, "explain", refund["txn"])
    scene.report.check("payments-processing" in text and "84729" in text, "weft explain of the refund")
    scene.report.say(text)
    verdict = json.loads(await weft(scene, "--json", "record", "verify"))
    scene.report.check(verdict["checked"] > 0 and verdict["differ"] == [], "weft record verify: every decision computed again", verdict)
    reasons: dict[str, int] = {}
    async for row in stage.operator.replay():
        data = row["event"]["data"]
        reason = data.get("reason")
        if reason:
            reasons[reason] = reasons.get(reason, 0) + 1
    scene.report.check(
        {"out_of_charter", "wrong_call", "token_replayed", "svid_not_bound"} <= reasons.keys(), "every attack is on record", reasons
    )


async def weft(scene: Scene, *arguments: str) -> str:
    """The command line, as a person would use it."""
    import sys

    command = [sys.executable, "-P", "-m", "workers.cli.main", *arguments, "--dir", str(scene.stage.state)]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    async with asyncio.timeout(30):
        out, err = await process.communicate()
    if process.returncode not in (0, 1):
        raise StageError(f"weft {' '.join(arguments)}: {err.decode()[-300:]}")
    return out.decode()


async def plant_forged_record(scene: Scene) -> None:
    """A decision on record that never was: what a taken-over broker could write."""
    import nats

    nc = await nats.connect(
        list(scene.stage.settings.servers), user_credentials=str(scene.stage.settings.creds / "broker.creds"), inbox_prefix="_INBOX_broker"
    )
    try:
        rows = [row async for row in scene.stage.operator.replay(types=("org.weft.record.issued.v1",))]
        forged = rows[0]["event"]
        forged["id"] = "forged-record"
        forged["data"]["input"]["actions"] = ["payout"]
        ack = await nc.jetstream().publish("weft.record.broker.issued.forged", json.dumps(forged).encode())
        scene.kept["forged"] = ack.seq
    finally:
        await nc.close()

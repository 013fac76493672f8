"""A right to create a consumer is a right to have the server deliver stored messages to any subject; what a feed makes of them."""

from __future__ import annotations

import json

from weft.feed import RepublishedFeed

from tests.support.fabric import FabricServer, settled


async def test_a_feed_believes_republished_messages_alone(fabric_server: FabricServer) -> None:
    """INVARIANT: who may write postures cannot make any view believe another fact.

    A message stored with headers of a republished one, and delivered to the feed's subjects by a consumer, would break it if a feed
    believed those headers whatever subject the message bears.
    """
    thief, victim = await fabric_server.worker("signals"), await fabric_server.worker("gateway")
    got: list[tuple[int, str]] = []
    feed = RepublishedFeed(victim, "FACTS", "weft.fact.>", "weft.push.fact.>", lambda seq, subject, _: got.append((seq, subject)))
    await feed.start()
    head = feed.sequence
    forged = {"Nats-Sequence": f"{head + 2}", "Nats-Subject": "weft.fact.agent.evil", "Nats-Msg-Id": "x"}
    await thief.request("weft.fact.posture.x", b"{}", headers=forged, timeout=2)
    delivered = await thief.subscribe("weft.push.fact.there")
    await settled(thief)
    config = {
        "name": "thief",
        "deliver_subject": "weft.push.fact.there",
        "filter_subject": "weft.fact.posture.>",
        "ack_policy": "none",
        "deliver_policy": "all",
    }
    question = json.dumps({"stream_name": "FACTS", "config": config, "action": "create"}).encode()
    await thief.request("$JS.API.CONSUMER.CREATE.FACTS.thief.weft.fact.posture.>", question, timeout=2)
    message = await delivered.next_msg(timeout=2)
    assert (message.headers or {})["Nats-Sequence"] == f"{head + 2}", "the server delivers it, headers and all"
    await settled(victim)
    assert await feed.wait_for(head + 1, 2)
    await feed.stop()
    assert feed.sequence == head + 1
    assert [subject for _, subject in got if "evil" in subject] == []

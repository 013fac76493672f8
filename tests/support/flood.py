"""Agents for `test_flood`: `flood` and `storm` do what a hijacked agent can do with what it holds, `call` works on.

A JSON line says `ready`; `call` then takes a number on stdin and says how many of so many calls were granted; all end with stdin.
"""

import asyncio
import contextlib
import json
import sys

import nats
import nats.errors
from weft import wire
from weft.agent import Agent, Grant, HTTPCall
from weft.session import CLIENT_OPTIONS

CALL = HTTPCall.json("POST", "/check", {"order": "84729", "amount": "120.00"})
GARBAGE = (b"", b"{", b"\xff" * 500, b"[" * 30_000, b"x" * 65_000, wire.event("org.weft.nonsense.v1", {}, source="x"))


async def invoke(agent):
    return await agent.invoke("fraud-check", ["check"], "process.refund", call=CALL)


async def call(agent, count, flight=8):
    """That many good calls, and what was refused."""
    left = iter(range(count))

    async def work():
        return [await invoke(agent) for _ in left]

    answers = [answer for share in await asyncio.gather(*(work() for _ in range(flight))) for answer in share]
    refused = [answer.code for answer in answers if not isinstance(answer, Grant)]
    return {"granted": len(answers) - len(refused), "refused": refused}


async def on_subjects(agent):
    """Its own subjects with garbage, others' with anything."""
    while True:
        with contextlib.suppress(Exception):
            nc, name = agent.connection.nc, agent.connection.name
            for body in GARBAGE:
                for family in ("invoke", "tools", "complete"):
                    await nc.publish(f"weft.{family}.{name}", body, reply=f"_INBOX.{name}.x")
                for subject in (
                    "weft.broker.mint",
                    "weft.invoke.other",
                    "weft.record.broker.x",
                    "$JS.API.STREAM.PURGE.RECORD",
                    "$SYS.REQ.USER.AUTH",
                ):
                    await nc.publish(subject, body)
            await nc.flush(timeout=2)
        await asyncio.sleep(0.02)


async def subscribing(agent):
    """More subscriptions than it may have: the server closes the connection, which comes back."""
    while True:
        with contextlib.suppress(Exception):
            for n in range(30):
                await agent.connection.nc.subscribe(f"_INBOX.{agent.connection.name}.{n}")
            await agent.connection.nc.flush(timeout=2)
        await asyncio.sleep(0.05)


async def signed(agent):
    """Good requests, as fast as they are answered."""
    while True:
        with contextlib.suppress(Exception):
            await asyncio.gather(*(invoke(agent) for _ in range(32)))
        await asyncio.sleep(0.01)


async def connecting(agent, token):
    """Connect and leave, for ever: with what it has, or with nonsense."""
    while True:
        with contextlib.suppress(Exception):
            identity = agent.connection.identity
            options = {**CLIENT_OPTIONS, "allow_reconnect": False, "error_cb": ignore, "connect_timeout": 3, "max_reconnect_attempts": 0}
            shown = token or identity.token
            nc = await nats.connect(agent.connection._servers, token=shown, nkeys_seed_str=identity.key.seed, **options)
            await nc.close()
        await asyncio.sleep(0.01)


async def ignore(_):
    """What the server says of it is its own affair."""


WAYS = {
    "call": lambda _: [],
    "flood": lambda agent: [on_subjects(agent), signed(agent)],
    "storm": lambda agent: [subscribing(agent), *(connecting(agent, token) for token in (None, None, "agent x.y.z", "point", "operator"))],
}


async def main(mode):
    """Until stdin ends."""
    async with Agent.from_env() as agent:
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        print(json.dumps({"ready": agent.connection.name}), flush=True)
        tasks = [asyncio.create_task(one) for one in WAYS[mode](agent)]
        while line := await reader.readline():
            print(json.dumps(await call(agent, json.loads(line)["count"])), flush=True)
        for task in tasks:
            task.cancel()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))

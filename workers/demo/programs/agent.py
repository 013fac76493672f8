"""An agent under somebody's remote control: one JSON command a line on stdin, one JSON answer a line on stdout.

The demonstration plays the language model, good or hijacked: it decides which tool to call, and it may do whatever a compromised
agent could do with what it holds.  The program itself holds its attested identity and nothing else.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import nats.errors
from weft.agent import Agent, Answer, Grant, HTTPCall, Refusal, Refused

Command = dict[str, Any]


def as_call(command: Command) -> HTTPCall:
    """The HTTP request that a command describes."""
    return HTTPCall.json(command.get("method", "POST"), command["path"], command["body"])


def told(outcome: Grant | Refusal) -> Command:
    """A grant or a refusal as JSON.  The token is shown: whoever controls this agent has it anyway."""
    if isinstance(outcome, Grant):
        return {
            "granted": True,
            "txn": outcome.txn,
            "endpoint": outcome.endpoint,
            "token": outcome.token,
            "explanation": outcome.explanation,
        }
    return {"granted": False, "code": outcome.code, "explanation": outcome.explanation, "needs": outcome.needs}


class Puppet:
    """The commands."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._violations: asyncio.Queue[str] = asyncio.Queue()
        agent.connection.on_error(lambda error: self._violations.put_nowait(str(error)))

    async def do(self, command: Command) -> Command:
        """Dispatches by name."""
        handlers: dict[str, Callable[[Command], Awaitable[Command]]] = {
            "who": self.who,
            "tools": self.tools,
            "invoke": self.invoke,
            "call": self.call,
            "publish": self.publish,
        }
        return await handlers[command["do"]](command)

    async def who(self, _: Command) -> Command:
        connection = self._agent.connection
        return {"name": connection.name, "id": str(connection.spiffe_id), "instance": connection.instance, "svid": connection.svid}

    async def tools(self, _: Command) -> Command:
        return {"tools": [tool["name"] for tool in await self._agent.tools()]}

    async def invoke(self, command: Command) -> Command:
        options = {name: command[name] for name in ("parent", "user_token", "evidence", "intent") if name in command}
        return told(await self._agent.invoke(command["tool"], command["actions"], command["purpose"], call=as_call(command), **options))

    async def call(self, command: Command) -> Command:
        options = {name: command[name] for name in ("parent", "user_token", "evidence", "intent") if name in command}
        try:
            answer: Answer = await self._agent.call(command["tool"], command["actions"], command["purpose"], as_call(command), **options)
        except Refused as refused:
            return told(refused.refusal)
        return told(answer.grant) | {"status": answer.status, "evidence": answer.evidence, "answer": answer.json()}

    async def publish(self, command: Command) -> Command:
        """Straight onto a subject, as a hijacked agent would; the server's verdict comes as a permissions violation."""
        while not self._violations.empty():
            self._violations.get_nowait()
        nc = self._agent.connection.nc
        try:
            await nc.request(command["subject"], b"{}", timeout=1)
        except nats.errors.NoRespondersError:
            return {"refused": "no responders"}
        except (nats.errors.Error, TimeoutError):
            return {"refused": None if self._violations.empty() else self._violations.get_nowait()}
        return {"refused": None}


async def main() -> None:
    """Until stdin ends."""
    async with Agent.from_env() as agent:
        puppet = Puppet(agent)
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        sys.stdout.write(json.dumps({"ready": agent.connection.name}) + "\n")
        sys.stdout.flush()
        while line := await reader.readline():
            try:
                answer = await puppet.do(json.loads(line))
            except Exception as error:  # noqa: BLE001 - its controller is told, whatever it was
                answer = {"error": type(error).__name__}
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main())

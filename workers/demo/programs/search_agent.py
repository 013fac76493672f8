"""An agent that can be called: `search_agent.py PORT LEDGER`.  As a tool it has a guard; as an agent it calls on with what it was given.

The token it was called with is the parent of the token it asks for: same transaction, one hop more in the chain, never more rights.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

import uvicorn
from weft.agent import Agent, HTTPCall, Refused
from weft.asgi import GuardMiddleware
from weft.connection import Connection
from weft.guard import Guard

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ROUTES = {("POST", "/delegate"): ("search-agent", ("delegate",))}


class SearchAgent:
    """An ASGI application that delegates to the search tool."""

    def __init__(self, agent: Agent, ledger: Path) -> None:
        self._agent, self._ledger = agent, ledger

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        asked = json.loads((await receive())["body"])
        parent = scope["weft"].token.raw if asked.get("within", True) else None
        call = HTTPCall.json("POST", "/search", {"query": asked["query"]})
        try:
            answer = await self._agent.call("web-search", ["search"], "web.search.execute", call, parent=parent)
            found = {"status": answer.status, "found": answer.json(), "txn": answer.grant.txn}
        except Refused as refused:
            found = {"status": 403, "refused": refused.refusal.code, "explanation": refused.refusal.explanation}
        with self._ledger.open("a") as ledger:
            # Its own incoming token goes into its ledger so that the demo can show what a thief of it could do: nothing.
            ledger.write(json.dumps({"token": scope["weft"].token.raw, **found}) + "\n")
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": json.dumps(found).encode()})


async def main(port: int, ledger: Path) -> None:
    """Serves until told to stop."""
    point = Connection.from_env("point")
    await point.start()
    guard = Guard(point, tools=["search-agent"])
    await guard.start()
    async with Agent.from_env() as agent:
        app = GuardMiddleware(SearchAgent(agent, ledger), guard, routes=ROUTES)
        server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning", lifespan="off"))
        sys.stdout.write(json.dumps({"ready": "search-agent", "name": agent.connection.name}) + "\n")
        sys.stdout.flush()
        try:
            await server.serve()
        finally:
            await guard.stop()
            await point.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2])))

"""A tool behind a guard: `tool.py NAME PORT LEDGER`.  It imports the SDK alone and holds no credential but its attested identity.

Every request that its guard let through is a line of its ledger, so that whoever wants to know what was done asks the tool, not us.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import uvicorn
from weft.asgi import GuardMiddleware
from weft.connection import Connection
from weft.guard import Guard

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Routes = dict[tuple[str, str], tuple[str, tuple[str, ...]]]
ROUTES: dict[str, Routes] = {
    "fraud-check": {("POST", "/check"): ("fraud-check", ("check",))},
    "payments-processing": {
        ("POST", "/refunds"): ("payments-processing", ("refund",)),
        ("POST", "/payouts"): ("payments-processing", ("payout",)),
    },
    "web-search": {("POST", "/search"): ("web-search", ("search",))},
}
FRAUD_LIMIT = Decimal("1000.00")


def serve_request(tool: str, request: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The tool's own work: its outcome for the evidence, and its answer."""
    if tool == "fraud-check":
        clean = Decimal(request["amount"]) <= FRAUD_LIMIT
        return ("positive" if clean else "negative"), {"order": request["order"], "clean": clean}
    if tool == "payments-processing":
        return "positive", {"order": request["order"], "paid": request["amount"]}
    return "positive", {"query": request["query"], "hits": ["https://88mph.com/flux", "https://88mph.com/plutonium"]}


class Tool:
    """An ASGI application."""

    def __init__(self, name: str, ledger: Path) -> None:
        self._name, self._ledger = name, ledger

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        message = await receive()
        outcome, answer = serve_request(self._name, json.loads(message["body"]))
        verified = scope["weft"]
        line = {"path": scope["path"], "txn": verified.token.txn, "agent": verified.token.act.sub, "sub": verified.token.sub, **answer}
        with self._ledger.open("a") as ledger:
            ledger.write(json.dumps(line) + "\n")
        headers = [(b"content-type", b"application/json"), (b"weft-outcome", outcome.encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps(answer).encode()})


async def main(name: str, port: int, ledger: Path) -> None:
    """Serves until told to stop; says `ready` once the guard is current."""
    connection = Connection.from_env("point")
    await connection.start()
    guard = Guard(connection, tools=[name])
    await guard.start()
    app = GuardMiddleware(Tool(name, ledger), guard, routes=ROUTES[name])
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning", lifespan="off"))
    sys.stdout.write(json.dumps({"ready": name, "name": connection.name}) + "\n")
    sys.stdout.flush()
    try:
        await server.serve()
    finally:
        await guard.stop()
        await connection.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])))

"""The outer connections of all servers, found and closed.  nats-server's system account: CONNZ and KICK.

Every server answers a ping for itself.  So answers are collected until each known server has answered, or nobody has for a while; the
latter is how new servers become known and lost ones are forgotten.  Never `request()`, which takes the first answer for all.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import nats.errors
from nats.aio.client import Client

CONNZ = "$SYS.REQ.SERVER.PING.CONNZ"
PAGE = 4096  # connections of one account that one server lists at once
SILENCE_S = 0.25
DEADLINE_S = 5.0
KICK_S = 1.0


class Unreachable(Exception):
    """No server answered."""


@dataclass(frozen=True, slots=True)
class Connection:
    """One connection, as its server names it."""

    server_id: str
    cid: int
    account: str
    name: str


class Connections:
    """Over a SYS connection; `accounts` are the public keys of the outer accounts by name."""

    def __init__(self, nc: Client, accounts: Mapping[str, str]) -> None:
        self._nc = nc
        self._accounts = accounts
        self._servers: set[str] = set()

    async def everyone(self, *, patient: bool) -> list[Connection]:
        """All of them.  `patient` waits for servers nobody knows yet.  Raises Unreachable."""
        try:
            async with asyncio.timeout(DEADLINE_S):
                found = await asyncio.gather(*(self._of(account, patient=patient) for account in self._accounts))
        except TimeoutError:
            raise Unreachable("the servers did not come to an end") from None
        except nats.errors.Error as error:
            raise Unreachable(type(error).__name__) from error
        return [connection for part in found for connection in part]

    async def kick(self, connection: Connection) -> bool:
        """Whether its server closed it; false where it was gone already."""
        subject = f"$SYS.REQ.SERVER.{connection.server_id}.KICK"
        try:
            answer = await self._nc.request(subject, json.dumps({"cid": connection.cid}).encode(), timeout=KICK_S)
        except nats.errors.Error:
            return False  # another sweep follows and finds what is still there
        return "error" not in json.loads(answer.data)

    async def _of(self, account: str, *, patient: bool) -> list[Connection]:
        found: list[Connection] = []
        offset, more = 0, True
        while more:
            pages = await self._page(account, offset, patient=patient)
            for server_id, page in pages.items():
                rows = page.get("connections") or []
                found += [Connection(server_id, row["cid"], account, row.get("authorized_user", "")) for row in rows]
            offset += PAGE
            more = any(page.get("total", 0) > offset for page in pages.values())
        return found

    async def _page(self, account: str, offset: int, *, patient: bool) -> dict[str, dict[str, Any]]:
        inbox = self._nc.new_inbox()
        subscription = await self._nc.subscribe(inbox)
        try:
            options = {"auth": True, "acc": self._accounts[account], "limit": PAGE, "offset": offset}
            await self._nc.publish(CONNZ, json.dumps(options).encode(), reply=inbox)
            pages: dict[str, dict[str, Any]] = {}
            while patient or not pages or self._servers - pages.keys():
                try:
                    answer = json.loads((await subscription.next_msg(timeout=SILENCE_S)).data)
                except nats.errors.TimeoutError:
                    break
                pages[answer["server"]["id"]] = answer["data"]
        finally:
            await subscription.unsubscribe()
        if not pages:
            raise Unreachable("no server answered")
        self._servers = set(pages)
        return pages

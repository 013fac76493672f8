"""What the registry tells enforcement points and the edge: tools as registered, and the keys to believe.  Pure but for the push.

A guard is told of its own tools alone: those whose `workload` is the identity that the server attests for its connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from weft.digest import sha256
from weft.spiffeid import SpiffeID

from schemas.facts import Key, KeyPurpose, Kind, Tool
from schemas.keys import JWKSet
from schemas.points import Attach, Attached
from streams.facts_table import FactChange, FactsTable
from streams.subjects import PUSH_TOOL
from workers.common import keyperiods

PAGE_BYTES = 150_000  # of tools in one answer; the server's max_payload is 256 KiB
POINT_PURPOSES: tuple[KeyPurpose, ...] = ("tokens", "revocation", "svid")


def attached(asked: Attach, workload: SpiffeID, table: FactsTable, *, trust_domain: str, issuer: str, now: float) -> Attached:
    """The answer to a guard.  A tool that is not active, or another's, is left out: the guard refuses every call for it."""
    found = table.tools() if asked.every else tuple(table.tool(name) for name in dict.fromkeys(asked.tools))
    tools = tuple(tool for tool in found if tool is not None and tool.state == "active" and tool.workload == str(workload))
    more = None
    if asked.every:
        tools, more = _page(tuple(tool for tool in tools if tool.name > (asked.after or "")))
    bundle = active(table, "svid") if any(tool.token_form == "jwt_svid" for tool in tools) else ()
    return Attached(
        tools=tools,
        keys=(*keyperiods.verifying(table.keys("tokens"), now), *verifying(table, "revocation"), *bundle),
        trust_domain=trust_domain,
        issuer=issuer,
        facts_revision=table.revision,
        next=more,
    )


def _page(tools: tuple[Tool, ...]) -> tuple[tuple[Tool, ...], str | None]:
    """As many as fit a message, and the name to go on after."""
    size = 0
    for number, tool in enumerate(tools):
        size += len(tool.wire())
        if size > PAGE_BYTES and number:
            return tools[:number], tools[number - 1].name
    return tools, None


def active(table: FactsTable, purpose: KeyPurpose) -> tuple[Key, ...]:
    """The keys of a purpose that count now."""
    return tuple(key for key in table.keys(purpose) if key.state == "active")


def verifying(table: FactsTable, purpose: KeyPurpose) -> tuple[Key, ...]:
    """The keys that may have signed what is still to be verified: retired ones too, compromised ones never."""
    return tuple(key for key in table.keys(purpose) if key.state != "compromised")


def public_keys(table: FactsTable, purpose: KeyPurpose, now: float) -> JWKSet:
    """RFC 7517 section 5: what verifies tokens, or status lists.  Apart, so that who believes one key does not believe the other.

    A key of tokens stands here before it signs, and until the last token of it has expired.
    """
    found = keyperiods.verifying(table.keys("tokens"), now) if purpose == "tokens" else active(table, purpose)
    keys = tuple({**key.jwk, "kid": key.kid, "use": "sig"} for key in found)
    return JWKSet(keys=keys, facts_revision=table.revision)


def client_certificates(table: FactsTable) -> JWKSet:
    """The keys of active clients that registered a certificate of their own (RFC 8705 section 2.2), with it in `x5c`."""
    own = (client for client in table.clients() if client.auth_method == "self_signed_tls_client_auth" and client.state == "active")
    keys = tuple(dict(jwk) for client in own if client.jwks is not None for jwk in client.jwks.get("keys", ()))
    return JWKSet(keys=keys, facts_revision=table.revision)


class Announcer:
    """Tells guards to attach again, for every committed change of a tool or of a key they verify with.

    It follows FACTS and not the command, so a copy that ends between commit and push loses nothing while another lives; with several
    copies a guard hears it as often, and attaching twice is harmless.
    """

    def __init__(self, table: FactsTable, push: Callable[[str, bytes], Awaitable[None]]) -> None:
        self._table = table
        self._push = push
        self._due: set[str] = set()
        self._wake = asyncio.Event()
        self.all_due()  # what changed while nobody watched

    def changed(self, change: FactChange) -> None:
        """A committed change."""
        if change.kind is Kind.TOOL:
            self._due.add(change.key)
            self._wake.set()
        elif change.kind is Kind.KEY and change.key.partition(".")[0] in POINT_PURPOSES:
            self.all_due()

    def all_due(self) -> None:
        """Every tool."""
        self._due.update(tool.name for tool in self._table.tools())
        self._wake.set()

    async def run(self) -> None:
        """For the worker's life."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._due:
                await self._push(PUSH_TOOL.at(sha256(self._due.pop())), b"")

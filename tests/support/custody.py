"""A custodian in tests: a person with every role, and the command line's functions over that person's connection."""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from weft.nkey import KeyPair

from schemas.facts import Grant, Person
from tests.support.fabric import FabricServer
from workers.cli import keys, vault
from workers.cli.main import parser
from workers.cli.output import Output
from workers.common.operator_client import OperatorClient
from workers.supervisor.bootstrap import ROLES

ROOT = "spiffe://88mph.com"


class Custodian:
    """Commands as typed, answers as `--json` prints them."""

    def __init__(self, client: OperatorClient, monkeypatch: Any) -> None:
        self.client = client
        self._monkeypatch = monkeypatch

    async def weft(self, *words: str, stdin: bytes = b"") -> Any:
        """One command; raises what the command line would stop with."""
        args = parser().parse_args([*words, "--json"])

        @asynccontextmanager
        async def operator(_: argparse.Namespace) -> AsyncIterator[OperatorClient]:
            yield self.client

        for module in (keys, vault):
            self._monkeypatch.setattr(module, "operator", operator)
        self._monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        out = io.StringIO()
        await args.run(args, Output(as_json=True, out=out))
        return json.loads(out.getvalue())


async def put(client: OperatorClient, name: str, hosts: tuple[str, ...], value: str) -> None:
    """A new credential, as `weft vault put` sends it."""
    args = argparse.Namespace(name=name, reason=None)
    await client.vault(await vault._boxed(client, "put", args, type_="api_key", hosts=hosts, value=value))


async def custodian(server: FabricServer, monkeypatch: Any, *, roles: tuple[str, ...] = ROLES) -> Custodian:
    """A new person with these roles over the trust domain, connected."""
    pair = KeyPair("U")
    grants = tuple(Grant(role=role, namespace=ROOT) for role in roles)  # type: ignore[arg-type]
    await server.put_facts(Person(nkey=pair.public, name="keymaster", roles=grants))
    nc = await server.outer("operator", pair.public, pair)
    return Custodian(OperatorClient.over(nc, server.settings, pair.seed), monkeypatch)

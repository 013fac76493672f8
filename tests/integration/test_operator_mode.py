"""What admission's keys are worth to whoever steals them, and what the server bounds by itself.  NATS ADR-26, on the real server."""

from __future__ import annotations

import asyncio
import json
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error
from weft.nkey import KeyPair

from config.settings import Settings
from streams import access, operator
from streams.bus import CallerUnknown, caller
from streams.callers import Caller
from streams.operator import AdmissionKeys
from streams.server import Server
from tests.support.callout import Forgery
from tests.support.fabric import FabricServer, settled

NAME = "i1.88mph~com.agents.advisor"
EVERYTHING = {"pub": {"allow": [">"]}, "sub": {"allow": [">"]}, "subs": -1, "data": -1, "payload": -1}


def _user(user_nkey: str, keys: AdmissionKeys, account: str | None, **more: Any) -> dict[str, Any]:
    issuer = {} if account is None else {"issuer_account": keys.accounts[account]}
    return {"sub": user_nkey, "name": NAME, "nats": {"type": "user", "version": 2, **issuer, **more}}


def _forgeries() -> dict[str, Forgery]:
    """Everything a thief of admission's keys could answer, but for an honest placement under any name."""
    forged: dict[str, Forgery] = {
        "rights of its own": lambda u, k: (_user(u, k, "AGENTS", **EVERYTHING), k.scoped["AGENTS"]),
        "limits of its own": lambda u, k: (_user(u, k, "AGENTS", subs=-1, data=-1, payload=-1), k.scoped["AGENTS"]),
        "answers without limit": lambda u, k: (_user(u, k, "AGENTS", resp={"max": -1, "ttl": 10**15}), k.scoped["AGENTS"]),
        "a bearer token": lambda u, k: (_user(u, k, "AGENTS", bearer_token=True), k.scoped["AGENTS"]),
        "another's connection": lambda _, k: (_user(KeyPair("U").public, k, "AGENTS"), k.scoped["AGENTS"]),
        "no account": lambda u, k: (_user(u, k, None), k.scoped["AGENTS"]),
        "no account, AUTH's signer": lambda u, k: (_user(u, k, None, **EVERYTHING), k.auth),
        "points by agents' key": lambda u, k: (_user(u, k, "POINTS"), k.scoped["AGENTS"]),
        "agents by AUTH's signer": lambda u, k: (_user(u, k, "AGENTS", **EVERYTHING), k.auth),
        "AUTH with rights": lambda u, k: (_user(u, k, "AUTH", **EVERYTHING), k.auth),
        "FABRIC by a key made up": lambda u, k: (_user(u, k, "FABRIC", **EVERYTHING), KeyPair("A")),
        "SYS by a key made up": lambda u, k: (_user(u, k, "SYS", **EVERYTHING), KeyPair("A")),
    }
    for account in set(access.ACCOUNTS) - set(access.OUTER_ACCOUNTS):
        for outer in access.OUTER_ACCOUNTS:
            forged[f"{account} by {outer}' key"] = lambda u, k, a=account, o=outer: (_user(u, k, a), k.scoped[o])
        if account != "AUTH":
            forged[f"{account} by AUTH's signer"] = lambda u, k, a=account: (_user(u, k, a), k.auth)
    return forged


async def test_a_forged_answer_is_worth_no_more_than_its_template(fabric_server: FabricServer) -> None:
    """INVARIANT: who holds every key of admission gets neither FABRIC, SYS, nor a permission outside a template.

    Configuration mode would break it (the callout's issuer then places anyone anywhere), as would an unscoped signing key: with AUTH's
    identity key, or an unscoped one in its place, "AUTH with rights" is admitted.
    """
    await (await fabric_server.outer("agent", NAME)).close()
    stand_in = fabric_server.callout
    admitted = []
    for what, forgery in _forgeries().items():
        stand_in.forge, asked = forgery, stand_in.asked
        with suppress(Error):  # whatever is wrong with it, no connection comes of it
            await fabric_server.outer("agent", NAME)
            admitted.append(what)
        assert stand_in.asked > asked, "the server asked, and refused the answer"
    assert admitted == []


async def test_a_placement_in_auth_may_do_nothing(fabric_server: FabricServer) -> None:
    """INVARIANT: the key that signs admission's answers gives nobody a right, in AUTH neither.

    An unscoped signing key would break it: its holder could listen to everybody's authorization requests.
    """
    await (await fabric_server.outer("agent", NAME)).close()
    fabric_server.callout.forge = lambda u, k: (_user(u, k, "AUTH"), k.auth)
    refused = await _refusals(fabric_server, publish=("x", "weft.invoke.x", "$SYS.REQ.USER.INFO"), subscribe=(">", "$SYS.REQ.USER.AUTH"))
    assert len(refused) == 5


async def test_a_wildcard_for_a_name_names_nobody(fabric_server: FabricServer) -> None:
    """INVARIANT: a forged name of wildcards passes for no caller.

    The server writes the name into the template as it stands, so `*` may publish on anybody's subject; comparing the subject with the
    attested name is what stops it, and leaving that out would break it.
    """
    gateway = await fabric_server.worker("gateway")
    subscription = await gateway.subscribe("weft.invoke.>")
    await settled(gateway)
    for name in (">", "*"):
        thief = await fabric_server.outer("agent", name, inbox_prefix="_INBOX.x")
        await thief.publish("weft.invoke.victim")
        message = await subscription.next_msg(timeout=2)
        with pytest.raises(CallerUnknown):
            caller(message.headers, message.subject, fabric_server.accounts)


async def test_the_server_attests_who_calls(fabric_server: FabricServer) -> None:
    """INVARIANT: who calls is what the server says, whatever the client writes into the header or its CONNECT.

    Reading `name` (the client's word), or an import without `share`, would break it.
    """
    lie = json.dumps({"acc": fabric_server.accounts["AGENTS"], "user": "somebody"})
    agent = await fabric_server.outer("agent", NAME, name="somebody")
    message = await _heard(fabric_server, agent, f"weft.invoke.{NAME}", {"Nats-Request-Info": lie}, by="gateway")
    assert caller(message.headers, message.subject, fabric_server.accounts) == Caller("AGENTS", NAME)


async def test_the_edge_is_attested_by_its_credential(fabric_server: FabricServer) -> None:
    edge = await fabric_server.worker("edge")
    message = await _heard(fabric_server, edge, "weft.set.edge", {}, by="signals")
    assert caller(message.headers, message.subject, fabric_server.accounts) == Caller("EDGE", "edge")


@pytest.mark.parametrize("what", ["subscriptions", "payload"])
async def test_an_outer_connection_is_bounded_by_its_account(fabric_server: FabricServer, what: str) -> None:
    """INVARIANT: one agent can fill the server with neither subscriptions nor megabytes.

    Limits in the user JWT or the template instead of the account would break it: the server ignores them for the callout's users.
    """
    closed = asyncio.Event()

    async def on_closed() -> None:
        closed.set()

    agent = await fabric_server.outer("agent", NAME, closed_cb=on_closed)
    limits = access.LIMITS["AGENTS"]
    for n in range(limits.subscriptions - 1):
        await agent.subscribe(f"_INBOX.{NAME}.{n}")
    await agent.publish(f"weft.invoke.{NAME}", bytes(limits.payload_bytes))
    await settled(agent)
    assert not closed.is_set()
    if what == "payload":
        await agent.publish(f"weft.invoke.{NAME}", bytes(limits.payload_bytes + 1))
    else:
        await agent.subscribe(f"_INBOX.{NAME}.a")
        await agent.subscribe(f"_INBOX.{NAME}.b")
    await asyncio.wait_for(closed.wait(), 5)


async def test_without_admission_nobody_enters(fabric_server: FabricServer) -> None:
    """INVARIANT: no callout, no connection; the sentinel, which anyone may read, opens nothing.

    A default sentinel with a permission, or outside AUTH, would break it.
    """
    nobody = Client()
    with pytest.raises(Error, match="Authorization Violation"):
        await nobody.connect(fabric_server.url, allow_reconnect=False, connect_timeout=5, error_cb=_quiet)
    await nobody.close()


async def test_a_changed_table_takes_effect_and_keys_stay(tmp_path: Path) -> None:
    """Rendering again keeps every key; the server's next start serves the same credentials."""
    state = tmp_path / "state"
    settings = Settings(state=state)
    before = operator.create_operator(state, settings)
    seeds = {path: path.read_bytes() for path in state.rglob("*.seed")}
    after = operator.create_operator(state, settings)
    assert before.accounts == after.accounts == operator.accounts(settings)
    assert seeds == {path: path.read_bytes() for path in state.rglob("*.seed")}
    async with Server(after.server_conf) as server:
        fabric = FabricServer(settings.model_copy(update={"servers": (server.url,)}), server)
        assert (await (await fabric.worker("topology")).jetstream().account_info()).streams == 0
        await fabric.close()


def test_secrets_are_their_owners(tmp_path: Path) -> None:
    """INVARIANT: no secret of operator mode may be read by another user of the machine.

    A file or folder made under the process's umask would break it.
    """
    state = tmp_path / "state"
    operator.create_operator(state, Settings(state=state))
    secrets = [*state.rglob("*.seed"), *state.rglob("*.creds")]
    assert len(secrets) == 1 + len(access.ACCOUNTS) + len(access.OUTER_ACCOUNTS) + 2 + len(access.CREDENTIALS)
    for path in secrets:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700, path.parent


def test_admission_holds_no_root(tmp_path: Path) -> None:
    """INVARIANT: none of admission's keys is the operator's or an account's own.

    Handing it an identity key, which no template binds, would break it.
    """
    settings = Settings(state=tmp_path / "state")
    operator.create_operator(settings.state, settings)
    keys = operator.admission_keys(settings)
    roots = {KeyPair.from_seed(path.read_text().strip()).public for path in (settings.keys / "operator").iterdir()}
    assert len(roots) == 1 + len(access.ACCOUNTS)
    assert not roots & {keys.auth.public, *(key.public for key in keys.scoped.values())}


async def _heard(server: FabricServer, nc: Client, subject: str, headers: dict[str, str], *, by: str) -> Msg:
    worker = await server.worker(by)
    subscription = await worker.subscribe(subject.rpartition(".")[0] + ".>" if by == "signals" else "weft.invoke.>")
    await settled(worker)
    await nc.publish(subject, headers=headers or None)
    return await subscription.next_msg(timeout=2)


async def _refusals(server: FabricServer, *, publish: tuple[str, ...], subscribe: tuple[str, ...]) -> list[str]:
    errors: list[str] = []

    async def on_error(error: Exception) -> None:
        errors.append(str(error))

    nc = await server.outer("agent", NAME, error_cb=on_error)
    for subject in publish:
        await nc.publish(subject)
    for subject in subscribe:
        await nc.subscribe(subject)
    await settled(nc)
    return [error for error in errors if "permissions violation" in error]


async def _quiet(_: Exception) -> None:
    """The refusal is asserted."""

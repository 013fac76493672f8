"""The vault on a real server: put, rotated, shared by brokers, lost and restored; and never in clear anywhere but in one process."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest
from weft.nkey import KeyPair

from config.settings import Settings
from schemas.facts import Kind, Tool
from streams.envelope import load_kek
from tests.support.custody import custodian, put
from tests.support.fabric import FabricServer
from tests.support.guarded import tool
from tests.support.workers import running
from workers.audit.app import build as audit
from workers.broker.app import build as broker
from workers.broker.custody import MAX_VERSIONS
from workers.broker.store import NotHeld, Store
from workers.broker.vault import Vault
from workers.cli.exits import Stop
from workers.common.operator_client import Refused
from workers.revocation.app import build as revocation

ONE, TWO = "sk-live-OneOneOneOne1111", "sk-live-TwoTwoTwoTwo2222"
HOST = ("--host", "api.weather.example")


@pytest.fixture
async def keymaster(fabric_server: FabricServer, monkeypatch: pytest.MonkeyPatch):
    async with running(revocation, fabric_server.settings), running(audit, fabric_server.settings):
        yield await custodian(fabric_server, monkeypatch)


async def value(settings: Settings, keymaster: Any, name: str = "weather") -> str:
    """What a broker of that folder would release."""
    from tests.support.facts import body

    fact = body((await keymaster.client.query(what="get", kind=Kind.CREDENTIAL, key=name)).rows[0]["fact"]["body"])
    vault = await Vault.open(settings.state / "broker" / "vault.db")
    try:
        return (await Store(settings, load_kek(settings), vault).value(fact)).decode()
    finally:
        await vault.close()


def everywhere(state: Path, *secrets: str) -> list[str]:
    """The files below a folder that hold one of the secrets, as it is or encoded."""
    needles = [form for text in secrets for form in forms(text)]
    return [str(path) for path in state.rglob("*") if path.is_file() and any(needle in path.read_bytes() for needle in needles)]


def forms(text: str) -> list[bytes]:
    raw = text.encode()
    return [raw, raw.hex().encode(), base64.b64encode(raw).rstrip(b"="), base64.urlsafe_b64encode(raw).rstrip(b"=")]


async def test_a_credential_from_put_to_delete(fabric_server, keymaster, caplog):
    """INVARIANT: a credential is in clear in the broker alone: on no disk, in no stream, in no log, in no answer.

    A vault that stores what it was given, or a command that carries the value in clear, would break it.
    """
    settings = fabric_server.settings
    async with running(broker, settings):
        row = await keymaster.weft("vault", "put", "weather", *HOST, "--reason", "first", stdin=f"{ONE}\n".encode())
        assert (row["current"], row["kept"]) == (1, [1])
        assert await value(settings, keymaster) == ONE
        with pytest.raises(Refused, match="exists"):
            await keymaster.weft("vault", "put", "weather", *HOST, stdin=TWO.encode())
        assert (await keymaster.weft("vault", "rotate", "weather", stdin=TWO.encode()))["current"] == 2
        assert await value(settings, keymaster) == TWO
        assert (await keymaster.weft("vault", "use", "weather", "--version", "1"))["current"] == 1
        assert await value(settings, keymaster) == ONE
        for number in range(MAX_VERSIONS):
            row = await keymaster.weft("vault", "rotate", "weather", stdin=f"{TWO}{number}".encode())
        assert row["kept"] == [3, 4, 5]
        with pytest.raises(Refused, match="not kept"):
            await keymaster.weft("vault", "use", "weather", "--version", "1")
        (listed,) = await keymaster.weft("vault", "list")
        assert (listed["name"], listed["hosts"], listed["current"]) == ("weather", ["api.weather.example"], 5)
        await fabric_server.put_facts(_egress_tool())
        await _seen(keymaster, "tool", "payments-processing")
        with pytest.raises(Refused, match="tools use it: payments-processing"):
            await keymaster.weft("vault", "delete", "weather")
        await fabric_server.put_facts(tool())
        async with asyncio.timeout(5):
            while True:
                try:
                    await keymaster.weft("vault", "delete", "weather", "--reason", "done")
                    break
                except Refused:
                    await asyncio.sleep(0.05)  # its view of the tool is on its way
        assert await keymaster.weft("vault", "list") == []
        assert [row["reason"] for row in await keymaster.client.all(what="history", kind=Kind.CREDENTIAL, key="weather")][-1] == "done"
        said = [row["event"]["data"] async for row in keymaster.client.replay(types=("org.weft.record.custody.v1",))]
    done = [data["what"] for data in said if data.get("refused") is None]
    assert done == ["credential.put", "credential.rotate", "credential.use", *["credential.rotate"] * 3, "credential.delete"]
    assert {data["person"] for data in said} == {keymaster.client.name}
    assert everywhere(settings.state, ONE, TWO) == []
    assert not any(text in caplog.text for text in (ONE, TWO))
    mode = stat.S_IMODE((settings.state / "broker" / "vault.db").stat().st_mode)
    assert (mode, stat.S_IMODE((settings.state / "broker").stat().st_mode)) == (0o600, 0o700)


def _egress_tool() -> Tool:
    egress = {
        "upstream": "https://api.weather.example",
        "credential": "weather",
        "routes": [{"method": "GET", "path": "/x", "actions": ["refund"]}],
    }
    return Tool.model_validate(tool().plain() | {"egress": egress}, strict=False)


async def _seen(keymaster: Any, kind: str, key: str) -> None:
    async with asyncio.timeout(5):
        while not (await keymaster.client.query(what="get", kind=Kind(kind), key=key)).rows[0]["fact"]["body"].get("egress"):  # noqa: ASYNC110 - audit is asked
            await asyncio.sleep(0.02)


async def test_who_is_no_custodian_gets_nothing_from_the_vault(fabric_server, keymaster, monkeypatch):
    async with running(broker, fabric_server.settings):
        await keymaster.weft("vault", "put", "weather", *HOST, stdin=ONE.encode())
        plain = await custodian(fabric_server, monkeypatch, roles=("registrar", "revoker", "approver", "auditor", "transmitter"))
        for words in (("put", "other", *HOST), ("rotate", "weather"), ("delete", "weather"), ("backup", "f")):
            with pytest.raises(Refused, match="custodian"):
                await plain.weft("vault", *words, stdin=TWO.encode())
        nobody = await fabric_server.outer("operator", (pair := KeyPair("U")).public, pair)
        plain.client._nc, plain.client._key = nobody, pair
        with pytest.raises(Refused, match="not_authorized"):
            await plain.weft("vault", "list")


@pytest.mark.parametrize("wrong", [b"", b"short", b"two\nlines of it", "ümlaut-secret".encode(), b" leading-space", b"x" * 16_385])
async def test_what_could_not_be_used_or_told_apart_is_not_taken(fabric_server, keymaster, wrong):
    async with running(broker, fabric_server.settings):
        with pytest.raises(Stop) as stopped:
            await keymaster.weft("vault", "put", "weather", *HOST, stdin=wrong)
        assert "printable ASCII" in str(stopped.value)
        assert wrong.decode("latin-1") not in str(stopped.value) or not wrong


async def test_a_box_for_something_else_is_refused(fabric_server, keymaster):
    """Verifies that a value is kept under the name, type and hosts that its sender meant, whoever carries the message."""
    from weft.digest import b64u

    async with running(broker, fabric_server.settings):
        sent: list[Any] = []
        ask = keymaster.client.vault

        async def caught(order):
            sent.append(order)
            return await ask(order)

        keymaster.client.vault = caught
        await keymaster.weft("vault", "put", "weather", *HOST, stdin=ONE.encode())
        order = sent[-1]
        assert ONE not in order.wire().decode()
        for changes in ({"name": "other"}, {"hosts": ("evil.example",), "name": "third"}, {"type": "password", "name": "fourth"}):
            with pytest.raises(Refused, match="another name, type or hosts"):
                await ask(order.model_copy(update={"id": "x", **changes}))
        for changes in ({"boxed": b64u(b"x" * 90)}, {"box_key": "A" * 43}):
            with pytest.raises(Refused, match="invalid_change"):
                await ask(order.model_copy(update={"id": "y", "name": "fifth", **changes}))


async def test_two_brokers_share_one_file_and_two_machines_give_each_other_what_they_lack(fabric_server, keymaster, tmp_path):
    """Verifies: on one machine brokers share the vault's file; on two, a broker gets what it lacks, sealed, from the other."""
    here: Settings = fabric_server.settings
    there = tmp_path / "there"
    async with running(broker, here), running(broker, here):
        await keymaster.weft("vault", "put", "weather", *HOST, stdin=ONE.encode())
        names = [f"tool-{number}" for number in range(12)]
        await asyncio.gather(
            *(put(keymaster.client, name, ("api.weather.example",), f"{TWO}-{name}") for name in names)
        )  # both answer; one file
        for name in names:
            assert await value(here, keymaster, name) == f"{TWO}-{name}"
        shutil.copytree(here.state, there, ignore=shutil.ignore_patterns("js", "vault.db*", "box.json"))
        other = here.model_copy(update={"state": there})
        async with running(broker, other) as far:
            fact = far.runtime.facts.table.credential("weather")
            async with asyncio.timeout(5):
                while fact is None:
                    await asyncio.sleep(0.02)
                    fact = far.runtime.facts.table.credential("weather")
            with pytest.raises(NotHeld):
                await value_of(other, fact)
            for number in range(8):  # whichever broker hears it, the value is sealed to a key that they find between them
                await keymaster.weft("vault", "rotate", "weather", stdin=f"{ONE}-{number}".encode())
            backed = [await keymaster.weft("vault", "backup", str(tmp_path / f"b{number}.json")) for number in range(6)]
            assert all(len(row["credentials"]) == 13 for row in backed)  # the far one too, with what it was given
    assert everywhere(there, ONE, TWO) == everywhere(here.state, ONE, TWO) == []


async def value_of(settings: Settings, fact: Any) -> str:
    vault = await Vault.open(settings.state / "broker" / "vault.db")
    try:
        return (await Store(settings, load_kek(settings), vault).value(fact)).decode()
    finally:
        await vault.close()


async def test_a_lost_vault_comes_back_from_its_backup_and_from_no_other(fabric_server, keymaster, tmp_path):
    settings, file = fabric_server.settings, tmp_path / "backup.json"
    async with running(broker, settings):
        await keymaster.weft("vault", "put", "weather", *HOST, stdin=ONE.encode())
        await keymaster.weft("vault", "rotate", "weather", stdin=TWO.encode())
        assert (await keymaster.weft("vault", "backup", str(file)))["credentials"] == ["weather"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert everywhere(tmp_path, ONE, TWO) == []
    for lost in (settings.state / "broker").glob("vault.db*"):
        lost.unlink()
    async with running(broker, settings):
        with pytest.raises(NotHeld):
            await value(settings, keymaster)
        held = json.loads(file.read_text())
        changed = tmp_path / "changed.json"
        text = held["credentials"][0]["versions"][0]["sealed"]["wrapped"]
        held["credentials"][0]["versions"][0]["sealed"]["wrapped"] = ("B" if text[0] == "A" else "A") + text[1:]
        changed.write_text(json.dumps(held))
        with pytest.raises(Refused, match="does not open"):
            await keymaster.weft("vault", "restore", str(changed))
        await keymaster.weft("vault", "restore", str(file))
        assert await value(settings, keymaster) == TWO
        await keymaster.weft("vault", "delete", "weather")
        await keymaster.weft("vault", "restore", str(file))  # made anew
        assert await value(settings, keymaster) == TWO
        with pytest.raises(Stop, match="not a backup"):
            await keymaster.weft("vault", "restore", str(settings.state / "fabric.json"))


async def test_a_new_kek_takes_over_at_the_next_start(fabric_server, keymaster):
    from weft.digest import b64u

    settings = fabric_server.settings
    async with running(broker, settings):
        await keymaster.weft("vault", "put", "weather", *HOST, stdin=ONE.encode())
    old, new = settings.kek.read_text(), b64u(b"n" * 32)
    settings.kek.write_text(f"{new}\n{old}")
    async with running(broker, settings):
        pass
    settings.kek.write_text(f"{new}\n")
    async with running(broker, settings) as app:
        assert await value(settings, keymaster) == ONE
        assert app.runtime.fit()


async def test_without_the_kek_the_broker_does_not_start(fabric_server, keymaster):
    from streams.envelope import KEKUnavailable

    fabric_server.settings.kek.unlink()
    with pytest.raises(KEKUnavailable):
        async with running(broker, fabric_server.settings):
            pass

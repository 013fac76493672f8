"""Verifies that the fabric outlives what kills its parts: the server, one copy of a worker, under load, with nothing restarted by hand."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from schemas.commands import Revoke
from streams.server import Server
from tests.support.invoking import process
from tests.support.load import Load, until_answered
from workers.common.manifest import load as load_manifest
from workers.common.operator_client import Unreachable
from workers.demo.report import Report
from workers.demo.scene import ADVISOR, Scene
from workers.demo.stage import Stage
from workers.supervisor.bootstrap import bootstrap
from workers.supervisor.files import create_files
from workers.supervisor.keeper import InProcess
from workers.supervisor.roster import ISSUER, WORKERS

KILLED = ("revocation", "broker", "gateway")  # the order in which they can become ready


class OwnStage(Stage):
    """A stage whose server the test holds; `doubled` workers run as two processes each, the others once, in this process."""

    def __init__(self, folder, doubled=()):
        super().__init__(folder)
        self.doubled, self.copies = doubled, {}

    async def _up(self, stack):
        create_files(self.state, {})
        self.server = Server(self.state / "nats" / "server.conf")
        await self.server.start()
        stack.push_async_callback(self._stop_server)
        self.settings = create_files(self.state, {"servers": (self.server.url,)})
        await bootstrap(self.settings)
        await self._start_workers(stack)
        self.operator = await stack.enter_async_context(self.person())

    async def _stop_server(self):
        await self.server.stop()

    async def _start_workers(self, stack):
        names = [name for name in (ISSUER, *WORKERS) if name != "edge" and name not in self.doubled]
        keepers = [InProcess(name, 0, self.settings) for name in names]
        tasks = [asyncio.create_task(keeper.keep()) for keeper in keepers]

        async def stop():
            for keeper in keepers:
                keeper.stop()
            await asyncio.gather(*tasks, return_exceptions=True)

        stack.push_async_callback(stop)
        for name in self.doubled:
            self.copies[name] = [await stack.enter_async_context(process(name, self.settings)) for _ in range(2)]
        async with asyncio.timeout(30):
            await asyncio.gather(*(keeper.ready.wait() for keeper in keepers))


async def acted(stack, tmp_path, doubled=()):
    stage = await stack.enter_async_context(OwnStage(tmp_path, doubled))
    scene = Scene(stage, Report())
    await stage.operator.apply(load_manifest(stage.manifest()), reason="scenario")
    await scene.put(*scene.outsiders(), reason="scenario")
    fraud = ("fraud-check", str(stage.ports["fraud"]), str(stage.ledger("fraud")))
    await stage.launch("spiffe://88mph.com/tools/fraud", "tool.py", *fraud, title="fraud")
    return scene, await stage.launch(ADVISOR, "agent.py", title="advisor")


async def revoked(scene, granted):
    """A transaction is taken back, and its live token refused at the tool."""
    order = Revoke(id=granted["txn"], kind="transaction", value=granted["txn"], agent=ADVISOR, reason="scenario")
    await scene.stage.operator.revoke(order)
    await until_answered(scene, granted["token"], {401, 403}, 5)


@pytest.mark.timeout(80)
async def test_a_killed_server_loses_no_grant_and_guards_refuse_until_it_is_back(tmp_path):
    """INVARIANT: every grant an agent received is in RECORD, also over a server killed with -9; guards refuse in the meantime.

    A token that leaves before its record is acknowledged, an acknowledgement before the disk, or a guard that serves on with an old
    view would break it.
    """
    async with AsyncExitStack() as stack:
        scene, advisor = await acted(stack, tmp_path)
        async with Load(scene, advisor) as load:
            granted = await load.grants(20)
            assert (await until_answered(scene, granted["token"], {200}, 3))[0] == 200
            await scene.stage.server.kill()
            refused = await until_answered(scene, granted["token"], {503}, 4.5)
            assert "view_stale" in str(refused[1])
            await scene.stage.server.start()
            after = await load.grants(20)
            await until_answered(scene, after["token"], {200}, 10)
        assert set(load.codes()) <= {"granted", "unavailable"}, load.codes()
        missing = {answer["explanation"] for answer in load.answers if answer.get("granted")}
        async with scene.stage.person() as operator:
            after = 0
            while missing and after is not None:
                page = await operator.query(what="replay", after=after, limit=20, types=("org.weft.record.issued.v1",), wait_s=5)
                missing -= {row["event"]["data"]["explanation"] for row in page.rows}
                after = page.next
        assert not missing


@pytest.mark.timeout(80)
async def test_a_killed_copy_of_each_worker_is_not_missed(tmp_path):
    """INVARIANT: with two of gateway, broker and revocation, one of each killed with -9 costs no call and no revocation.

    State that only one copy holds, a queue group that waits for the dead, or a standby that does not take over would break it.
    """
    async with AsyncExitStack() as stack:
        scene, advisor = await acted(stack, tmp_path, doubled=KILLED)
        async with Load(scene, advisor) as load:
            await load.grants(10)
            for name in KILLED:
                scene.stage.copies[name][0].kill()
                await scene.stage.copies[name][0].wait()
                granted = await load.grants(10)
                if name == "revocation":
                    await revoked(scene, granted)  # so the standby has taken over
                    assert set(load.codes()) == {"granted"}, "the loss of the writer refuses no call"
            await until_answered(scene, granted["token"], {200}, 5)
            await revoked(scene, granted)
        assert set(load.codes()) <= {"granted", "unavailable"}, load.codes()


@pytest.mark.timeout(80)
async def test_without_a_registry_calls_go_on_and_commands_are_told(tmp_path):
    """INVARIANT: while nobody writes facts, what is true stays true: calls go on; a command is told that nobody answers, until one does.

    A call that asks the registry, or a command that waits for ever, would break it.
    """
    async with AsyncExitStack() as stack:
        scene, advisor = await acted(stack, tmp_path, doubled=("registry",))
        for copy in scene.stage.copies["registry"]:
            copy.kill()
            await copy.wait()
        async with Load(scene, advisor, "call") as load:
            with pytest.raises(Unreachable):
                await scene.put(*scene.outsiders(), reason="nobody is there")
            await load.grants(10)
            assert set(load.codes()) == {"granted"}
            assert {answer["status"] for answer in load.answers} == {200}
        async with process("registry", scene.stage.settings):
            await scene.put(*scene.outsiders(), reason="somebody is there")

"""The development issuer as the world meets it: the standard client (PyPI `spiffe`), real sockets, real processes."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from spiffe import TrustDomain, WorkloadApiClient
from spiffe.workloadapi.errors import WorkloadApiError
from weft.nkey import KeyPair

from config.settings import Settings, SettingsError
from schemas.facts import Key, Selectors
from streams.secretfile import write_secret
from tests.support.identities import TRUST_DOMAIN, Keys, Signer
from workers.broker.authservers.ports import NoWay
from workers.broker.authservers.ways import BrokersWays
from workers.common.clock import SystemClock
from workers.common.identity import FactBundles, audience_of, verify_svid
from workers.issuer.bundleboard import BundleBoard, jwks_by_domain
from workers.issuer.issuer import Issuer
from workers.issuer.kernel import boot_id
from workers.issuer.launch import IssuerUnreachable, LaunchRefused, register
from workers.issuer.launches import Launches
from workers.issuer.registered import Host
from workers.issuer.service import IssuerService, api_socket, control_socket, launches_file
from workers.issuer.svids import SVIDSigner

ME = "spiffe://88mph.com/agents/me"
LAUNCHED = "spiffe://88mph.com/agents/launched"
ROOT = Path(__file__).parents[2]
TIMEOUT_S = 5.0
EXE = os.path.realpath(sys.executable)
METADATA = (("workload.spiffe.io", "true"),)

# What a launched program does: fetch an SVID for each line it reads, and say what came of it.
PROGRAM = """
import json, sys
from spiffe import WorkloadApiClient
for line in sys.stdin:
    try:
        with WorkloadApiClient() as client:
            print(json.dumps({"svid": client.fetch_jwt_svid({line.strip()}, timeout=5).token}), flush=True)
    except Exception as error:
        print(json.dumps({"error": str(error)}), flush=True)
"""


class Table:
    def __init__(self) -> None:
        self.rows: list[tuple[str, Selectors]] = []

    def all(self) -> list[tuple[str, Selectors]]:
        return self.rows


class Running:
    """An issuer, what is registered with it, and how to reach it."""

    def __init__(self, state: Path) -> None:
        self.settings = Settings(state=state)
        self.table = Table()
        self.signer = Signer(kid="dev-1")
        self.keys: tuple[Key, ...] = (self.signer.fact(assurance="development"),)
        self.bundles = FactBundles(Keys(*self.keys))
        self.board = BundleBoard()
        self.board.post(jwks_by_domain(self.keys))
        host = Host(sys.executable, os.getuid(), boot_id())
        self.launches = Launches(launches_file(self.settings), host.boot_id)
        signer = SVIDSigner(TRUST_DOMAIN, self.signer.kid, self.signer.private)
        self.issuer = Issuer(signer, self.table, host, self.launches, SystemClock())
        self.service = IssuerService(self.issuer, self.board, self.bundles, SystemClock())
        self.nkey = KeyPair("U").public
        self.audience = audience_of(TRUST_DOMAIN, self.nkey)

    @property
    def target(self) -> str:
        return f"unix://{api_socket(self.settings)}"

    async def client(self, use: Callable[[WorkloadApiClient], Any]) -> Any:
        """The standard client is synchronous and retries for ever: in a thread, with an end."""

        def call() -> Any:
            with WorkloadApiClient(self.target, default_timeout=TIMEOUT_S) as client:
                return use(client)

        return await asyncio.wait_for(asyncio.to_thread(call), TIMEOUT_S * 2)

    def verify(self, svid: str) -> Any:
        return verify_svid(svid, self.bundles, now=time.time(), trust_domain=TRUST_DOMAIN, nkey=self.nkey, mode="development")


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    folder = Path(tempfile.mkdtemp(prefix="weft"))  # short: a socket's path has 107 bytes
    one = Running(folder)
    await one.service.start(api_socket(one.settings), control_socket(one.settings))
    yield one
    await one.service.stop()
    shutil.rmtree(folder)


class Program:
    """A child process that speaks JSON lines."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    @classmethod
    async def launched(cls, running: Running, spiffe_id: str, *argv: str) -> Program:
        """By `weft agent run`'s own function, in a process of its own."""
        code = (
            "import asyncio, sys; from pathlib import Path; from config.settings import Settings; from workers.issuer.launch import launch;"
            "asyncio.run(launch(Settings(state=Path(sys.argv[1])), sys.argv[2], sys.argv[3:]))"
        )
        return await cls.started(sys.executable, "-c", code, str(running.settings.state), spiffe_id, *argv)

    @classmethod
    async def started(cls, *argv: str, env: dict[str, str] | None = None) -> Program:
        pipe = asyncio.subprocess.PIPE
        return cls(await asyncio.create_subprocess_exec(*argv, stdin=pipe, stdout=pipe, stderr=pipe, cwd=ROOT, env=env))

    async def ask(self, audience: str) -> dict[str, str]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(audience.encode() + b"\n")
        answer: dict[str, str] = json.loads(await asyncio.wait_for(self.process.stdout.readline(), 20))
        return answer

    async def end(self) -> str:
        return (await asyncio.wait_for(self.process.communicate(b""), 20))[1].decode()


@pytest.fixture
def program(tmp_path: Path) -> str:
    path = tmp_path / "agent.py"
    path.write_text(PROGRAM)
    return str(path)


async def test_the_standard_client_fetches_and_validates(running: Running) -> None:
    running.table.rows = [(ME, Selectors(uid=os.getuid(), path=EXE))]
    svid = await running.client(lambda client: client.fetch_jwt_svid({running.audience}))
    assert str(svid.spiffe_id) == ME
    found = running.verify(svid.token)
    assert (str(found.id), found.attested, found.assurance) == (ME, True, "development")
    assert found.jti
    bundles = await running.client(lambda client: client.fetch_jwt_bundles())
    assert bundles.get_bundle_for_trust_domain(TrustDomain(TRUST_DOMAIN)).get_jwt_authority("dev-1") is not None
    validated = await running.client(lambda client: client.validate_jwt_svid(svid.token, running.audience))
    assert str(validated.spiffe_id) == ME


async def test_a_broker_proves_who_it_is_to_an_authorization_server(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """draft-ietf-oauth-spiffe-client-auth-02: a JWT-SVID whose sole audience is the server's issuer; without one, a typed refusal."""
    monkeypatch.delenv("SPIFFE_ENDPOINT_SOCKET", raising=False)
    broker, server = "spiffe://88mph.com/services/broker", "https://login.partner.example"
    ways = BrokersWays(running.settings)
    with pytest.raises(NoWay):
        await ways.svid(server)
    running.table.rows = [(broker, Selectors(uid=os.getuid(), path=EXE))]
    svid = await ways.svid(server)
    validated = await running.client(lambda client: client.validate_jwt_svid(svid, server))
    assert (str(validated.spiffe_id), validated.audience) == (broker, {server})
    await ways.aclose()


async def test_renewing_keeps_the_instance_and_each_svid_has_its_own_jti(running: Running) -> None:
    running.table.rows = [(ME, Selectors(uid=os.getuid()))]
    fetch = [running.verify((await running.client(lambda client: client.fetch_jwt_svid({running.audience}))).token) for _ in range(2)]
    assert fetch[0].instance == fetch[1].instance
    assert fetch[0].jti != fetch[1].jti


async def test_all_identities_or_the_one_asked_for(running: Running) -> None:
    other = "spiffe://88mph.com/agents/other"
    mine = Selectors(uid=os.getuid())
    running.table.rows = [(ME, mine), (other, mine), ("spiffe://elsewhere/a", mine)]
    found = await running.client(lambda client: client.fetch_jwt_svids({running.audience}))
    assert [str(svid.spiffe_id) for svid in found] == [ME, other]
    one = await running.client(lambda client: client.fetch_jwt_svid({running.audience}, subject=found[1].spiffe_id))
    assert str(one.spiffe_id) == other


async def test_who_is_not_registered_gets_nothing(running: Running) -> None:
    """INVARIANT: a program that no selectors match gets no SVID, no bundle and no validation.

    Issuing for whoever reaches the socket would make every program of the machine an agent.
    """
    running.table.rows = [(ME, Selectors(uid=os.getuid() + 1))]
    for call in (
        lambda client: client.fetch_jwt_svid({running.audience}),
        lambda client: client.fetch_jwt_bundles(),
        lambda client: client.validate_jwt_svid("a.b.c", running.audience),
    ):
        with pytest.raises(WorkloadApiError, match=r"no identity issued|PERMISSION_DENIED"):
            await running.client(call)


async def raw(running: Running, method: str, request: bytes, metadata: Any = METADATA) -> grpc.StatusCode:
    """The status of a call made without the client library."""

    def call() -> grpc.StatusCode:
        with grpc.insecure_channel(running.target) as channel:
            try:
                channel.unary_unary(f"/SpiffeWorkloadAPI/{method}")(request, timeout=TIMEOUT_S, metadata=metadata)
            except grpc.RpcError as error:
                return error.code()
        return grpc.StatusCode.OK

    return await asyncio.to_thread(call)


FOR_AUDIENCE = b"\x0a\x01a"  # audience = ["a"]


@pytest.mark.parametrize(
    ("method", "request_bytes", "metadata", "status"),
    [
        ("FetchJWTSVID", FOR_AUDIENCE, METADATA, grpc.StatusCode.OK),
        ("FetchJWTSVID", FOR_AUDIENCE, (), grpc.StatusCode.INVALID_ARGUMENT),
        ("FetchJWTSVID", FOR_AUDIENCE, (("workload.spiffe.io", "false"),), grpc.StatusCode.INVALID_ARGUMENT),
        ("FetchJWTBundles", b"", (), grpc.StatusCode.INVALID_ARGUMENT),
        ("ValidateJWTSVID", b"", (), grpc.StatusCode.INVALID_ARGUMENT),
        ("FetchJWTSVID", b"", METADATA, grpc.StatusCode.INVALID_ARGUMENT),
        ("FetchJWTSVID", b"\x0a\x00", METADATA, grpc.StatusCode.INVALID_ARGUMENT),
        ("FetchJWTSVID", FOR_AUDIENCE * 2, METADATA, grpc.StatusCode.INVALID_ARGUMENT),
        ("FetchJWTSVID", FOR_AUDIENCE + b"\x12\x01x", METADATA, grpc.StatusCode.INVALID_ARGUMENT),
        ("FetchJWTSVID", FOR_AUDIENCE + b"\x12\x14spiffe://88mph.com/x", METADATA, grpc.StatusCode.PERMISSION_DENIED),
        ("ValidateJWTSVID", b"", METADATA, grpc.StatusCode.INVALID_ARGUMENT),
        ("ValidateJWTSVID", FOR_AUDIENCE + b"\x12\x05a.b.c", METADATA, grpc.StatusCode.INVALID_ARGUMENT),
        ("FetchX509SVID", b"", METADATA, grpc.StatusCode.UNIMPLEMENTED),
        ("FetchX509Bundles", b"", METADATA, grpc.StatusCode.UNIMPLEMENTED),
        ("FetchWITSVID", b"", METADATA, grpc.StatusCode.UNIMPLEMENTED),
    ],
)
async def test_status_codes(running: Running, method: str, request_bytes: bytes, metadata: Any, status: grpc.StatusCode) -> None:
    running.table.rows = [(ME, Selectors(uid=os.getuid()))]
    assert await raw(running, method, request_bytes, metadata) is status


async def test_bundles_are_a_stream_of_complete_states(running: Running) -> None:
    running.table.rows = [(ME, Selectors(uid=os.getuid()))]
    seen: asyncio.Queue[set[str]] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    client = WorkloadApiClient(running.target, default_timeout=TIMEOUT_S)

    def tell(bundles: Any) -> None:
        names = {str(bundle.trust_domain) for bundle in bundles.bundles}
        loop.call_soon_threadsafe(seen.put_nowait, names)

    handle = await asyncio.to_thread(client.stream_jwt_bundles, tell, lambda _: None)
    assert await asyncio.wait_for(seen.get(), TIMEOUT_S) == {TRUST_DOMAIN}
    running.board.post(jwks_by_domain([*running.keys, Signer(kid="f").fact("foreign.example")]))
    assert await asyncio.wait_for(seen.get(), TIMEOUT_S) == {TRUST_DOMAIN, "foreign.example"}
    running.board.post(jwks_by_domain([Signer(kid="f").fact("foreign.example")]))
    assert await asyncio.wait_for(seen.get(), TIMEOUT_S) == {"foreign.example"}
    await asyncio.to_thread(handle.cancel)
    await asyncio.to_thread(client.close)


async def test_a_launched_program_is_that_agent(running: Running, program: str) -> None:
    running.table.rows = [(LAUNCHED, Selectors(command=("{python}", program)))]
    one = await Program.launched(running, LAUNCHED, sys.executable, program)
    two = await Program.launched(running, LAUNCHED, sys.executable, program)
    svids = [running.verify((await child.ask(running.audience))["svid"]) for child in (one, two, one)]
    assert {str(svid.id) for svid in svids} == {LAUNCHED}
    assert svids[0].instance == svids[2].instance != svids[1].instance
    assert len(running.launches) == 2
    for child in (one, two):
        await child.end()
    await asyncio.wait_for(emptied(running), TIMEOUT_S)


async def emptied(running: Running) -> None:
    while len(running.launches):  # noqa: ASYNC110 - the kernel tells the issuer, and nobody tells a test
        await asyncio.sleep(0)


async def test_another_process_on_the_same_socket_is_nobody(running: Running, program: str) -> None:
    """INVARIANT: an identity belongs to the process that was launched, not to whoever has its environment or its socket.

    Recognising callers by the socket they use would give the identity to any program that copies the path.
    """
    running.table.rows = [(LAUNCHED, Selectors(command=("{python}", program)))]
    one = await Program.launched(running, LAUNCHED, sys.executable, program)
    assert "svid" in await one.ask(running.audience)
    copied = await Program.started(sys.executable, program, env={**os.environ, "SPIFFE_ENDPOINT_SOCKET": running.target})
    assert "no identity issued" in (await copied.ask(running.audience))["error"]
    await one.end()
    await copied.end()


async def test_a_child_of_a_launched_program_is_nobody(running: Running, tmp_path: Path, program: str) -> None:
    parent = tmp_path / "parent.py"
    parent.write_text(f"import subprocess, sys; sys.exit(subprocess.run([sys.executable, {program!r}]).returncode)")
    running.table.rows = [(LAUNCHED, Selectors(command=("{python}", str(parent))))]
    child = await Program.launched(running, LAUNCHED, sys.executable, str(parent))
    assert "no identity issued" in (await child.ask(running.audience))["error"]
    await child.end()


async def test_a_program_that_becomes_another_loses_it(running: Running, tmp_path: Path, program: str) -> None:
    """INVARIANT: a registered launch is good for that program only.

    Remembering pid and start time alone would let the program execute anything else and keep the identity.
    """
    first = tmp_path / "first.py"
    first.write_text(f"import os, sys; os.execv(sys.executable, [sys.executable, {program!r}])")
    running.table.rows = [(LAUNCHED, Selectors(command=("{python}", str(first))))]
    child = await Program.launched(running, LAUNCHED, sys.executable, str(first))
    assert "no identity issued" in (await child.ask(running.audience))["error"]
    await child.end()


async def test_what_may_not_be_launched(running: Running, program: str) -> None:
    running.table.rows = [(LAUNCHED, Selectors(command=("{python}", program)))]
    for spiffe_id, argv in ((LAUNCHED, ("/bin/cat",)), (ME, (sys.executable, program)), (LAUNCHED, (sys.executable, program, "x"))):
        with pytest.raises(LaunchRefused, match="no registered selectors match"):
            await register(running.settings, spiffe_id, argv)
    with pytest.raises(LaunchRefused, match="not a SPIFFE ID"):
        await register(running.settings, "agents/me", ("/bin/cat",))
    assert "LaunchRefused" in await (await Program.launched(running, ME, sys.executable, program)).end()


async def test_registering_ends_with_the_registration(running: Running, program: str) -> None:
    running.table.rows = [(LAUNCHED, Selectors(command=("{python}", program)))]
    child = await Program.launched(running, LAUNCHED, sys.executable, program)
    assert "svid" in await child.ask(running.audience)
    running.table.rows = []
    assert "no identity issued" in (await child.ask(running.audience))["error"]
    await child.end()


@pytest.mark.parametrize("line", [b"", b"\n", b"{}\n", b'{"spiffe_id":"spiffe://a/b","argv":[]}\n', b"x" * 100_000 + b"\n", b"\xff\n"])
async def test_garbage_on_the_control_socket(running: Running, line: bytes) -> None:
    reader, writer = await asyncio.open_unix_connection(str(control_socket(running.settings)))
    writer.write(line)
    writer.write_eof()
    assert b"not a launch request" in await asyncio.wait_for(reader.read(), TIMEOUT_S)
    writer.close()


async def test_garbage_on_the_workload_socket(running: Running) -> None:
    reader, writer = await asyncio.open_unix_connection(str(api_socket(running.settings)))
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    await asyncio.wait_for(reader.read(), TIMEOUT_S)
    writer.close()
    running.table.rows = [(ME, Selectors(uid=os.getuid()))]
    assert await raw(running, "FetchJWTSVID", FOR_AUDIENCE) is grpc.StatusCode.OK


async def test_no_issuer_and_no_room(running: Running, tmp_path: Path) -> None:
    with pytest.raises(IssuerUnreachable):
        await register(Settings(state=tmp_path), LAUNCHED, ("/bin/cat",))
    with pytest.raises(SettingsError, match="too long"):
        await running.service.start(tmp_path / ("a" * 120), tmp_path / "c")


async def test_a_socket_left_by_an_earlier_run_is_replaced(running: Running) -> None:
    again = Running(running.settings.state)
    await again.service.start(api_socket(again.settings), control_socket(again.settings))
    again.table.rows = [(ME, Selectors(uid=os.getuid()))]
    assert await raw(again, "FetchJWTSVID", FOR_AUDIENCE) is grpc.StatusCode.OK
    await again.service.stop()
    assert not api_socket(again.settings).exists()


async def test_a_launched_program_outlives_a_restart_of_the_issuer(running: Running, program: str) -> None:
    running.table.rows = [(LAUNCHED, Selectors(command=("{python}", program)))]
    stays, goes = [await Program.launched(running, LAUNCHED, sys.executable, program) for _ in range(2)]
    before = running.verify((await stays.ask(running.audience))["svid"])
    assert "svid" in await goes.ask(running.audience)
    await running.service.stop()
    await goes.end()
    again = Running(running.settings.state)
    again.table.rows = running.table.rows
    await again.service.start(api_socket(again.settings), control_socket(again.settings))
    assert len(again.launches) == 1
    after = again.bundles, (await stays.ask(running.audience))["svid"]
    found = verify_svid(after[1], after[0], now=time.time(), trust_domain=TRUST_DOMAIN, mode="development")
    assert found.instance == before.instance
    await stays.end()
    await again.service.stop()


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"boot_id":"x","launches":[[1,2,"a",["b"]]]}', b'{"boot_id":"%s","launches":[[1,2]]}']
)
async def test_a_file_of_launches_that_cannot_be_believed_is_nobody(tmp_path: Path, content: bytes) -> None:
    """INVARIANT: what the file says counts only for processes of this boot that still live, by pid and start time.

    Reading pids back without their start time would give the identity to whatever has the pid by then.
    """
    path = tmp_path / "private" / "launches.json"
    row = json.dumps({"boot_id": boot_id(), "launches": [[os.getpid(), 1, ME, ["x"]], [2**22 + 1, 1, ME, ["x"]]]}).encode()
    for held in (content.replace(b"%s", boot_id().encode()), row):
        write_secret(path, held)
        launches = Launches(path, boot_id())
        launches.restore()
        assert len(launches) == 0
    path.chmod(0o644)
    launches.restore()
    assert len(launches) == 0

"""`weft up`, `init`, `bootstrap`, `run`, `status`, `demo`: the fabric as a whole."""

from __future__ import annotations

import argparse
from pathlib import Path

from config.settings import SettingsError, from_text
from workers.cli.common import Commands, command, operator, operators, settings_of
from workers.cli.edge import readiness
from workers.cli.exits import Exit, Stop
from workers.cli.output import Output
from workers.supervisor.roster import ISSUER, WORKERS


def add(commands: Commands) -> None:
    """Registers them."""
    up = command(commands, "up", "Start a whole fabric on this machine: server, workers, development trust domain.", run_up)
    up.add_argument("--port", type=int, default=4222, help="of the embedded nats-server; 0 for any")
    up.add_argument("--edge-port", type=int, default=8443, help="of health, readiness and JWKS; 0 for any")
    up.add_argument("--egress-port", type=int, default=None, help="of the egress; 0 for any (8444)")
    up.add_argument("--trust-domain", default=None, help="for a new folder (88mph.com)")
    up.add_argument("--processes", action="store_true", help="each worker in a process of its own")
    up.add_argument("--count", type=int, default=1, choices=range(1, 9), metavar="N", help="copies of every worker")
    up.add_argument(
        "--servers", type=int, default=None, choices=(1, 3, 5), help="nats-servers on this machine, streams on three of them (1)"
    )
    init = command(commands, "init", "Write the keys and credentials of a new fabric, and start nothing.", run_init)
    init.add_argument("--cluster", default=None, metavar="HOST,HOST,...", help="also certificates and a configuration for each server")
    init.add_argument("--edge-host", default="localhost", help="the name in the edge's certificate (with --cluster)")
    init.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="a setting (config/settings.py)")
    command(commands, "bootstrap", "Apply streams and first facts to a server that runs; as often as you like.", run_bootstrap)
    worker = command(commands, "run", "Run one worker, until SIGTERM or its end.", run_worker)
    worker.add_argument("worker", choices=(*WORKERS, ISSUER))
    worker.add_argument("--ready-fd", type=int, default=None, help="write one line to this descriptor once ready")
    worker.add_argument("--life-fd", type=int, default=None, help="stop when this descriptor is closed at its other end")
    worker.add_argument("--alive", type=Path, default=None, metavar="FILE", help="touch this file every second while views are fresh")
    for parser in (up, worker):
        parser.set_defaults(uvloop=True)
    operators(command(commands, "status", "How the workers and the enforcement points are.", run_status))
    demo = command(commands, "demo", "The essay's flow, for real, in a folder of its own.", run_demo)
    demo.add_argument(
        "--break", dest="broken", type=int, default=0, choices=range(7), metavar="N", help="plant a fault in step N; must exit 1"
    )
    demo.add_argument("--count", type=int, default=1, choices=range(1, 9), metavar="N", help="copies of every worker")
    demo.add_argument("--servers", type=int, default=1, choices=(1, 3, 5), help="nats-servers")
    demo.add_argument("--keep", type=Path, default=None, metavar="FOLDER", help="play in this folder and leave it")


async def run_up(args: argparse.Namespace, out: Output) -> int:
    from workers.supervisor.files import FolderInUse
    from workers.supervisor.up import Options, Trouble, up

    def ready(found: dict[str, str]) -> None:
        out.value({"ready": found}, f"weft is up: {found['servers']}  dir {found['dir']}  edge {found['edge']}  egress {found['egress']}")

    options = Options(
        state=args.dir,
        port=args.port,
        edge_port=args.edge_port,
        egress_port=args.egress_port,
        trust_domain=args.trust_domain,
        processes=args.processes,
        copies=args.count,
        servers=args.servers,
    )
    try:
        await up(options, ready)
    except SettingsError as error:
        raise Stop(Exit.USAGE, "settings", str(error)) from None
    except FolderInUse as error:
        raise Stop(Exit.REFUSED, "in_use", str(error)) from None
    except Trouble as error:
        raise Stop(Exit.UNREACHABLE, "not_up", str(error)) from None
    return Exit.DONE


async def run_init(args: argparse.Namespace, out: Output) -> int:
    from workers.supervisor.cluster import create_cluster
    from workers.supervisor.files import create_files

    try:
        given = {name: from_text(text) for name, text in (pair.split("=", 1) for pair in args.set)}
        if args.cluster is None:
            settings = create_files(args.dir, given)
        else:
            settings = create_cluster(args.dir, tuple(args.cluster.split(",")), args.edge_host, given)
    except (SettingsError, ValueError) as error:
        raise Stop(Exit.USAGE, "settings", str(error)) from None
    out.value({"dir": str(settings.state)}, f"a fabric for {settings.trust_domain} is ready to start in {settings.state}")
    return Exit.DONE


async def run_bootstrap(args: argparse.Namespace, out: Output) -> int:
    from workers.supervisor.bootstrap import bootstrap

    written = await bootstrap(settings_of(args))
    out.value({"written": written}, f"streams applied, {len(written)} first facts written")
    return Exit.DONE


async def run_worker(args: argparse.Namespace, _out: Output) -> int:
    from workers.supervisor.single import run

    ended_by_itself = await run(args.worker, settings_of(args), ready_fd=args.ready_fd, life_fd=args.life_fd, alive=args.alive)
    return Exit.REFUSED if ended_by_itself else Exit.DONE


async def run_status(args: argparse.Namespace, out: Output) -> int:
    workers = await readiness(settings_of(args))
    async with operator(args) as client:
        (fabric,), points = (await client.query(what="status")).rows, (await client.query(what="points")).rows
    if out.as_json:
        out.value({**workers, "fabric": fabric, "points": points})
    else:
        out.rows(workers["workers"], ("worker", "ready", "copies", "fresh", "recorded", "facts", "revocations"))
        out.say("")
        out.rows(points, ("id", "name", "expires_at"), empty="no enforcement point is attached")
        counters = ", ".join(f"{name} {fabric[name]}" for name in ("facts", "revocations", "record"))
        if fabric["record_full"] is not None:
            counters += f" ({fabric['record_full']:.0%} of what it may hold)"
        out.say(f"\n{fabric['trust_domain']} ({fabric['mode']}): {counters}")
    return Exit.DONE if workers["ready"] else Exit.REFUSED


async def run_demo(args: argparse.Namespace, _out: Output) -> int:
    from workers.demo.main import run

    status = await run(args.keep, args.broken, ("--count", str(args.count), "--servers", str(args.servers)))
    if status not in (Exit.DONE, Exit.REFUSED):
        raise Stop(Exit.REFUSED, "demo_failed", f"status {status}")
    return status

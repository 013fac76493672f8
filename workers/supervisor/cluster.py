"""`weft init --cluster`: the files of a fabric of several machines or containers, as `compose.yaml` mounts them.

Each holder finds only its own: `nats/<node>.conf` and `tls/<node>/` for a server, `creds/<worker>.creds` and at most one private key
for a worker.  Paths inside the server configurations are those of the containers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from config.settings import Settings
from streams.operator import create_operator
from streams.secretfile import private_folder, write_secret
from streams.serverconf import Cluster, Node, TLSFiles, render
from workers.supervisor.certificates import Authority, Place
from workers.supervisor.files import create_files

EGRESS_PORT = 8444
CLIENT_PORT, ROUTE_PORT, MONITOR_PORT = 4222, 6222, 8222
IN_TLS, IN_STORE = Path("/tls"), Path("/data")  # where a server's container has them
STATE = Path("/var/lib/weft")  # where a worker's container has its folder


def create_cluster(state: Path, nodes: Sequence[str], edge_host: str, changes: Mapping[str, Any]) -> Settings:
    """Makes what is missing.  Raises SettingsError."""
    defaults = {
        "servers": [f"tls://{node}:{CLIENT_PORT}" for node in nodes],
        "replicas": min(len(nodes), 3),
        "mode": "production",
        "tls_ca": str(STATE / "tls" / "ca.pem"),
        "nats_cert": str(IN_TLS / "cert.pem"),
        "nats_key": str(IN_TLS / "key.pem"),
        "edge_host": "0.0.0.0",  # noqa: S104 - inside a container; TLS is required there
        "edge_cert": str(STATE / "tls" / "edge" / "cert.pem"),
        "edge_key": str(STATE / "tls" / "edge" / "key.pem"),
        "egress_host": "0.0.0.0",  # noqa: S104 - the same
        "egress_cert": str(STATE / "tls" / "egress" / "cert.pem"),
        "egress_key": str(STATE / "tls" / "egress" / "key.pem"),
        "egress_url": f"https://{edge_host}:{EGRESS_PORT}",
    }
    settings = create_files(state, {**defaults, **changes})
    create_certificates(settings.state / "tls", nodes, edge_host)
    operator = create_operator(settings.state, settings)
    for node in nodes:
        write_secret(settings.state / "nats" / f"{node}.conf", render(operator.jwts, node_of(node, nodes)).encode())
    return settings


def node_of(name: str, nodes: Sequence[str]) -> Node:
    """One server, as its container sees it."""
    return Node(
        name=name,
        store=IN_STORE,
        host="0.0.0.0",  # noqa: S104 - inside a container; `render` refuses it without TLS
        port=CLIENT_PORT,
        http_port=MONITOR_PORT,
        tls=TLSFiles(IN_TLS / "cert.pem", IN_TLS / "key.pem", IN_TLS / "ca.pem"),
        cluster=Cluster("weft", ROUTE_PORT, tuple(f"nats-route://{node}:{ROUTE_PORT}" for node in nodes)),
    )


def create_certificates(folder: Path, nodes: Sequence[str], edge_host: str) -> None:
    """One authority, one certificate each; kept where they exist."""
    if (folder / "ca.pem").exists():
        return
    private_folder(folder)
    authority = Authority("weft")
    faces = (("edge", (edge_host, "edge")), ("egress", (edge_host, "egress")))
    for holder, hosts in (*((node, (node, "localhost")) for node in nodes), *faces):
        place = Place(private_folder(folder / holder) / "cert.pem", folder / holder / "key.pem")
        authority.issue(place, tuple(dict.fromkeys(hosts)))
        (folder / holder / "ca.pem").write_bytes(authority.pem)
    (folder / "ca.pem").write_bytes(authority.pem)

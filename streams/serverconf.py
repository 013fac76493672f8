"""The nats-server configuration of a fabric, as text.  The reasons of each setting: docs/decisions/0001-operator-mode.md.

Rules kept: operator mode with every account preloaded, so that no key but the operator's places anyone anywhere; acknowledged means on
disk (`sync_interval: always`); one client cannot exhaust the server; no listener beyond loopback without TLS, no route without mTLS.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

MAX_PAYLOAD_BYTES = 262_144
MAX_PENDING_BYTES = 8_388_608
MAX_CONTROL_LINE_BYTES = 8_192  # a subject holds a SPIFFE ID of up to 512 bytes, a request two of them; a bearer SVID comes in CONNECT
MAX_SUBSCRIPTIONS = 4_096  # of one connection
AUTH_TIMEOUT_S = 2


class InsecureListener(ValueError):
    """A listener that is not loopback, without TLS."""


@dataclass(frozen=True, slots=True)
class TLSFiles:
    """PEM files; `ca` verifies the peers of routes."""

    cert: Path
    key: Path
    ca: Path


@dataclass(frozen=True, slots=True)
class Cluster:
    """How this server reaches the others: `routes` are `nats-route://host:port`, its own may be among them."""

    name: str
    port: int
    routes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Node:
    """One nats-server.  Port -1 lets the system choose; `http_port` is monitoring, always on loopback."""

    name: str
    store: Path
    host: str = "127.0.0.1"
    port: int = -1
    http_port: int = -1
    tls: TLSFiles | None = None
    cluster: Cluster | None = None
    max_file_bytes: int | None = None  # for all streams together; none: what the server makes of the disk


@dataclass(frozen=True, slots=True)
class OperatorJWTs:
    """What operator mode needs: signed texts and public keys, no secret (the sentinel's rights are none)."""

    operator: str
    system_account: str
    sentinel: str
    accounts: Mapping[str, str]  # public key to JWT


def loopback(host: str) -> bool:
    """Whether only this machine reaches a listener on that host."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def render(jwts: OperatorJWTs, node: Node) -> str:
    """The configuration file of one server.  Raises InsecureListener."""
    if node.tls is None and not loopback(node.host):
        raise InsecureListener(f"{node.host} is not loopback and has no certificate")
    return "\n".join((*_listener(node), *_cluster(node), *_jetstream(node), *_limits(), *_operator(jwts), ""))


def _listener(node: Node) -> tuple[str, ...]:
    return (
        f"server_name: {_text(node.name)}",
        f"host: {_text(node.host)}",
        f"port: {node.port}",
        f'http: "127.0.0.1:{node.http_port}"',
        *(() if node.tls is None else (f"tls: {{ {_files(node.tls)}, timeout: 3 }}",)),
    )


def _cluster(node: Node) -> tuple[str, ...]:
    cluster = node.cluster
    if cluster is None:
        return ()
    routes = ", ".join(map(_text, cluster.routes))
    tls = () if node.tls is None else (f"  tls: {{ {_files(node.tls)}, verify: true, timeout: 3 }}",)
    return (
        "cluster: {",
        f"  name: {_text(cluster.name)}, host: {_text(node.host)}, port: {cluster.port}, no_advertise: true",
        f"  routes: [{routes}]",
        *tls,
        "}",
    )


def _jetstream(node: Node) -> tuple[str, ...]:
    limit = "" if node.max_file_bytes is None else f", max_file_store: {node.max_file_bytes}"
    return (f"jetstream: {{ store_dir: {_text(str(node.store))}, sync_interval: always{limit} }}",)


def _limits() -> tuple[str, ...]:
    return (
        f"max_payload: {MAX_PAYLOAD_BYTES}",
        f"max_pending: {MAX_PENDING_BYTES}",
        f"max_control_line: {MAX_CONTROL_LINE_BYTES}",
        f"max_subscriptions: {MAX_SUBSCRIPTIONS}",
        'write_deadline: "2s"',
        'ping_interval: "5s"',
        "ping_max: 2",
        f"authorization: {{ timeout: {AUTH_TIMEOUT_S} }}",
    )


def _operator(jwts: OperatorJWTs) -> tuple[str, ...]:
    return (
        f"operator: {_text(jwts.operator)}",
        f"system_account: {jwts.system_account}",
        f"default_sentinel: {_text(jwts.sentinel)}",
        "resolver: MEMORY",
        "resolver_preload: {",
        *(f"  {key}: {_text(jwt)}" for key, jwt in jwts.accounts.items()),
        "}",
    )


def _files(tls: TLSFiles) -> str:
    return f"cert_file: {_text(str(tls.cert))}, key_file: {_text(str(tls.key))}, ca_file: {_text(str(tls.ca))}"


def _text(value: str) -> str:
    return json.dumps(value)

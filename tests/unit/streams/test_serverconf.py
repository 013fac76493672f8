"""The server's configuration, as text: what it refuses to say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from config.settings import Settings
from streams.operator import create_operator
from streams.serverconf import Cluster, InsecureListener, Node, OperatorJWTs, TLSFiles, loopback, render

JWTS = OperatorJWTs(operator="o", system_account="ASYS", sentinel="s", accounts={"AX": "x"})
TLS = TLSFiles(Path("/tls/cert.pem"), Path("/tls/key.pem"), Path("/tls/ca.pem"))
CLUSTER = Cluster("weft", 6222, ("nats-route://nats-1:6222", "nats-route://nats-2:6222"))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "nats-1", "", "127.0.0.1.example.com"])
@pytest.mark.parametrize("cluster", [None, CLUSTER])
def test_no_listener_beyond_loopback_without_tls(host: str, cluster: Cluster | None) -> None:
    """INVARIANT: no server is configured to listen beyond this machine in the clear.

    Deciding by anything but the address, such as the mode, would break it.
    """
    with pytest.raises(InsecureListener):
        render(JWTS, Node("n", Path("/js"), host=host, cluster=cluster))
    assert "cert_file" in render(JWTS, Node("n", Path("/js"), host=host, tls=TLS, cluster=cluster))


@pytest.mark.parametrize(
    ("host", "expected"), [("127.0.0.1", True), ("::1", True), ("[::1]", True), ("localhost", True), ("127.1.2.3", True)]
)
def test_loopback(host: str, *, expected: bool) -> None:
    assert loopback(host) is expected


def test_routes_are_mutual() -> None:
    text = render(JWTS, Node("n", Path("/js"), host="0.0.0.0", tls=TLS, cluster=CLUSTER))
    cluster = text[text.index("cluster: {") :]
    assert "verify: true" in cluster[: cluster.index("\n}")]


def test_acknowledged_means_on_disk() -> None:
    assert "sync_interval: always" in render(JWTS, Node("n", Path("/js")))


def test_monitoring_stays_on_loopback() -> None:
    assert 'http: "127.0.0.1:8222"' in render(JWTS, Node("n", Path("/js"), host="0.0.0.0", tls=TLS, http_port=8222))


def test_text_cannot_break_out() -> None:
    text = render(JWTS, Node('n"\nport: 1\n', Path('/j"s')))
    assert "\nport: 1\n" not in text


def test_the_server_accepts_it(tmp_path: Path) -> None:
    """`nats-server -t` on what `create_operator` wrote."""
    conf = create_operator(tmp_path / "state", Settings(state=tmp_path / "state")).server_conf
    done = subprocess.run([Path(sys.executable).with_name("nats-server"), "-t", "-c", conf], capture_output=True, check=False, timeout=20)
    assert done.returncode == 0, done.stderr

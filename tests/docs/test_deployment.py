"""compose.yaml and the Dockerfile: every worker is there, and each container is given its own files and no other's."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from config.settings import load
from streams.access import CREDENTIALS
from workers.supervisor.cluster import create_cluster
from workers.supervisor.roster import WORKERS

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
NODES = ("nats-1", "nats-2", "nats-3")
STATE = "${WEFT_STATE:-./var/compose}/"
COMMON = {"fabric.json", "accounts.json", "tls/ca.pem"}
# Who holds which private key (design section 2, "Keys: one per purpose and holder").
HELD = {
    "broker": {"broker", "keys/broker.kek"},
    "signals": {"keys/signals", "keys/signals.pem", "keys/signals-rs256.pem", "keys/signals-seal.key", "keys/subscriptions"},
    "revocation": {"keys/revocation.pem", "keys/status.pem"},
    "admission": {"keys/accounts"},
    "edge": {"tls/edge"},
    "egress": {"tls/egress"},
    "audit": {"audit"},
}


def mounted(service: str) -> set[str]:
    return {volume.split(":", 3)[1].removeprefix("-./var/compose}/") for volume in SERVICES[service]["volumes"] if volume.startswith(STATE)}


def test_every_worker_has_a_service_and_the_bus_is_a_cluster_of_three():
    assert set(SERVICES) == {*WORKERS, *NODES, "init", "bootstrap"}


@pytest.mark.parametrize("worker", WORKERS)
def test_a_worker_is_given_its_own_files_alone(worker):
    """INVARIANT: a taken-over container holds one worker's credential, and at most the one private key of its purpose.

    Mounting the whole state folder, or another worker's `.creds` "to make it work", would break it.
    """
    creds = {f"creds/{name}.creds" for name in CREDENTIALS if name == worker or name.startswith(f"{worker}-")}
    assert creds
    assert mounted(worker) == COMMON | creds | HELD.get(worker, set())
    assert SERVICES[worker]["command"][:2] == ["run", worker]


@pytest.mark.parametrize("worker", WORKERS)
def test_a_worker_runs_with_nothing_to_spare(worker):
    service = SERVICES[worker]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["user"].startswith("${WEFT_UID:-1000}")
    assert "/tmp/alive" in service["healthcheck"]["test"][-1]


def test_only_edge_and_egress_are_reached_from_outside():
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["edge", "egress"]


def test_everything_that_is_mounted_is_made_by_init(tmp_path):
    create_cluster(tmp_path / "state", NODES, "localhost", {})
    wanted = {path for service in SERVICES for path in mounted(service)} - {""}
    assert [path for path in sorted(wanted) if not (tmp_path / "state" / path).exists()] == []


def test_the_cluster_speaks_tls_on_every_listener_and_workers_believe_its_authority(tmp_path):
    settings = create_cluster(tmp_path / "state", NODES, "edge.example.org", {"trust_domain": "example.org"})
    for node in NODES:
        conf = (settings.state / "nats" / f"{node}.conf").read_text()
        assert conf.count('cert_file: "/tls/cert.pem"') == 2, "clients and routes"
        assert "verify: true" in conf
        assert "sync_interval: always" in conf
    assert load(settings.state, {}).servers == tuple(f"tls://{node}:4222" for node in NODES)
    assert settings.replicas == 3
    assert settings.mode == "production"


def test_init_again_keeps_every_key(tmp_path):
    state = tmp_path / "state"
    secrets = ["keys/signals.pem", "creds/broker.creds", "tls/nats-1/key.pem", "operators/operator.seed"]
    create_cluster(state, NODES, "localhost", {})
    before = {name: re.findall(r"S[UA][A-Z2-7]{56}|[A-Za-z0-9+/]{60}", (state / name).read_text()) for name in secrets}
    create_cluster(state, NODES, "localhost", {})
    after = {name: re.findall(r"S[UA][A-Z2-7]{56}|[A-Za-z0-9+/]{60}", (state / name).read_text()) for name in secrets}
    assert {name: found for name, found in before.items() if "creds" not in name} == {
        name: found for name, found in after.items() if "creds" not in name
    }
    assert before["creds/broker.creds"][-1] == after["creds/broker.creds"][-1]


def test_the_image_runs_as_nobody_in_particular_from_a_lock_with_hashes():
    dockerfile = (ROOT / "Dockerfile").read_text()
    last = dockerfile.rpartition("FROM ")[2]
    assert re.search(r"^USER [1-9]\d*$", last, re.MULTILINE)
    assert "--require-hashes -r requirements.lock" in dockerfile
    assert "index" + "-url" not in dockerfile


@pytest.mark.skipif(shutil.which("docker") is None, reason="no docker here")
def test_compose_accepts_the_file():
    if subprocess.run(["docker", "compose", "version"], capture_output=True, timeout=30, check=False).returncode:
        pytest.skip("no docker compose here")
    subprocess.run(["docker", "compose", "-f", str(ROOT / "compose.yaml"), "config", "-q"], check=True, timeout=60)

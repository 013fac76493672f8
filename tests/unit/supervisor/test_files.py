"""Verifies that a fabric's folder is private, complete, and only ever completed."""

import json
import stat

import pytest

from config.settings import SettingsError
from workers.supervisor.files import FolderInUse, create_files, first_person, owned


def test_everything_in_it_is_for_its_owner_alone(tmp_path):
    """INVARIANT: no key, seed or credential is readable by anyone but the owner of the folder.

    A file written with the process's umask, or a folder of mode 0755 around it, would break it.
    """
    settings = create_files(tmp_path / "state", {})
    assert stat.S_IMODE(settings.state.stat().st_mode) == 0o700
    secrets = [
        path for place in ("keys", "broker", "creds", "operators", "nats") for path in (settings.state / place).rglob("*") if path.is_file()
    ]
    assert len(secrets) > 20
    assert [path.name for path in secrets if path.stat().st_mode & 0o077] == []


def test_again_keeps_what_is_there(tmp_path):
    settings = create_files(tmp_path / "state", {"edge_port": 1234})
    signals, person = (settings.keys / "signals.pem").read_bytes(), first_person(settings).public
    again = create_files(tmp_path / "state", {"replicas": 3})
    assert (again.edge_port, again.replicas) == (1234, 3)
    assert (settings.keys / "signals.pem").read_bytes() == signals
    assert first_person(again).public == person


def test_a_fabric_keeps_its_trust_domain(tmp_path):
    settings = create_files(tmp_path / "state", {"trust_domain": "example.org"})
    assert settings.issuer == "https://txn-svc.example.org"
    with pytest.raises(SettingsError, match=r"fabric of example\.org"):
        create_files(tmp_path / "state", {"trust_domain": "other.org"})


def test_a_wrong_setting_changes_nothing(tmp_path):
    create_files(tmp_path / "state", {})
    before = (tmp_path / "state" / "fabric.json").read_text()
    with pytest.raises(SettingsError):
        create_files(tmp_path / "state", {"edge_host": "0.0.0.0"})
    assert (tmp_path / "state" / "fabric.json").read_text() == before


def test_a_production_fabric_has_no_key_for_svids(tmp_path):
    settings = create_files(tmp_path / "state", {"mode": "production"})
    assert not (settings.keys / "svid.pem").exists()
    assert json.loads((tmp_path / "state" / "fabric.json").read_text())["mode"] == "production"


def test_one_supervisor_at_a_time(tmp_path):
    with owned(tmp_path / "state"), pytest.raises(FolderInUse), owned(tmp_path / "state"):
        pass
    with owned(tmp_path / "state"):
        pass

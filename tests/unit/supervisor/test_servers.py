"""Verifies how many nats-servers a folder has, and that nobody moves its streams from one number to another by an option."""

import re

import pytest

from config.settings import SettingsError
from workers.supervisor.files import create_files
from workers.supervisor.servers import servers_of, write_confs
from workers.supervisor.up import Options, prepare


@pytest.mark.parametrize(
    ("stores", "asked", "count"), [((), None, 1), ((), 3, 3), (("js",), None, 1), (("n1/js", "n2/js", "n3/js"), None, 3)]
)
def test_a_folder_keeps_its_number_of_servers(tmp_path, stores, asked, count):
    for store in stores:
        (tmp_path / "nats" / store).mkdir(parents=True)
    assert servers_of(tmp_path, asked) == count


@pytest.mark.parametrize(("stores", "asked"), [(("js",), 3), (("n1/js", "n2/js", "n3/js"), 1), (("n1/js", "n2/js", "n3/js"), 5)])
def test_another_number_is_refused(tmp_path, stores, asked):
    """INVARIANT: no option makes a fabric start without the streams that its folder holds.

    A cluster begun beside the streams of a single server would break it: it starts, empty, with all the keys in place.
    """
    for store in stores:
        (tmp_path / "nats" / store).mkdir(parents=True)
    with pytest.raises(SettingsError, match="a folder of their own"):
        servers_of(tmp_path, asked)


def test_servers_of_a_cluster_know_each_other_and_share_nothing(tmp_path):
    settings = prepare(Options(tmp_path / "state"), servers=3)
    confs = [path.read_text() for path in write_confs(settings, 3)]
    assert settings.replicas == 3
    assert len({re.search(r"routes: \[.*\]", text).group() for text in confs}) == 1
    for pattern in (r"server_name: (\S+)", r'store_dir: "([^"]+)"', r"cluster: \{\n.*port: (\d+)"):
        assert len({re.search(pattern, text).group(1) for text in confs}) == 3, pattern
    assert all('host: "127.0.0.1"' in text for text in confs)


def test_a_single_server_keeps_its_place(tmp_path):
    settings = create_files(tmp_path / "state", {})
    assert write_confs(settings, 1) == (settings.state / "nats" / "server.conf",)

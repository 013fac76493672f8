import json

import pytest

from config.settings import Settings, SettingsError, load, loopback


def write(folder, **values):
    (folder / "fabric.json").write_text(json.dumps(values))
    return folder


def test_defaults_make_weft_up_run(tmp_path):
    settings = load(write(tmp_path), {})
    assert settings.mode == "development"
    assert settings.creds == tmp_path / "creds"
    assert settings.keys == tmp_path / "keys"


def test_no_fabric_is_said_with_what_to_do(tmp_path):
    with pytest.raises(SettingsError, match="weft up --dir"):
        load(tmp_path, {})


def test_broken_json_is_said(tmp_path):
    (tmp_path / "fabric.json").write_text("{")
    with pytest.raises(SettingsError, match="not JSON"):
        load(tmp_path, {})


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"replicas": 0}, "replicas"),
        ({"replicas": 6}, "replicas"),
        ({"mode": "test"}, "mode"),
        ({"unknown": 1}, "unknown"),
        ({"edge_port": 70000}, "edge_port"),
        ({"servers": ["nats://10.0.0.1:4222"]}, "tls:// unless"),
        ({"servers": ["nats://nats.example.org:4222"]}, "tls:// unless"),
        ({"servers": ["http://127.0.0.1:4222"]}, "nats://host:port"),
        ({"edge_host": "0.0.0.0"}, "certificate"),
        ({"edge_host": "edge.example.org"}, "certificate"),
        ({"edge_cert": "/a.pem"}, "come together"),
        ({"edge_limits": {"rate_per_s": 0}}, "edge_limits.rate_per_s"),
        ({"edge_limits": {"connections": 8, "connections_each": 9}}, "connections_each"),
        ({"edge_proxies": ["proxy.example.org"]}, "edge_proxies"),
        ({"oauth_limits": {"token": {"burst": 0}}}, "oauth_limits.token.burst"),
        ({"oauth_limits": {"introspection": {}}}, "oauth_limits.introspection"),
        ({"outbound_private": ["10.0.0.0/8"]}, "name the use of these networks.*upstreams"),
        ({"outbound_private": []}, "name the use"),
        ({"outbound_private": {"upstreams": ["10.0.0.1/8"]}}, "outbound_private.upstreams"),
        ({"outbound_private": {"everything": ["10.0.0.0/8"]}}, "outbound_private.everything"),
    ],
)
def test_a_wrong_setting_stops_with_a_sentence(tmp_path, values, said):
    """INVARIANT: nothing that is not loopback is ever served or spoken to without TLS, and no setting is guessed.

    Reading `edge_host` without asking for a certificate, or letting an unknown field pass, would break it.
    """
    with pytest.raises(SettingsError, match=said):
        load(write(tmp_path, **values), {})


def test_the_environment_overrides(tmp_path):
    environ = {
        "WEFT_SERVERS": "tls://nats-1:4222,tls://nats-2:4222",
        "WEFT_REPLICAS": "3",
        "WEFT_ENVIRONMENT": '{"environment": "test"}',
        "WEFT_MODE": "production",
    }
    settings = load(write(tmp_path, replicas=1), environ)
    assert settings.servers == ("tls://nats-1:4222", "tls://nats-2:4222")
    assert settings.replicas == 3
    assert settings.environment == {"environment": "test"}
    assert settings.mode == "production"


def test_a_network_is_allowed_for_the_use_that_names_it(tmp_path):
    """INVARIANT: a network that is not global may be called for the use it is named for, and for no other; unnamed, for none.

    One list for every use let whoever names a push endpoint reach what only the egress was meant to.
    """
    environ = {"WEFT_OUTBOUND_PRIVATE": '{"upstreams": ["10.1.0.0/16"]}'}
    private = load(write(tmp_path), environ).outbound_private
    assert private.model_dump() == {
        "metadata": (), "receivers": (), "transmitters": (), "servers": (), "upstreams": ("10.1.0.0/16",)
    }  # fmt: skip
    assert not any(load(write(tmp_path), {}).outbound_private.model_dump().values())


def test_an_error_quotes_no_value(tmp_path):
    with pytest.raises(SettingsError) as raised:
        load(write(tmp_path, mode="SECRET-VALUE"), {})
    assert "SECRET-VALUE" not in str(raised.value)


def test_tls_beyond_loopback_is_accepted(tmp_path):
    settings = Settings(
        state=tmp_path, servers=("tls://nats-1:4222",), edge_host="0.0.0.0", edge_cert=tmp_path / "c", edge_key=tmp_path / "k"
    )
    assert settings.servers == ("tls://nats-1:4222",)


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.1.1.1", False),
        ("a.localhost", False),
    ],
)
def test_loopback(host, is_loopback):
    assert loopback(host) is is_loopback

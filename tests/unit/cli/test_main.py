"""Verifies exit statuses and options, in processes of their own where a status is what counts."""

import argparse
import json
import os
import subprocess
import sys

import pytest

from workers.cli.main import main, parser
from workers.cli.responses import signed_set, subject_of


def weft(*arguments, **environ):
    env = {name: value for name, value in os.environ.items() if not name.startswith(("WEFT_", "SPIFFE_"))} | environ
    return subprocess.run(
        [sys.executable, "-m", "workers.cli.main", *arguments], capture_output=True, text=True, timeout=60, env=env, check=False
    )


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--help"], 0, "Exit status: 0 done, 1 refused"),
        ([], 2, "required"),
        (["nonsense"], 2, "invalid choice"),
        (["get"], 2, "required"),
        (["history", "payments"], 2, "KIND/KEY"),
        (["run", "stranger"], 2, "invalid choice"),
        (["consent", "give", "marty", "spiffe://a/b"], 2, "--for"),
        (["consent", "give", "marty", "spiffe://a/b", "--for", "soon"], 2, "30d, 12h or 15m"),
        (["consent", "give", "marty mcfly", "spiffe://a/b", "--for", "ever"], 2, "without white space"),
        (["revoke", "agent", "spiffe://a/b"], 2, "--reason"),
        (["agent", "run", "spiffe://a/b"], 2, "-- COMMAND"),
        (["invoke", "t", "--action", "a", "--purpose", "p"], 2, "run it as an agent"),
        (["get", "tool", "--dir", "/nonexistent"], 3, "run `weft up"),
        (["status", "--dir", "/nonexistent"], 3, "no fabric"),
        (["run", "gateway", "--dir", "/nonexistent"], 3, "no fabric"),
    ],
)
def test_statuses(arguments, status, said):
    done = weft(*arguments)
    assert (done.returncode, said in done.stdout + done.stderr) == (status, True), done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_a_fabric_that_is_not_there_is_3_with_the_reason(tmp_path):
    for wrong in ("servers=nats://127.0.0.1:9", "servers=[", "servers", "replicas=9", 'servers=["nats://10.0.0.1:4222"]'):
        assert main(["init", "--dir", str(tmp_path / "f"), "--set", wrong]) == 2
    (tmp_path / "f").mkdir(exist_ok=True)
    made = weft("init", "--dir", str(tmp_path / "f"))
    assert made.returncode == 0
    done = weft("--json", "get", "tool", "--dir", str(tmp_path / "f"), WEFT_SERVERS="nats://127.0.0.1:9")
    assert (done.returncode, json.loads(done.stderr)["error"]) == (3, "unreachable")
    done = weft("get", "tool", "--dir", str(tmp_path / "f"), "--as", "nobody")
    assert (done.returncode, "nobody.seed" in done.stderr) == (1, True)


def typed(*words):
    """The values of a command line; none where it is refused."""
    try:
        return list(vars(parser().parse_args(words)).values())
    except SystemExit:
        return []


@pytest.mark.parametrize("words", [("keys", "compromise"), ("revoke", "token"), ("explain",)])
def test_an_id_may_begin_with_a_hyphen(words):
    """INVARIANT: whatever id the fabric gave out can be typed: base64url begins with a hyphen once in 64 times.

    Broken by taking it for an option: the one key that was stolen could not be named.
    """
    id_ = "-" + "kQ4_x-" * 7
    reason = [] if words == ("explain",) else ["--reason", "x"]
    assert id_ in typed(*words, id_, *reason)
    assert typed(*words, "-x", *reason) == [], "a mistaken option is still one"


def test_options_may_stand_before_or_after():
    for arguments in (["--json", "get", "tool"], ["get", "--json", "tool"], ["get", "tool", "--json"]):
        assert parser().parse_args(arguments).json is True
    assert parser().parse_args(["get", "tool"]).json is False
    assert str(parser().parse_args(["--dir", "a", "record", "verify"]).dir) == "a"
    assert str(parser().parse_args(["--dir", "a", "record", "verify", "--dir", "b"]).dir) == "b"
    assert str(parser().parse_args(["--dir", "a", "record", "--dir", "b", "verify"]).dir) == "b"


def test_what_follows_the_dashes_belongs_to_the_program():
    args = parser().parse_args(["agent", "run", "--dir", "d", "spiffe://a/b", "--", "python", "x.py", "--json", "--dir", "e"])
    assert args.command == ["--", "python", "x.py", "--json", "--dir", "e"] or args.command == ["python", "x.py", "--json", "--dir", "e"]
    assert (str(args.dir), args.json) == ("d", False)


def test_the_manifest_is_read_before_anyone_is_asked(tmp_path, capsys):
    (tmp_path / "a.yaml").write_text("kind: nonsense\n")
    assert main(["apply", "-f", str(tmp_path), "--dir", "/nonexistent"]) == 1
    assert "a.yaml" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("subject", "instance", "found"),
    [
        ("a@b.org", None, {"format": "email", "email": "a@b.org"}),
        ("spiffe://d/a", None, {"format": "uri", "uri": "spiffe://d/a"}),
        (
            "spiffe://d/a",
            "i1",
            {"format": "complex", "workload": {"format": "uri", "uri": "spiffe://d/a"}, "instance": {"format": "opaque", "id": "i1"}},
        ),
    ],
)
def test_subjects_of_signals(subject, instance, found):
    assert subject_of(subject, instance) == found


def test_a_set_is_signed_as_its_profile_says(tmp_path):
    import jwt
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    from schemas.signals import SecurityEventToken

    key = generate_private_key(SECP256R1())
    (tmp_path / "k.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    args = argparse.Namespace(
        key=tmp_path / "k.pem", iss="https://risk", kid="k1", event="risk-level-change", subject="spiffe://d/a", instance=None, level="high"
    )
    token = signed_set(args, "https://fabric")
    assert jwt.get_unverified_header(token) == {"alg": "ES256", "typ": "secevent+jwt", "kid": "k1"}
    claims = jwt.decode(token, key.public_key(), ["ES256"], audience="https://fabric")
    read = SecurityEventToken.model_validate_json(json.dumps(claims))
    assert next(iter(read.events)).endswith("/caep/event-type/risk-level-change")


def test_without_its_key_no_set_is_signed(tmp_path, capsys):
    (tmp_path / "k.pem").write_text("not a key")
    arguments = ["signal", "send", "--iss", "i", "--kid", "k", "--subject", "a@b", "--dir", str(tmp_path / "f")]
    assert main(["init", "--dir", str(tmp_path / "f")]) == 0
    assert main([*arguments, "--key", str(tmp_path / "k.pem")]) == 1
    assert main([*arguments, "--key", str(tmp_path / "none.pem")]) == 1
    assert "bad_key" in capsys.readouterr().err

"""Verifies the command line as a new user meets it: a running fabric, the facts of the documentation, plain and JSON, exit statuses."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from config.settings import load
from tests.support.identities import Signer
from workers.cli.main import main

ROOT = Path(__file__).parents[2]
WEFT = (sys.executable, "-m", "workers.cli.main")
ADVISOR = "spiffe://88mph.com/agents/advisor/payments"
INVOKE = ("invoke", "fraud-check", "--action", "check", "--purpose", "process.refund")
FRAUD_CHECK = """
kind: tool
name: fraud-check
owner: payments@88mph.com
workload: spiffe://88mph.com/tools/fraud
endpoint: http://127.0.0.1:9
resource: https://fraud.88mph.com
actions: [check]
purposes: [process.refund]
object_fields: {order: /order, amount: /amount}
---
kind: relation
subject: toolgroup:payments
relation: contains
object: tool:fraud-check
"""


@pytest.fixture(scope="module")
def fabric(tmp_path_factory):
    """A folder in which `weft up` runs."""
    folder = tmp_path_factory.mktemp("cli")
    with (folder / "up.log").open("wb") as log:
        command = (*WEFT, "--json", "up", "--dir", str(folder / "f"), "--port", "0", "--edge-port", "0")
        up = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, start_new_session=True)
    try:
        assert up.stdout.readline(), (folder / "up.log").read_text()[-2000:]
        yield folder / "f"
    finally:
        up.terminate()
        up.wait(30)
        up.stdout.close()


@pytest.fixture
def weft(fabric, capsys):
    """One command: status, output, errors."""

    def run(*arguments):
        capsys.readouterr()
        try:
            status = main([*arguments, "--dir", str(fabric)])
        except SystemExit as usage:  # argparse's
            status = usage.code
        return status, *capsys.readouterr()

    return run


def documented(name):
    return re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / name).read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def facts(tmp_path_factory):
    """The facts of the documentation, and the tool that they speak of; the advisor is this very command line."""
    folder = tmp_path_factory.mktemp("facts")
    tools = [text for text in documented("attach-a-tool.md") if "egress:" not in text]
    texts = [*tools, *documented("attach-an-agent.md"), FRAUD_CHECK]
    assert len(texts) == 4
    for n, text in enumerate(texts):
        command = f'["{{python}}", "{weft_script()}", "*"]' if "advisor/main.py" in text else None
        (folder / f"{n}.yaml").write_text(re.sub(r"command: \[.*main.py\"\]", f"command: {command}", text) if command else text)
    return folder


def weft_script():
    return Path(sys.executable).with_name("weft")


def as_agent(fabric, *words):
    """`weft agent run` in a process of its own, which becomes the program."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("WEFT_", "SPIFFE_"))}
    command = [*WEFT, "agent", "run", "--dir", str(fabric), ADVISOR, "--", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=40, env=env, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.timeout(90)
def test_a_new_user_s_way_through_every_command(weft, fabric, facts):
    """Each says what was done (0), why not (1), how it is used (2) or that nobody is there (3), for people and for programs."""
    plan, apply = ("apply", "-f", str(facts), "--plan"), ("apply", "-f", str(facts), "--reason", "first")
    assert weft("status")[0] == 0
    assert weft("get", "tool")[:2] == (0, "nothing\n")
    assert weft("history", "tool/payments-processing")[0] == 1
    status, out, _ = weft(*plan)
    assert (status, "create  tool" in out, "6 to change, 0 unchanged" in out) == (0, True, True)
    assert weft("get", "tool")[:2] == (0, "nothing\n"), "a plan changes nothing"
    assert {line["action"] for line in json.loads(weft("--json", *plan)[1])["plan"]} == {"create"}
    status, out, _ = weft(*apply)
    assert (status, "applied, facts revision" in out) == (0, True)
    assert weft(*apply)[:2] == (0, "nothing changes\n0 to change, 6 unchanged\n")
    # What is true, by the names that people use.
    status, out, _ = weft("get", "agent", ADVISOR)
    assert (status, "kind: agent" in out, json.loads(weft("--json", "get", "agent", ADVISOR)[1])["fact"]["body"]["id"]) == (
        0,
        True,
        ADVISOR,
    )
    for kind, name in (("relation", "toolgroup:payments contains tool:fraud-check"), ("person", "operator"), ("tool", "fraud-check")):
        assert weft("get", kind, name)[0] == 0, name
    assert " operator " in weft("history", "tool/payments-processing")[1]
    (revision,) = json.loads(weft("--json", "history", f"agent/{ADVISOR}")[1])
    assert (revision["action"], revision["reason"]) == ("create", "first")
    # What would be decided, and what is.
    asked = ("--action", "check", "--purpose", "process.refund")
    assert weft("can", ADVISOR, "fraud-check", *asked)[0] == 0
    assert weft("can", ADVISOR, "payments-processing", "--action", "payout", "--purpose", "process.refund")[0] == 1
    assert as_agent(fabric, "weft-that-is-not-there")[0] == 1
    assert as_agent(fabric, "/bin/sh", "-c", "true")[0] == 1
    status, out, err = as_agent(fabric, weft_script(), "--json", *INVOKE, "--path", "/check", "--body", '{"order":"1","amount":"2"}')
    assert status == 0, err
    granted = json.loads(out)
    assert granted.keys() == {"txn", "endpoint", "actions", "expires_at", "explanation"}
    status, _, err = as_agent(fabric, weft_script(), *INVOKE)
    assert (status, err.startswith("weft: malformed: explanation ")) == (1, True)
    refused = err.split()[-1]
    for identifier, word in ((granted["txn"], "issued "), (granted["explanation"], "issued "), (refused, "binds the call")):
        status, out, _ = weft("explain", identifier)
        assert (status, word in out) == (0, True), out
        assert json.loads(weft("--json", "explain", identifier)[1])
    status, out, _ = weft("record", "replay", "--type", "issued")
    assert (status, "tool=fraud-check jti=" in out, f"txn={granted['txn']}" in out) == (0, True, True)
    assert json.loads(weft("--json", "record", "replay", "--type", "denied")[1].splitlines()[0])["event"]["data"]["reason"] == "malformed"
    assert weft("record", "verify")[:2] == (0, "2 decisions computed again, 0 differ\n")
    # Taking back, and giving back.
    assert weft("revoke", "transaction", granted["txn"], "--agent", ADVISOR, "--reason", "test")[0] == 0
    assert "REVOKED" in weft("explain", granted["txn"])[1]
    assert json.loads(weft("--json", "revoke", "agent", ADVISOR, "--reason", "test")[1])["rows"][0]["level"] == "quarantined"
    assert "quarantined" in weft("get", "posture")[1]
    assert weft("lift", "agent", ADVISOR, "--reason", "cleared")[0] == 0
    assert weft("lift", "user", "marty", "--reason", "cleared")[0] == 1


def test_people_of_two_providers(weft, facts, tmp_path):
    """Verifies that two providers are told apart by whoever runs the fabric: what is refused, what is warned of, whom a name means."""
    assert weft("apply", "-f", str(facts))[0] == 0
    login, partner, moved = "https://login.88mph.com", "https://login.partner.example", "https://new.88mph.com"
    jwks = json.dumps({"keys": [Signer().jwk]})

    def apply(*issuers, plan=False):
        texts = (f"kind: issuer\niss: {iss}\naud: https://fabric.88mph.com\njwks: {jwks}\n{more}" for iss, more in issuers)
        (tmp_path / "issuers.yaml").write_text("---\n".join(texts))
        return weft("apply", "-f", str(tmp_path), *(["--plan"] if plan else []))

    status, _, err = apply((login, ""), (partner, ""))
    assert (status, "share the empty namespace" in err, "same_people_as" in err) == (1, True, True)
    assert apply((login, ""), (partner, "namespace: partner\n"))[0] == 0
    status, out, _ = apply((moved, f"same_people_as: {login}\n"), plan=True)
    assert (status, f"warning: {moved} will speak for everybody whom {login} names" in out) == (0, True)
    # Whom a name means.
    carl = f"{partner}#carl"
    give = ("consent", "give", carl, ADVISOR, "--for", "1h")
    assert json.loads(weft("--json", *give)[1])["subject"] == "user:partner::carl"
    assert [row["user"] for row in json.loads(weft("--json", "consent", "list", "--user", carl)[1])] == ["partner::carl"]
    for said, why in (
        (f"{moved}#carl", "is no provider"),
        (f"{login}#partner::carl", "another provider's namespace"),
        ("else::carl", "no provider has"),
    ):
        status, _, err = weft("consent", "give", said, ADVISOR, "--for", "1h")
        assert (status, why in err) == (1, True), err
    assert weft("revoke", "user", carl, "--reason", "test")[:2] == (0, "revoked user partner::carl\n")
    assert "no provider calls anybody so" in weft("revoke", "user", "else::carl", "--reason", "test")[1]
    assert weft("lift", "user", carl, "--reason", "cleared")[0] == weft("lift", "user", "else::carl", "--reason", "cleared")[0] == 0
    assert weft("consent", "withdraw", carl, ADVISOR)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("can", "nonsense", "t", "--action", "a", "--purpose", "p"), 2, "agent: the scheme"),
        (("get", "agent", "spiffe://UPPER/"), 2, "no SPIFFE ID"),
        (("get", "agent", "spiffe://88mph.com/agents/none"), 1, "not_found"),
        (("record", "replay", "--type", "bogus"), 2, "invalid choice"),
        (("explain", "nothing"), 1, "not_found"),
        (("revoke", "token", "abc", "--reason", "x"), 1, "no token abc"),
        (("revoke", "agent", "spiffe://other.com/x", "--reason", "y"), 1, "not_authorized"),
        (("status", "--as", "nobody"), 1, "nobody.seed"),
        (("signal", "send", "--key", "/none", "--iss", "i", "--kid", "k", "--subject", ADVISOR), 1, "no_key"),
        (("apply", "-f", "/nonexistent"), 1, "not a folder"),
    ],
)
def test_what_is_refused_says_why(weft, arguments, status, said):
    plain = weft(*arguments)
    assert (plain[0], said in plain[2]) == (status, True), plain
    told = weft("--json", *arguments)
    assert told[0] == status
    if "usage:" not in told[2]:  # argparse's own
        assert (json.loads(told[2])["exit"], said in told[2]) == (status, True)


def test_the_documented_tool_behind_the_egress_and_its_key(weft, fabric, tmp_path):
    """Verifies the commands of docs/attach-a-tool.md and docs/operations.md about keys; no output holds the key."""
    (text,) = [text for text in documented("attach-a-tool.md") if "egress:" in text]
    key, backup = tmp_path / "key.txt", tmp_path / "vault.json"
    (tmp_path / "facts").mkdir()
    (tmp_path / "facts" / "weather.yaml").write_text(text.replace("http://127.0.0.1:8444", load(fabric).egress))
    key.write_text("sk-live-of-the-weather\n")
    apply = ("apply", "-f", str(tmp_path / "facts"))
    told = [weft(*apply), weft("vault", "put", "weather-key", "--host", "api.weather.example", "--from", str(key)), weft(*apply)]
    assert [status for status, _, _ in told] == [1, 0, 0]
    assert "weft vault put weather-key --host api.weather.example" in told[0][2]
    told += [weft("vault", "rotate", "weather-key", "--from", str(key)), weft("vault", "use", "weather-key", "--version", "1")]
    told += [weft("--json", "vault", "list"), weft("vault", "backup", str(backup)), weft("vault", "restore", str(backup))]
    assert [status for status, _, _ in told[3:]] == [0] * 5
    (listed,) = json.loads(told[5][1])
    assert (listed["current"], [version["version"] for version in listed["versions"]]) == (1, [1, 2])
    told += [weft("vault", "delete", "weather-key"), weft("vault", "put", "weather-key", "--host", "x", "--from", str(tmp_path / "none"))]
    assert [status for status, _, _ in told[8:]] == [1, 1]
    told += [weft("keys", "list"), weft("keys", "rotate", "--publish", "1")]
    kid = json.loads(weft("--json", "keys", "list")[1])[0]["kid"]
    told += [weft("keys", "compromise", kid, "--reason", "a drill"), weft("keys", "compromise", "none", "--reason", "x")]
    assert [status for status, _, _ in told[10:]] == [0, 0, 0, 1]
    assert not any("sk-live" in out + err for _, out, err in told)
    assert b"sk-live" not in backup.read_bytes()

"""`weft policy test`: what cases may say, what they find, and the example of the documentation."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from workers.cli.main import main
from workers.common.manifest import load

EXAMPLES = Path(__file__).parents[3] / "docs/examples"
SENDER = {
    "kind": "transmitter",
    "iss": "https://risk.example",
    "aud": "a",
    "jwks": {"keys": []},
    "trust": {"*": "high"},
    "ceiling": {"namespaces": ["spiffe://88mph.com"], "strongest": "quarantine"},
}
POLICY = {"kind": "response", "name": "p", "rules": [{"name": "high", "confidence": "high", "response": "quarantine", "scope": "agent"}]}
SAID = {"at": 0, "from": "https://risk.example", "level": "high", "workload": "spiffe://88mph.com/agents/a"}
CASE = {"case": "high", "signals": [SAID], "expect": {"answers": ["quarantine"]}}


def tried(tmp_path: Path, capsys: pytest.CaptureFixture[str], *documents: dict[str, Any]) -> tuple[int, str]:
    path = tmp_path / "p.test.yaml"
    path.write_text(yaml.safe_dump_all(documents))
    status = main(["policy", "test", str(path)])
    told = capsys.readouterr()
    return status, told.out + told.err


def test_the_example_of_the_documentation_holds(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--json", "policy", "test", str(EXAMPLES / "responses.test.yaml")]) == 0
    assert all(row["differs"] == [] for row in json.loads(capsys.readouterr().out))


def test_people_of_several_providers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Verifies that a case knows the providers among its facts, and names their people as signals do."""
    providers = [
        {"kind": "issuer", "iss": f"https://{name}.example", "aud": "a", "jwks": {"keys": []}, "namespace": namespace}
        for name, namespace in (("login", ""), ("partner", "partner"))
    ]
    sender = {**SENDER, "people": ["https://partner.example"]}
    policy = {**POLICY, "rules": [{**POLICY["rules"][0], "scope": "user"}]}
    said = [
        {"at": 0, "from": SENDER["iss"], "level": "high", "user": user} for user in ("https://login.example#m", "https://partner.example#m")
    ]
    standing = {"scope": "user", "value": "partner::m", "level": "quarantined"}
    case = {"case": "both", "signals": said, "expect": {"answers": ["waits:quarantine", "quarantine"], "postures": [standing]}}
    assert tried(tmp_path, capsys, *providers, sender, policy, case)[0] == 0


def test_cases_are_no_facts(tmp_path: Path) -> None:
    for file in EXAMPLES.iterdir():
        shutil.copy(file, tmp_path)
    assert [change.key for change in load(tmp_path)] == ["agents"]


def test_a_case_that_differs_says_how_and_ends_with_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """INVARIANT: a policy that answers otherwise than its cases say fails the test of it.

    Broken by comparing nothing: every policy would pass.
    """
    standing = {"scope": "agent", "value": SAID["workload"], "level": "narrowed"}
    wrong = {"case": "wrong", "signals": [SAID], "expect": {"answers": ["narrow"], "postures": [standing]}}
    status, told = tried(tmp_path, capsys, SENDER, POLICY, CASE, wrong)
    assert status == 1
    assert "ok   high" in told
    assert "signal 1: expected narrow, got quarantine (rule high of p)" in told
    assert "expected level narrowed, got quarantined" in told
    assert "2 cases, 1 differ" in told
    assert tried(tmp_path, capsys, SENDER, POLICY, CASE)[0] == 0


BAD: dict[str, tuple[list[dict[str, Any]], str]] = {
    "no policy": ([SENDER, CASE], "needs a response policy and a transmitter"),
    "no case": ([SENDER, POLICY], "holds no case"),
    "another sender": ([SENDER, POLICY, {**CASE, "signals": [{**SAID, "from": "https://else"}]}], "no transmitter of this file"),
    "a field that is none": ([SENDER, POLICY, {**CASE, "expects": {}}], "expects"),
    "a level that is none": ([SENDER, POLICY, {**CASE, "signals": [{**SAID, "level": "extreme"}]}], "signals.0.level"),
    "no such event": ([SENDER, POLICY, {**CASE, "signals": [{**SAID, "event": "credential-change"}]}], "signal 1"),
    "about nobody": ([SENDER, POLICY, {**CASE, "signals": [{"at": 0, "from": SAID["from"], "level": "high"}]}], "signal 1"),
    "a bad policy": ([SENDER, {**POLICY, "rules": []}, CASE], "it holds no rule"),
    "too few answers": ([SENDER, POLICY, {**CASE, "signals": [SAID, {**SAID, "at": 1}]}], "1 answers are expected of 2 signals"),
}


@pytest.mark.parametrize(("documents", "told"), BAD.values(), ids=BAD)
def test_what_is_wrong_with_a_file_is_said(
    documents: list[dict[str, Any]], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, said = tried(tmp_path, capsys, *documents)
    assert status == 1
    assert told in said


RULE = {"name": "r", "confidence": "medium", "response": "quarantine"}
FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "a count without a window": ({"count": 3}, "count and within_s belong together"),
    "a window without a count": ({"within_s": 60}, "count and within_s belong together"),
    "limits of another answer": ({"depth": 1}, "belong to narrow"),
    "narrow to everything": ({"response": "narrow"}, "narrow needs actions"),
    "needs of another answer": ({"needs": "approval"}, "needs belongs to step_up"),
    "what does not last": ({"response": "revoke", "duration_s": 60}, "revoke does not last"),
    "a namespace without its scope": ({"namespace": "spiffe://88mph.com/a"}, "belongs to scope namespace"),
    "scope namespace without one": ({"scope": "namespace"}, "scope namespace needs"),
    "a foreign namespace": ({"namespaces": ["spiffe://else.example/a"]}, "not in this trust domain"),
    "a posture of a key": ({"scope": "key"}, "a key has no posture"),
    "a pattern that is none": ({"events": ["a*b"]}, "events: each is a URI"),
    "no transmitter at all": ({"transmitters": []}, "transmitters: each is a URI"),
}


@pytest.mark.parametrize(("change", "told"), FAULTS.values(), ids=FAULTS)
def test_a_rule_that_makes_no_sense_is_refused_in_words(
    change: dict[str, Any], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, said = tried(tmp_path, capsys, SENDER, {**POLICY, "rules": [{**RULE, **change}]}, CASE)
    assert status == 1
    assert "rule r: " in said
    assert told in said


def test_a_rule_that_never_governs_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules = [RULE, {**RULE, "name": "dead", "events": ["https://e"]}]
    status, said = tried(tmp_path, capsys, SENDER, {**POLICY, "rules": rules}, CASE)
    assert status == 1
    assert "rule dead: rule r before it, of the same confidence, always applies instead" in said

"""Tries one planted bug: plants it in a copy of the tree and runs its tests there.

The copy comes before the installed distributions on PYTHONPATH, so the checkout is never touched.  A mutant is killed by a test that
ran and failed an assertion, and by nothing else: a module that no longer imports, a fixture that no longer starts, an exception that
nobody expected or a hang would "notice" any change and prove nothing about the promise.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from xml.etree import ElementTree as ET  # of our own pytest's report

from tests.mutants.planted import DoesNotFit, Mutant

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("config", "schemas", "streams", "workers", "sdk", "tests", "bench", "pyproject.toml")
ASSERTED = ("AssertionError", "assert ", "Failed: DID NOT RAISE")  # how pytest's report begins for a test that judged
DEADLINE_S = 120
PASSED, TESTS_FAILED = 0, 1  # pytest's exit statuses


class Verdict(StrEnum):
    """How a trial ended."""

    KILLED = "killed"
    SURVIVED = "SURVIVED"
    INVALID = "INVALID"  # it proves nothing, which counts as surviving


@dataclass(frozen=True, slots=True)
class Outcome:
    """`detail`: the test that noticed, or why nothing was proved."""

    verdict: Verdict
    detail: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Report:
    """What pytest said."""

    status: int | None  # none: given up at the deadline
    failed: tuple[tuple[str, str], ...]  # test and message, of tests that ran
    broken: tuple[str, ...]  # errors outside a test's body: collection, fixtures
    ran: int
    output: str


def trial(mutant: Mutant) -> Outcome:
    """Plant it and judge what its tests say."""
    began = time.monotonic()
    try:
        with copy_of_tree() as tree:
            mutant.plant(tree)
            verdict, detail = judge(run(tree, mutant.tests, "--exitfirst"))
    except DoesNotFit as error:
        verdict, detail = Verdict.INVALID, str(error)
    return Outcome(verdict, detail, time.monotonic() - began)


def judge(report: Report) -> tuple[Verdict, str]:
    """Killed only by an assertion that failed in a test that ran."""
    if report.status is None:
        return Verdict.INVALID, f"no end within {DEADLINE_S} s"
    if report.broken:
        return Verdict.INVALID, f"broke outside of a test: {report.broken[0]}"
    if report.status == PASSED and report.ran:
        return Verdict.SURVIVED, f"{report.ran} tests passed"
    for test, message in report.failed:
        if report.status == TESTS_FAILED and message.startswith(ASSERTED):
            return Verdict.KILLED, test
    if report.failed:
        return Verdict.INVALID, f"{report.failed[0][0]} did not assert: {report.failed[0][1].splitlines()[0]}"
    return Verdict.INVALID, f"no test ran, status {report.status}: {report.output[-500:]}"


def baseline(mutants: Sequence[Mutant]) -> Report:
    """All their tests over an unchanged copy.  What fails there fails by itself, and would kill every mutant for nothing."""
    tests = dict.fromkeys(test for mutant in mutants for test in mutant.tests)
    with copy_of_tree() as tree:
        return run(tree, tuple(tests), deadline_s=DEADLINE_S * 3)


@contextmanager
def copy_of_tree() -> Iterator[Path]:
    """What the tests import and read, in a folder of its own.  Compiled modules come along: they are valid by time and size."""
    with tempfile.TemporaryDirectory(prefix="weft-mutant-") as folder:
        tree = Path(folder)
        for name in COPIED:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
            copy(ROOT / name, tree / name)
        yield tree


def run(tree: Path, tests: Sequence[str], *options: str, deadline_s: float = DEADLINE_S) -> Report:
    """These tests in that tree; the same random examples every time."""
    report = tree / "report.xml"
    fixed = ("-q", "--no-header", "-p", "no:cacheprovider", "--hypothesis-seed=0", f"--junit-xml={report}")
    paths = os.pathsep.join((str(tree), str(tree / "sdk" / "src")))
    process = subprocess.Popen(  # the command is ours
        [sys.executable, "-m", "pytest", *fixed, *options, *tests],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": paths, "PYTEST_ADDOPTS": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=deadline_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # with the servers that its fixtures started
        process.communicate()
        return Report(None, (), (), 0, "")
    return read_report(report, process.returncode, output)


def read_report(path: Path, status: int, output: str) -> Report:
    """JUnit XML as pytest writes it: `failure` in a test's body, `error` outside of one."""
    cases = list(ET.parse(path).iter("testcase")) if path.exists() else []
    failed = tuple((case.get("name", ""), found.get("message", "")) for case in cases for found in case.iter("failure"))
    broken = tuple(f"{case.get('name')}: {found.get('message')}" for case in cases for found in case.iter("error"))
    skipped = sum(1 for case in cases for _ in case.iter("skipped"))
    return Report(status, failed, broken, len(cases) - len(broken) - skipped, output)

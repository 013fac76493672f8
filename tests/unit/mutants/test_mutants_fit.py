"""Every planted bug still fits the code, and the trial that judges them is not fooled.

A mutant whose text has moved would otherwise be noticed only when `make mutants` runs.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

from tests.mutants.planted import DoesNotFit, Mutant, load
from tests.mutants.trial import PASSED, TESTS_FAILED, Report, Verdict, judge

ROOT = Path(__file__).parents[3]
README = (ROOT / "tests/mutants/README.md").read_text()
MUTANTS = load()


@cache
def functions_of(path: Path) -> frozenset[str]:
    """The tests of a file."""
    nodes = ast.walk(ast.parse(path.read_text()))
    return frozenset(node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_it_fits(mutant: Mutant) -> None:
    assert (ROOT / mutant.file).read_text().count(mutant.old) == 1
    assert mutant.new != mutant.old
    for test in mutant.tests:
        path, _, rest = test.partition("::")
        assert (ROOT / path).is_file(), test
        assert rest == "" or rest.partition("[")[0] in functions_of(ROOT / path), test


@pytest.mark.parametrize("mutant", [m for m in MUTANTS if m.file.endswith(".py")], ids=lambda mutant: mutant.name)
def test_what_is_planted_is_still_a_program(mutant: Mutant) -> None:
    text = (ROOT / mutant.file).read_text().replace(mutant.old, mutant.new)
    compile(text, mutant.file, "exec")


def test_each_has_a_name_of_its_own_and_stands_in_the_readme() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    assert [mutant.name for mutant in MUTANTS if f"`{mutant.name}`" not in README] == []


def test_every_promise_and_every_step_of_the_demo_with_an_attack_has_one() -> None:
    breaks = " ".join(mutant.breaks for mutant in MUTANTS)
    for wanted in (*(f"P{number}" for number in range(1, 9)), *(f"demo {step}" for step in range(1, 6))):
        assert wanted in breaks


def test_a_text_that_is_not_there_once_does_not_fit(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text("a = 1\na = 1\nb = 2\n")
    with pytest.raises(DoesNotFit):
        Mutant("twice", "", "module.py", "a = 1", "a = 2", ()).plant(tmp_path)
    Mutant("once", "", "module.py", "b = 2", "b = 3", ()).plant(tmp_path)
    assert (tmp_path / "module.py").read_text() == "a = 1\na = 1\nb = 3\n"


REPORTS = {
    "an assertion": (Report(TESTS_FAILED, (("t", "AssertionError: x"),), (), 1, ""), Verdict.KILLED),
    "an exception that did not come": (Report(TESTS_FAILED, (("t", "Failed: DID NOT RAISE <class 'X'>"),), (), 1, ""), Verdict.KILLED),
    "no failure": (Report(PASSED, (), (), 9, ""), Verdict.SURVIVED),
    "no test": (Report(5, (), (), 0, ""), Verdict.INVALID),
    "nothing selected": (Report(PASSED, (), (), 0, ""), Verdict.INVALID),
    "a module that does not import": (Report(2, (), ("collection: ImportError",), 0, ""), Verdict.INVALID),
    "a fixture that breaks": (Report(TESTS_FAILED, (), ("t: failed on setup",), 0, ""), Verdict.INVALID),
    "an exception that nobody expected": (Report(TESTS_FAILED, (("t", "NameError: x"),), (), 1, ""), Verdict.INVALID),
    "a hang": (Report(TESTS_FAILED, (("t", "Failed: Timeout (>120.0s) from pytest-timeout."),), (), 1, ""), Verdict.INVALID),
    "no end": (Report(None, (), (), 0, ""), Verdict.INVALID),
}


@pytest.mark.parametrize("what", REPORTS)
def test_only_an_assertion_kills(what: str) -> None:
    """INVARIANT: a mutant counts as killed only where a test ran and an assertion of it failed.

    Counting every exit status but 0 would break it: a mutant that does not import would prove each promise at once.
    """
    report, verdict = REPORTS[what]
    assert judge(report)[0] is verdict


def test_every_test_file_of_the_readme_holds_an_invariant() -> None:
    named = {
        word.strip("`") for line in README.splitlines() for word in line.replace("<br>", " ").split() if word.strip("`").endswith(".py")
    }
    assert len(named) > 20
    assert [path for path in sorted(named) if "INVARIANT:" not in (ROOT / path).read_text()] == []

"""Every planted bug still fits: a mutant whose text has moved would be reported as an error only when `make mutants` runs."""

from pathlib import Path

import pytest

from tests.mutants.__main__ import load

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("mutant", load(), ids=lambda mutant: mutant.name)
def test_its_text_occurs_once_and_its_tests_exist(mutant):
    assert (ROOT / mutant.file).read_text().count(mutant.old) == 1
    assert mutant.new != mutant.old
    for test in mutant.tests:
        assert (ROOT / test.partition("::")[0]).exists()


def test_every_promise_has_one():
    breaks = " ".join(mutant.breaks for mutant in load())
    for number in range(1, 9):
        assert f"P{number}" in breaks

"""Policies that would end the process that reads them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from workers.common.decision.cedar import PolicyError
from workers.common.decision.nesting import MAX_CHAIN, MAX_DEPTH, too_deep
from workers.common.decision.vocabulary import faults

HEAD = "permit(principal, action, resource) when { "
HOSTILE = {
    "parentheses": HEAD + "(" * 15_000 + "true" + ")" * 15_000 + " };",
    "sets": HEAD + "[" * 15_000 + "]" * 15_000 + " == [] };",
    "records": HEAD + "{a:" * 15_000 + "1" + "}" * 15_000 + " == {} };",
    "sums": HEAD + "1 == " + "+".join("1" * 30_000) + " };",
    "members": HEAD + "context" + ".a" * 30_000 + " };",
    "conditions": HEAD + "if true then " * 2_700 + "true" + " else true" * 2_700 + " };",
    "conjunctions": HEAD + " && ".join(["true"] * 900) + " };",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_policy_that_is_too_deep_is_refused_and_read_by_nobody(name: str) -> None:
    """INVARIANT: no policy text ends the process that reads it; whatever Cedar cannot read is an error, which denies.

    Broken by handing it any text: it recurses, and a stack that runs out is a signal and no exception.
    """
    code = f"from tests.unit.decision.test_nesting import HOSTILE, outcome; raise SystemExit(outcome(HOSTILE[{name!r}]))"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def outcome(text: str) -> int:
    """0: refused."""
    try:
        faults(text)
    except PolicyError:
        return 0
    return 1


def test_strings_and_comments_hold_what_they_like() -> None:
    text = f'{HEAD}context.purpose == "{"(" * 500}\\"{"." * 2000}" }}; // {"[" * 500}\n' * 3
    assert not too_deep(text)
    assert not too_deep((HEAD + "true };") * 1_000)
    assert not too_deep(HEAD + "(" * (MAX_DEPTH - 1) + "true" + ")" * (MAX_DEPTH - 1) + " };")
    assert too_deep(HEAD + "(" * MAX_DEPTH + "true" + ")" * MAX_DEPTH + " };")
    assert too_deep(HEAD + "1 == 1" + "+1" * (MAX_CHAIN + 1) + " };")

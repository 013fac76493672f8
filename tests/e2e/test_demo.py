"""Verifies that the demonstration shows what it says, and that each of its steps can fail: a demo that cannot fail proves nothing."""

import os
import signal
import subprocess
import sys

import pytest

DEADLINE_S = 170


def play(*arguments):
    process = subprocess.Popen(
        [sys.executable, "-m", "workers.cli.main", "demo", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        out, _ = process.communicate(timeout=DEADLINE_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, _ = process.communicate()
        pytest.fail(f"the demo did not end:\n{out[-3000:]}")
    return process.returncode, out


@pytest.mark.timeout(DEADLINE_S + 10)
@pytest.mark.parametrize("fabric", [(), ("--count", "2", "--servers", "3")], ids=["one of each", "two of each on three servers"])
def test_every_step_is_as_expected(fabric):
    status, out = play(*fabric)
    assert status == 0, out
    assert "FAIL" not in out
    for number in range(1, 7):
        assert f"\n{number}. " in out


@pytest.mark.timeout(DEADLINE_S + 10)
@pytest.mark.parametrize("step", range(1, 7))
def test_a_fault_planted_in_a_step_is_seen_in_that_step(step):
    status, out = play("--break", str(step))
    assert status == 1, out
    before, _, rest = out.partition(f"\n{step}. ")
    own = rest.partition(f"\n{step + 1}. ")[0]
    assert "FAIL" not in before, out
    assert "FAIL" in own, out

"""What a program is before it runs: a script is its interpreter, as the kernel will say."""

import subprocess
import sys

import pytest

from workers.issuer.launch import LaunchRefused, as_executed

SHOWS = "import pathlib, sys; sys.stdout.write(pathlib.Path('/proc/self/cmdline').read_text())"


def script(path, first, body="exit\n"):
    path.write_text(f"{first}\n{body}")
    path.chmod(0o755)
    return str(path)


def test_a_binary_is_itself():
    assert as_executed((sys.executable, "x.py", "a")) == (sys.executable, "x.py", "a")


@pytest.mark.parametrize("first", [f"#!{sys.executable}", f"#! {sys.executable} -S", f"#!{sys.executable}\t-s -S "])
def test_a_script_is_what_the_kernel_makes_of_it(tmp_path, first):
    """Held against the kernel's own word, which is what the issuer compares."""
    program = script(tmp_path / "p", first, SHOWS + "\n")
    if "-s -S" in first:  # one argument, as the kernel hands it over; no interpreter takes that one
        assert as_executed((program, "a")) == (sys.executable, "-s -S", program, "a")
        return
    done = subprocess.run([program, "a", "b c"], capture_output=True, text=True, check=True)
    assert as_executed((program, "a", "b c")) == tuple(done.stdout.split("\0")[:-1])


def test_env_is_looked_up_as_it_would(tmp_path, monkeypatch):
    program, inner = script(tmp_path / "p", "#!/usr/bin/env inner"), script(tmp_path / "inner", f"#!{sys.executable}")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert as_executed((program,)) == (sys.executable, inner, program)
    with pytest.raises(LaunchRefused, match="is no program"):
        as_executed((script(tmp_path / "q", "#!/usr/bin/env nothing-of-this-name"),))


def test_a_script_of_itself_ends(tmp_path):
    program = str(tmp_path / "p")
    script(tmp_path / "p", f"#!{program}")
    assert len(as_executed((program,))) < 10


def test_what_cannot_be_read_is_for_execve_to_refuse(tmp_path):
    assert as_executed((str(tmp_path / "none"),)) == (str(tmp_path / "none"),)

"""What the repository must not hold: package-index addresses, names of machines that built it, and notes to oneself."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Spelled in pieces, so that this file does not find itself.
FORBIDDEN = re.compile(
    "|".join(
        [
            "/" + r"work/",
            "index" + r"-url\s*=\s*http",
            r"https?://[^\s\"']*/" + "simple/",
            "pypi" + r"\.org/simple",
            "XX" + "X",
            "FIX" + "ME",
        ]
    )
)
MAY = {"requirements.lock"}


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def test_no_forbidden_words():
    found = []
    for path in tracked():
        text = path.read_bytes()
        if b"\0" in text or path.name in MAY:
            continue
        found += [
            f"{path.relative_to(ROOT)}:{number}" for number, line in enumerate(text.decode().splitlines(), 1) if FORBIDDEN.search(line)
        ]
    assert found == []


def test_the_lock_pins_every_file_by_hash_and_names_no_index():
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    names = [line for line in lines if line and not line.startswith((" ", "#"))]
    assert names
    assert all("==" in line for line in names)
    assert not any("://" in line for line in lines)
    assert sum("--hash=sha256:" in line for line in lines) >= len(names)


def test_no_credential_is_checked_in():
    """INVARIANT: no private key, seed or credentials file is part of the repository.

    Adding a state folder, a PEM private key or an nkey seed to a test's data would break it.
    """
    seed = re.compile(rb"\bS[UAOXNC][A-Z2-7]{56}\b|-----BEGIN " + rb"(EC |RSA )?PRIVATE KEY-----")
    found = [str(path.relative_to(ROOT)) for path in tracked() if seed.search(path.read_bytes())]
    assert found == []

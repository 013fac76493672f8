"""Commands that the documents tell people to type exist, with those options."""

import re
import shlex
from pathlib import Path

import pytest

from workers.cli.main import parser

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"```(?:sh|console|bash|shell)\n(.*?)```", re.DOTALL)


def commands(page: Path, program: str) -> list[str]:
    """Lines of shell blocks that start with the program, continuation lines joined."""
    lines = [
        line.strip().removeprefix("$ ") for block in BLOCK.findall(page.read_text()) for line in block.replace("\\\n", " ").splitlines()
    ]
    return [line.partition(" #")[0].strip() for line in lines if re.match(rf"(\.venv/bin/)?{program}\s", line)]


WEFT = [(page, line) for page in PAGES for line in commands(page, "weft")]
MAKE = [(page, line) for page in PAGES for line in commands(page, "make")]


@pytest.mark.parametrize(("page", "line"), WEFT, ids=[f"{page.stem}:{line}" for page, line in WEFT])
def test_weft_commands_parse(page, line):
    words = re.split(r"\s(?:\||&&|>|&)", line)[0]
    parser().parse_args(shlex.split(words)[1:])


@pytest.mark.parametrize(("page", "line"), MAKE, ids=[f"{page.stem}:{line}" for page, line in MAKE])
def test_make_targets_exist(page, line):
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {word for word in line.split()[1:] if "=" not in word and not word.startswith("-")} <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"

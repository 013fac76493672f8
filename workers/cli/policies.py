"""`weft policy test`: a response policy tried on cases, without a fabric.  For a person's terminal, and for the checks of a repository."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from workers.cli.common import Commands, command, group
from workers.cli.exits import Exit, Stop
from workers.cli.output import Output


def add(commands: Commands) -> None:
    """Registers them."""
    inner = group(commands, "policy", "Response policies: what signals are answered with.")
    test = command(inner, "test", "Play cases against response policies; exit status 1 when one differs.", run_test)
    test.add_argument("files", nargs="+", type=Path, metavar="FILE", help="YAML documents: docs/responding.md says what they hold")


async def run_test(args: argparse.Namespace, out: Output) -> int:
    rows = [row for path in args.files for row in _tried(path)]
    failed = [row for row in rows if row["differs"]]
    lines = []
    for row in rows:
        lines.append(f"{'FAIL' if row['differs'] else 'ok  '} {row['case']}")
        lines += [f"     {text}" for text in row["differs"]]
    out.value(rows, "\n".join([*lines, f"{len(rows)} cases, {len(failed)} differ"]))
    return Exit.REFUSED if failed else Exit.DONE


def _tried(path: Path) -> list[dict[str, Any]]:
    from workers.common.manifest import ManifestError
    from workers.common.responserules import faults
    from workers.signals.policy.cases import load
    from workers.signals.policy.simulate import compare, play

    try:
        suite = load(path)
        for policy in suite.policies:
            found = "; ".join(faults(policy, suite.trust_domain))
            if found:
                raise Stop(Exit.REFUSED, "policy_invalid", f"response/{policy.name}: {found}")
        played = [(case, play(suite, case)) for case in suite.cases]
    except ManifestError as error:
        raise Stop(Exit.REFUSED, "cases_invalid", str(error)) from None
    return [
        {
            "file": path.name,
            "case": case.case,
            "answers": [list(answers) for answers in story.answers],
            "because": story.because,
            "differs": list(compare(case, story)),
        }
        for case, story in played
    ]

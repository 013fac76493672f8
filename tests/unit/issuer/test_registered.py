"""Which process is whom, as a table."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from schemas.facts import Agent, Charter, Selectors, Tool
from workers.issuer.kernel import Process
from workers.issuer.registered import FactRegistrations, Host, Launch, identities_of, may_launch

ME = "spiffe://88mph.com/agents/me"
EXE = os.path.realpath(sys.executable)
HOST = Host(sys.executable, 1000, "boot")
ARGV = (sys.executable, "/srv/agent.py", "--fast")
PROCESS = Process(pid=7, start_ticks=70, uid=1000, gid=100, path=EXE, sha256="a" * 64, argv=ARGV)


class Table:
    def __init__(self, *rows: tuple[str, Selectors]) -> None:
        self.rows = rows

    def all(self) -> tuple[tuple[str, Selectors], ...]:
        return self.rows


def of(selectors: dict[str, Any], process: Process = PROCESS, launch: Launch | None = None) -> list[str]:
    return identities_of(process, launch, Table((ME, Selectors(**selectors))), HOST)


@pytest.mark.parametrize(
    ("selectors", "match"),
    [
        ({"uid": 1000}, True),
        ({"uid": 1001}, False),
        ({"gid": 100}, True),
        ({"gid": 101}, False),
        ({"path": EXE}, True),
        ({"path": EXE + " (deleted)"}, False),
        ({"sha256": "a" * 64}, True),
        ({"sha256": "b" * 64}, False),
        ({"uid": 1000, "path": EXE, "sha256": "a" * 64}, True),
        ({"uid": 1000, "path": EXE, "sha256": "b" * 64}, False),
        ({}, False),
        ({"command": ARGV}, False),
        ({"uid": 1000, "command": ARGV}, False),
    ],
    ids=str,
)
def test_by_what_runs(selectors: dict[str, Any], match: bool) -> None:
    assert of(selectors) == ([ME] if match else [])


def test_empty_selectors_match_nothing() -> None:
    """INVARIANT: an agent that was registered without selectors is no process at all.

    "Every selector given matches" holds vacuously for none, and would make every program of the machine that agent.
    """
    assert of({}) == []
    assert of({}, launch=Launch(ME, ARGV)) == []


COMMANDS: list[tuple[tuple[str, ...], tuple[str, ...], bool]] = [
    (ARGV, ARGV, True),
    (("{python}", "/srv/agent.py", "--fast"), ARGV, True),
    (("{python}", "/srv/agent.py", "*"), ARGV, True),
    (("{python}", "*", "--fast"), ARGV, True),
    (("{python}", "/srv/agent.py", "*"), (*ARGV, "more"), True),
    (("{python}", "/srv/agent.py", "*"), ARGV[:2], True),
    (("{python}", "/srv/agent.py"), ARGV, False),
    (("{python}", "/srv/other.py", "*"), ARGV, False),
    (("{python}", "*", "--fast"), (ARGV[0], "a", "b", "--fast"), False),
    (("{python}",), ARGV, False),
    (("*",), (sys.executable,), False),
    (("*", "/srv/agent.py", "*"), ARGV, False),
    (("{python}", "/srv/agent.py", "*"), ("/opt/python", "/srv/agent.py"), False),
    (("{python}", "/srv/agent.py", "*"), ("python", "/srv/agent.py"), False),
    (("/bin/sh", "-c", "*"), ("/bin/sh", "-c", "true"), True),
    ((), ARGV, False),
]


@pytest.mark.parametrize(("pattern", "argv", "match"), COMMANDS, ids=str)
def test_commands(pattern: tuple[str, ...], argv: tuple[str, ...], match: bool) -> None:
    table = Table((ME, Selectors(command=pattern)))
    assert may_launch(Launch(ME, argv), PROCESS, table, HOST) is match
    running = replace(PROCESS, argv=argv, path=os.path.realpath(argv[0]))
    assert identities_of(running, Launch(ME, argv), table, HOST) == ([ME] if match else [])


def test_python_may_have_another_name_in_its_folder(tmp_path: Path) -> None:
    for name in ("python", "python3"):
        (tmp_path / name).symlink_to(EXE)
    host = Host(str(tmp_path / "python"), 1000, "boot")
    table = Table((ME, Selectors(command=("{python}", "x"))))
    assert may_launch(Launch(ME, (str(tmp_path / "python3"), "x")), PROCESS, table, host)
    assert not may_launch(Launch(ME, (EXE, "x")), PROCESS, table, host)


@pytest.mark.parametrize(
    ("selectors", "caller", "match"),
    [
        ({}, {}, True),
        ({}, {"uid": 1001}, False),
        ({"uid": 1001}, {"uid": 1001}, True),
        ({"uid": 1001}, {}, False),
        ({"gid": 7}, {}, False),
        ({"gid": 7}, {"gid": 7}, True),
    ],
)
def test_the_calling_user(selectors: dict[str, Any], caller: dict[str, Any], match: bool) -> None:
    """INVARIANT: a command registered without a uid is the issuer's own user's alone.

    Reading an absent uid as "anyone" would let every user of the machine start programs as this agent.
    """
    table = Table((ME, Selectors(command=ARGV, **selectors)))
    assert may_launch(Launch(ME, ARGV), replace(PROCESS, **caller), table, HOST) is match
    assert bool(identities_of(replace(PROCESS, **caller), Launch(ME, ARGV), table, HOST)) is match


@pytest.mark.parametrize(
    "now",
    [
        {"argv": (*ARGV, "more")},
        {"argv": ()},
        {"path": "/bin/sh"},
        {"sha256": "b" * 64},
    ],
    ids=str,
)
def test_a_launched_process_counts_while_it_is_that_program(now: dict[str, Any]) -> None:
    table = Table((ME, Selectors(command=("{python}", "/srv/agent.py", "*"), sha256="a" * 64)))
    assert identities_of(PROCESS, Launch(ME, ARGV), table, HOST) == [ME]
    assert identities_of(replace(PROCESS, **now), Launch(ME, ARGV), table, HOST) == []


def test_a_launch_is_for_one_workload_and_ends_with_its_registration() -> None:
    other = "spiffe://88mph.com/agents/other"
    table = Table((ME, Selectors(command=ARGV)), (other, Selectors(command=ARGV)))
    assert identities_of(PROCESS, Launch(ME, ARGV), table, HOST) == [ME]
    assert identities_of(PROCESS, Launch(ME, ARGV), Table((other, Selectors(command=ARGV))), HOST) == []
    assert not may_launch(Launch("spiffe://88mph.com/agents/stranger", ARGV), PROCESS, table, HOST)


def test_several_identities_each_once() -> None:
    other = "spiffe://88mph.com/agents/other"
    table = Table((ME, Selectors(uid=1000)), (other, Selectors(gid=100)), (ME, Selectors(path=EXE)))
    assert identities_of(PROCESS, None, table, HOST) == [ME, other]


class Facts:
    def __init__(self, agents: list[Agent], tools: list[Tool]) -> None:
        self._agents, self._tools = agents, tools

    def agents(self) -> list[Agent]:
        return self._agents

    def tools(self) -> list[Tool]:
        return self._tools


def agent(**changes: Any) -> Agent:
    values = {"id": ME, "owner": "o", "realm": "first_party", "version": "1", "deployment": "d", "agent_type": "t"}
    charter = Charter(purposes=("*",), tools=("*",), actions=("*",))
    return Agent(**{**values, "charter": charter, "selectors": Selectors(uid=1), **changes})


def tool(**changes: Any) -> Tool:
    values = {"name": "t", "owner": "o", "workload": "spiffe://88mph.com/tools/t", "endpoint": "http://x", "resource": "http://x"}
    return Tool(**{**values, "actions": ("a",), "purposes": ("p",), "selectors": Selectors(uid=2), **changes})


def test_registrations_from_facts() -> None:
    table = FactRegistrations(Facts([agent()], [tool()]))
    assert [(name, selectors.uid) for name, selectors in table.all()] == [(ME, 1), ("spiffe://88mph.com/tools/t", 2)]


@pytest.mark.parametrize("state", ["suspended", "retired"])
def test_who_is_not_active_has_no_identity(state: str) -> None:
    assert list(FactRegistrations(Facts([agent(state=state)], [tool(state=state)])).all()) == []


def test_an_agents_record_governs_its_id() -> None:
    """INVARIANT: a suspended agent gets no SVID through a tool that has the same workload.

    Falling back to the tool's selectors would undo the suspension.
    """
    assert [s.uid for _, s in FactRegistrations(Facts([agent()], [tool(workload=ME)])).all()] == [1]
    assert list(FactRegistrations(Facts([agent(state="suspended")], [tool(workload=ME)])).all()) == []

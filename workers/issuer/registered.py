"""Who is registered, and which process is whom.  Pure, but for the paths that `launched_as` resolves.

Two ways to an identity.  *By what runs*: the selectors name uid, gid, path or SHA-256 of an executable (SPIRE's unix attestor), and
every process that fits is that workload.  *By launch*: they name a `command`, since many agents are the same interpreter; then only a
process that `weft agent run` registered before it became the program counts, and only while it still is that program.

Empty selectors match nothing.  A `command` without a uid means the user that runs the issuer.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from schemas.facts import Agent, Selectors, Tool
from workers.issuer.kernel import Process

PYTHON = "{python}"
ANY = "*"  # one argument, whatever it is; as the last element any number of them


class Registrations(Protocol):
    """The registered workloads."""

    def all(self) -> Iterable[tuple[str, Selectors]]:
        """Every active workload's SPIFFE ID with its selectors; one ID may come more than once."""


class Facts(Protocol):
    """What of the facts is read."""

    def agents(self) -> Iterable[Agent]:
        """All agents."""

    def tools(self) -> Iterable[Tool]:
        """All tools."""


class FactRegistrations:
    """Active agents, and active tools whose workload is no agent: an agent's own record governs its ID, also when it is not active."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts

    def all(self) -> Iterator[tuple[str, Selectors]]:
        """See Registrations."""
        agents = {agent.id: agent for agent in self._facts.agents()}
        yield from ((agent.id, agent.selectors) for agent in agents.values() if agent.state == "active")
        for tool in self._facts.tools():
            if tool.state == "active" and tool.workload not in agents:
                yield tool.workload, tool.selectors


@dataclass(frozen=True, slots=True)
class Host:
    """Where the issuer runs: what a `command` is read against, and what names an instance besides its process."""

    interpreter: str  # `{python}`
    uid: int
    boot_id: str


@dataclass(frozen=True, slots=True)
class Launch:
    """What a process said, before it became the program, that it would be."""

    spiffe_id: str
    argv: tuple[str, ...]


def may_launch(launch: Launch, caller: Process, registrations: Registrations, host: Host) -> bool:
    """Whether this user may start this command as that workload."""
    return any(
        spiffe_id == launch.spiffe_id and _user_matches(selectors, caller, host) and _command_matches(selectors.command, launch.argv, host)
        for spiffe_id, selectors in registrations.all()
    )


def identities_of(process: Process, launch: Launch | None, registrations: Registrations, host: Host) -> list[str]:
    """Every SPIFFE ID this process may carry, each once; the registrations are read anew each time."""
    found = [
        spiffe_id
        for spiffe_id, selectors in registrations.all()
        if _runs(selectors, process)
        or (launch is not None and launch.spiffe_id == spiffe_id and _launched(selectors, process, launch, host))
    ]
    return list(dict.fromkeys(found))


def _runs(selectors: Selectors, process: Process) -> bool:
    wanted = {"uid": selectors.uid, "gid": selectors.gid, "path": selectors.path, "sha256": selectors.sha256}
    if selectors.command is not None or all(value is None for value in wanted.values()):
        return False
    return _is(process, selectors)


def _launched(selectors: Selectors, process: Process, launch: Launch, host: Host) -> bool:
    return (
        _user_matches(selectors, process, host)
        and _command_matches(selectors.command, launch.argv, host)
        and process.argv == launch.argv
        and process.path == os.path.realpath(launch.argv[0])
        and _is(process, selectors)
    )


def _is(process: Process, selectors: Selectors) -> bool:
    pairs = (
        (selectors.uid, process.uid),
        (selectors.gid, process.gid),
        (selectors.path, process.path),
        (selectors.sha256, process.sha256),
    )
    return all(wanted is None or wanted == actual for wanted, actual in pairs)


def _user_matches(selectors: Selectors, caller: Process, host: Host) -> bool:
    uid = host.uid if selectors.uid is None else selectors.uid
    return caller.uid == uid and selectors.gid in (None, caller.gid)


def _command_matches(pattern: Sequence[str] | None, argv: Sequence[str], host: Host) -> bool:
    if not pattern or not argv or not Path(argv[0]).is_absolute():
        return False
    if pattern[-1] == ANY and len(pattern) > 1:
        pattern, argv = pattern[:-1], argv[: len(pattern) - 1]
    return (
        len(pattern) == len(argv)
        and _program_matches(pattern[0], argv[0], host)
        and all(wanted in (ANY, actual) for wanted, actual in zip(pattern[1:], argv[1:], strict=True))
    )


def _program_matches(wanted: str, actual: str, host: Host) -> bool:
    """A program is never a wildcard.  `{python}` is the issuer's own interpreter, by any name it has in its folder."""
    if wanted != PYTHON:
        return wanted == actual and wanted != ANY
    same_folder = Path(actual).parent == Path(host.interpreter).parent
    return same_folder and os.path.realpath(actual) == os.path.realpath(host.interpreter)

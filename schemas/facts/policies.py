"""What decides: Cedar policies for calls, response policies for signals."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import StringConstraints

from schemas.base import Name, Wire
from schemas.facts.kinds import Kind
from schemas.responses import ResponseRule


class Policy(Wire):
    """A Cedar policy set, by name.  Key: the name."""

    kind: Literal[Kind.POLICY] = Kind.POLICY
    name: Name
    cedar: Annotated[str, StringConstraints(max_length=65_536)]


class ResponsePolicy(Wire):
    """How signals are answered.  Key: the name."""

    kind: Literal[Kind.RESPONSE] = Kind.RESPONSE
    name: Name
    rules: tuple[ResponseRule, ...]

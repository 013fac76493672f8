"""What is true: one model per kind of fact.  `weft.fact.<kind>.<key>` holds a `CloudEvent[Fact]`; the latest is the state.

A deleted thing is a fact whose `body` is absent.  Patterns in bounds and charters are exact codes, or a prefix ending in `*`.
One module per family; everybody imports from here.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from schemas.base import FreeText, Wire
from schemas.facts.agents import Agent, Bounds, Charter, Namespace, Provenance, Selectors
from schemas.facts.keys import Credential, CredentialVersion, Host, Key, KeyPurpose
from schemas.facts.kinds import Environment, Kind, Patterns, State
from schemas.facts.oauth import AuthorizationServer, Client
from schemas.facts.people import Entity, Grant, Person, Relation, Role, UserIssuer
from schemas.facts.policies import Policy, ResponsePolicy
from schemas.facts.postures import Cause, Level, Posture, Scope, StepUp, Trigger
from schemas.facts.signals import (
    POLL,
    PUSH,
    Detection,
    EventStream,
    PollDelivery,
    PushDelivery,
    Subscription,
    Transmitter,
    TransmitterCeiling,
)
from schemas.facts.tools import EvidenceRule, Point, Tool
from schemas.facts.waiting import MAX_APPROVALS, MAX_PENDING, Approval, Pending

FACT = "org.weft.fact.v1"

FactBody = Annotated[
    Agent
    | Tool
    | Namespace
    | Relation
    | Policy
    | ResponsePolicy
    | Posture
    | Person
    | Transmitter
    | UserIssuer
    | Key
    | Client
    | AuthorizationServer
    | Point
    | Detection
    | EventStream
    | Subscription
    | Credential
    | Approval
    | Pending,
    Field(discriminator="kind"),
]


class Fact(Wire):
    """`data` of `FACT`."""

    kind: Kind
    key: str
    body: FactBody | None = None  # absent: deleted
    by: str  # person, worker or `bootstrap`
    reason: FreeText | None = None

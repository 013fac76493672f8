"""The streams, and the first facts: what must be true before the registry can take its first command.

Written with the registry's credential and named `bootstrap` on the facts; each only where there is none yet, so that a restart never
takes back what people changed.  A development fabric trusts the development issuer; a production one starts without any issuer.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from typing import Literal
from uuid import uuid4

from nats.aio.client import Client

from config.settings import Settings
from schemas.facts import (
    FACT,
    Fact,
    FactBody,
    Grant,
    Key,
    Namespace,
    Person,
    Policy,
    ResponsePolicy,
    Role,
    Transmitter,
    TransmitterCeiling,
)
from schemas.responses import ResponseRule
from schemas.signals import DETECTIONS, POINTS
from streams import tokenkeys, topology
from streams.bus import PublishConflict, Publisher, client, event, fabric_broker
from streams.facts_keys import key_of, subject_of
from streams.keys import load_or_create
from workers.supervisor.files import first_person, purposes_of

BY = "bootstrap"
ROLES: tuple[Role, ...] = ("registrar", "approver", "revoker", "auditor", "transmitter", "custodian")


async def bootstrap(settings: Settings) -> list[str]:
    """Applies both; the facts that were written.  Raises TopologyRefused, PublishFailed."""
    async with _connected("topology", settings) as nc:
        await topology.apply(nc.jetstream(), settings.replicas, record_max_bytes=settings.record_max_bytes)
    async with _connected("registry", settings) as nc:
        publisher = Publisher(nc)
        return [name for body in first_facts(settings) if (name := await _write_if_absent(publisher, body)) is not None]


class _connected:  # noqa: N801  # reads as a verb where it is used
    """A connection with a worker's credential, for as long as the block lasts."""

    def __init__(self, credential: str, settings: Settings) -> None:
        self._broker = fabric_broker(credential, settings)

    async def __aenter__(self) -> Client:
        await self._broker.connect()
        return client(self._broker)

    async def __aexit__(self, *_: object) -> None:
        await self._broker.stop()


async def _write_if_absent(publisher: Publisher, body: FactBody) -> str | None:
    key = key_of(body)
    fact = Fact(kind=body.kind, key=key, body=body, by=BY)
    try:
        await publisher.publish(
            "FACTS",
            subject_of(body.kind, key),
            event(FACT, fact, source="/weft/bootstrap"),
            msg_id=f"{BY}:{uuid4().hex}",
            expected_last_subject_seq=0,
        )
    except PublishConflict:
        return None
    return f"{body.kind}/{key}"


def first_facts(settings: Settings) -> Iterator[FactBody]:
    """In an order in which each is valid by what stands before it.  Also makes the keys, before any worker could make another."""
    root = f"spiffe://{settings.trust_domain}"
    yield Namespace(prefix=root, owner="operator")
    yield from _keys(settings)
    yield Person(
        nkey=first_person(settings).public,
        name="operator",
        roles=tuple(Grant(role=role, namespace=root) for role in ROLES),
    )
    yield Policy(name="default", cedar=files("workers.common.decision").joinpath("default.cedar").read_text())
    yield default_responses()
    yield from _own_voices(settings, root)


def _keys(settings: Settings) -> Iterator[Key]:
    """The public half of every signing key here; the development issuer's only in a development fabric."""
    token = tokenkeys.oldest(settings)  # its public half; the broker alone opens the other
    if token is not None:
        yield Key(purpose="tokens", kid=token.kid, jwk=token.jwk, trust_domain=settings.trust_domain)
    for purpose in purposes_of(settings):
        key = load_or_create(settings, purpose)
        assurance: Literal["development", "production"] = "development" if purpose == "svid" else "production"
        yield Key(purpose=purpose, kid=key.kid, jwk=key.jwk, trust_domain=settings.trust_domain, assurance=assurance)


def _own_voices(settings: Settings, root: str) -> Iterator[Transmitter]:
    """The fabric's guards and detections may speak about its own agents.

    What guards say is worth `low` until an operator thinks better of it: whoever has got hold of a token can have it refused somewhere, and
    its agent would pay for that.
    """
    key = load_or_create(settings, "signals")
    jwks = {"keys": [{**key.jwk, "kid": key.kid}]}
    guards = TransmitterCeiling(namespaces=(root,), strongest="step_up")
    yield Transmitter(iss=POINTS, aud=settings.issuer, jwks=jwks, trust={"*": "low"}, ceiling=guards)
    detections = TransmitterCeiling(namespaces=(root,), strongest="quarantine")
    yield Transmitter(iss=DETECTIONS, aud=settings.issuer, jwks=jwks, trust={"*": "high"}, ceiling=detections)


def default_responses() -> ResponsePolicy:
    """High confidence quarantines the instance, which revokes what it holds; medium demands step-up; low is recorded."""
    return ResponsePolicy(
        name="default",
        rules=(
            ResponseRule(name="high", confidence="high", response="quarantine"),
            ResponseRule(name="medium", confidence="medium", response="step_up", duration_s=3600),
            ResponseRule(name="low", confidence="low", response="record"),
        ),
    )

"""Cases for `weft policy test`: signals in the order in which they arrive, and what has to come of them.

A file of YAML documents.  The first may say which files hold the policies and transmitters under test (`uses`, beside it) and the trust
domain; facts of these kinds, and the providers of people (`issuer`), may also stand in the file itself.  Every other document is a case:

    case: three medium signals in ten minutes
    signals:
      - {at: 0, from: "https://risk.example", level: medium, workload: "spiffe://example.org/agents/a"}
      - {at: 240, from: "https://risk.example", level: medium, workload: "spiffe://example.org/agents/a"}
    look: 300
    expect:
      answers: [narrow, narrow]
      postures: [{scope: agent, value: "spiffe://example.org/agents/a", level: narrowed}]

Times are seconds from the beginning of the case.  An answer is what a rule does, `lift` for a word taken back, `waits:<answer>` for what
is beyond the ceiling, `none` where no rule applies; several are a list.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

from pydantic import BeforeValidator, Field, ValidationError
from weft.spiffeid import SpiffeID

from schemas.base import SpiffeIDText, Wire
from schemas.facts import Level, ResponsePolicy, Scope, Transmitter, UserIssuer
from schemas.responses import Need
from workers.common.manifest import Document, ManifestError, body_of, documents

Offset = Annotated[int, Field(ge=-31_536_000, le=31_536_000)]


def _several(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else (value,)


ReadT = TypeVar("ReadT", bound=Wire)
Answers = Annotated[tuple[str, ...], BeforeValidator(_several)]


class Said(Wire):
    """One signal as it arrives."""

    at: Offset  # when SIGNALS takes it
    happened: Offset | None = None  # none: then too
    sender: Annotated[str, Field(alias="from")]
    event: str = "risk-level-change"  # of CAEP, or a whole URI
    level: Literal["low", "medium", "high"] | None = None  # of risk-level-change
    payload: dict[str, Any] = {}
    workload: SpiffeIDText | None = None
    instance: str | None = None
    user: str | None = None  # an email address, or ISSUER#SUB
    transaction: str | None = None
    key: str | None = None
    id: str | None = None  # its `jti`; two of one are one signal


class Standing(Wire):
    """A posture that has to stand; what is not named is not compared."""

    scope: Scope
    value: str
    level: Level
    actions: tuple[str, ...] | None = None
    purposes: tuple[str, ...] | None = None
    max_ttl_s: int | None = None
    depth: int | None = None
    needs: tuple[Need, ...] | None = None


class Expected(Wire):
    """What has to come of it."""

    answers: tuple[Answers, ...] | None = None  # one for each signal
    postures: tuple[Standing, ...] = ()


class Case(Wire):
    """A story and its end."""

    case: str
    signals: Annotated[tuple[Said, ...], Field(min_length=1, max_length=1000)]
    look: Offset | None = None  # when the postures are looked at: what arrives later is not there yet; none: with the last signal
    expect: Expected


class Uses(Wire):
    """The first document."""

    uses: tuple[str, ...] = ()
    trust_domain: str | None = None


class Suite(NamedTuple):
    """A file, read."""

    policies: tuple[ResponsePolicy, ...]
    transmitters: tuple[Transmitter, ...]
    issuers: tuple[UserIssuer, ...]
    trust_domain: str
    cases: tuple[Case, ...]


def load(path: Path) -> Suite:
    """Raises ManifestError, which names the document and what is wrong with it."""
    own = list(documents(path))
    uses = _read(Uses, own.pop(0)) if own and own[0].content.keys() <= Uses.model_fields.keys() else Uses()
    elsewhere = [document for name in uses.uses for document in documents(path.parent / name)]
    facts = [body_of(document) for document in (*elsewhere, *own) if document.content.get("kind") in ("response", "transmitter", "issuer")]
    policies = tuple(body for body in facts if isinstance(body, ResponsePolicy))
    transmitters = tuple(body for body in facts if isinstance(body, Transmitter))
    issuers = tuple(body for body in facts if isinstance(body, UserIssuer))
    if not policies or not transmitters:
        raise ManifestError(f"{path.name}: it needs a response policy and a transmitter: in it, or in a file that `uses` names")
    cases = tuple(_read(Case, document) for document in own if "kind" not in document.content)
    if not cases:
        raise ManifestError(f"{path.name}: it holds no case")
    return Suite(policies, transmitters, issuers, uses.trust_domain or _domain_of(transmitters), cases)


def _read(model: type[ReadT], document: Document) -> ReadT:
    try:
        return model.model_validate_json(json.dumps(document.content))
    except ValidationError as error:
        raise ManifestError(f"{document.where}: {'; '.join(_faults(error))}") from None


def _faults(error: ValidationError) -> Iterator[str]:
    for each in error.errors(include_input=False, include_context=False, include_url=False)[:5]:
        yield f"{'.'.join(str(part) for part in each['loc'])}: {each['msg']}"


def _domain_of(transmitters: tuple[Transmitter, ...]) -> str:
    return SpiffeID.parse(transmitters[0].ceiling.namespaces[0]).trust_domain

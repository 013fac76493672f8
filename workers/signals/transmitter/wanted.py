"""Which streams an event goes to.  Pure.  SSF 1.0 sections 8.1.1 (events delivered), 8.1.2 (status), 8.1.3 (subjects); CAEP Interop 1.0.

1. The stream asked for events of this type.
2. Its receiver may hear of this place: the namespaces that its client's fact lists, since a stream must not tell one party of
   another's agents (SSF 1.0 section 9.2, information harvesting).
3. The subject is wanted: with default ALL everyone who was not removed, with default NONE whoever was added.
4. A disabled stream keeps nothing; a paused one holds it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from weft.spiffeid import InvalidSpiffeID, SpiffeID

from schemas.events import BY_URI, CAEP, risc, ssf
from schemas.events.caep import INTEROP
from schemas.facts import EventStream
from schemas.subject_ids import AnySubject, ComplexSubject, UriSubject, matches

Defaults = Literal["ALL", "NONE"]
FRAMEWORK = {model.URI for model in ssf.EVENTS}  # sent on every stream, asked for or not
SUPPORTED = tuple(uri for uri in BY_URI if uri not in FRAMEWORK and uri != risc.SessionsRevoked.URI)
_INTEROP = frozenset(f"{CAEP}{name}" for name in INTEROP)


def delivered(stream: EventStream) -> tuple[str, ...]:
    """`events_delivered`: what was asked for, as far as we have it; where nothing was asked for, all that we have."""
    if stream.events_requested is None:
        return SUPPORTED
    return tuple(uri for uri in dict.fromkeys(stream.events_requested) if uri in SUPPORTED)


def algorithm(stream: EventStream) -> Literal["RS256", "ES256"]:
    """CAEP Interop 1.0 asks for RS256.  A stream follows it unless what is delivered on it is none of that profile's use cases."""
    events = delivered(stream)
    return "ES256" if events and not _INTEROP.intersection(events) else "RS256"


def place_of(subject: AnySubject, root: str) -> str:
    """The SPIFFE ID by which it is judged who may hear of it: an agent's own; for people and everything else the trust domain."""
    uri = subject.workload if isinstance(subject, ComplexSubject) else subject
    text = uri.uri if isinstance(uri, UriSubject) else ""
    try:
        return str(SpiffeID.parse(text))
    except InvalidSpiffeID:
        return root


def within(place: str, namespaces: Iterable[str]) -> bool:
    """The place is one of them, or lies below one."""
    prefixes = {str(prefix) for prefix in SpiffeID.parse(place).prefixes()}
    return any(namespace in prefixes for namespace in namespaces)


def about(stream: EventStream, names: Sequence[AnySubject], defaults: Defaults) -> bool:
    """Whether its receiver wants to hear of this subject, by whichever of its names it was added or removed."""
    if any(covers(removed, name) for removed in stream.removed for name in names):
        return False
    return defaults == "ALL" or any(matches(added, name) for added in stream.added for name in names)


def covers(removed: AnySubject, subject: AnySubject) -> bool:
    """A removed subject silences what says all that it says.

    Narrower than `matches`, where absent members count as agreement: what removes one user must not silence every agent.
    """
    if isinstance(removed, ComplexSubject) and isinstance(subject, ComplexSubject):
        said = subject.members()
        return all(said.get(name) == member for name, member in removed.members().items())
    return removed == subject


def goes_to(
    stream: EventStream,
    uri: str,
    subject: AnySubject,
    *,
    hears: Iterable[str] | None,
    defaults: Defaults,
    root: str,
    also: tuple[AnySubject, ...] = (),
) -> bool:
    """All four rules.  `hears`: none where the receiver's client is not active.  `also`: further names of the subject."""
    return (
        stream.status != "disabled"  # 4
        and uri in delivered(stream)  # 1
        and hears is not None
        and within(place_of(subject, root), hears)  # 2
        and about(stream, (subject, *also), defaults)  # 3
    )

"""What is true now: the latest message of every subject of FACTS, as a table.  Pure: no clock, no network, and `apply` never raises.

Messages are kept as bytes and read when asked for, through a bounded cache; relations are tuples (facts_relations).  A message that
cannot be believed counts as its strictest reading: an agent, tool, key or relation does not exist, a namespace bounds everything
away, a posture is a quarantine, a policy is an error (`unreadable`).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple, TypeVar

from weft.digest import TargetKind, sha256, target_digest
from weft.spiffeid import InvalidSpiffeID, SpiffeID

from schemas.base import Wire
from schemas.facts import (
    MAX_APPROVALS,
    Agent,
    Approval,
    AuthorizationServer,
    Bounds,
    Client,
    Credential,
    Detection,
    EventStream,
    Fact,
    Key,
    KeyPurpose,
    Kind,
    Namespace,
    Pending,
    Person,
    Point,
    Policy,
    Posture,
    Relation,
    ResponsePolicy,
    Scope,
    Subscription,
    Tool,
    Transmitter,
    UserIssuer,
)
from streams.facts_keys import place_of, posture_key, read_fact
from streams.facts_memo import AtRevision, Memo
from streams.facts_relations import Edge, Relations, tokens
from streams.subjects import parse_connection_name, relation_key

MAX_DECODED = 8192
_RELATIONS = ("member_of", "operates", "contains", "delegates_to", "may_delegate_to", "may_approve")
NOTHING = Bounds(purposes=(), tools=(), actions=(), depth=0)

BodyT = TypeVar("BodyT", bound=Wire)  # a body of schemas.facts


class FactChange(NamedTuple):
    """One event was applied: this fact may be new, changed, deleted or unreadable now."""

    seq: int
    kind: Kind
    key: str


class Entry(NamedTuple):
    """One fact; a deleted one has no body."""

    key: str
    seq: int
    fact: Fact


class FactsTable:
    """The facts at one revision.

    `memo` holds what others computed from it, until an event touches what they read; `at_revision` until the next event, whatever it
    touches.
    """

    def __init__(self) -> None:
        self.revision = 0
        self.memo = Memo()
        self.at_revision = AtRevision()
        self._slots: dict[Kind, dict[str, tuple[int, bytes]]] = {kind: {} for kind in Kind}
        self._decoded: dict[tuple[Kind, str], Fact | None] = {}
        self._relations = Relations()
        self._uncontained: set[str] = set()  # names of points
        self._versions: dict[Kind, int] = dict.fromkeys(Kind, 0)

    # --- events ---------------------------------------------------------------------------------------------------------------

    def apply(self, seq: int, subject: str, body: bytes) -> FactChange | None:
        """One message of FACTS.  Older ones than the revision change nothing."""
        if seq <= self.revision:
            return None
        self.revision = seq
        self.at_revision.forget()
        place = place_of(subject)
        if place is None:
            return None
        kind, key = place
        self._versions[kind] = seq
        if kind is Kind.RELATION:
            self._apply_relation(seq, key, body)
        else:
            self._slots[kind][key] = (seq, body)
            self._decoded.pop(place, None)
        if kind is Kind.POINT:
            self._apply_point(key, body)
        self.memo.touch(kind.value, f"{kind.value}/{key}")
        return FactChange(seq, kind, key)

    def _apply_point(self, name: str, body: bytes) -> None:
        fact = read_fact(Kind.POINT, name, body)
        if fact is not None and fact.body is None:
            self._uncontained.discard(name)
        else:
            self._uncontained.add(name)

    def _apply_relation(self, seq: int, key: str, body: bytes) -> None:
        fact = read_fact(Kind.RELATION, key, body)
        self.memo.touch(*self._relations.drop(key))
        if fact is not None and isinstance(fact.body, Relation):
            self._slots[Kind.RELATION].pop(key, None)
            self.memo.touch(*self._relations.put(seq, fact, fact.body))
        else:
            self._slots[Kind.RELATION][key] = (seq, body)

    # --- any kind -------------------------------------------------------------------------------------------------------------

    def version(self, kind: Kind) -> int:
        """The revision at which something of this kind last changed."""
        return self._versions[kind]

    def revision_of(self, kind: Kind, key: str) -> int:
        """The revision of one fact, deleted and unreadable ones included; 0: never written."""
        edge = self._relations.get(key) if kind is Kind.RELATION else None
        return edge.seq if edge is not None else self._slots[kind].get(key, (0, b""))[0]

    def get(self, kind: Kind, key: str) -> tuple[int, Fact] | None:
        """One fact and its revision; a deleted one has no body; an unreadable one is none."""
        edge = self._relations.get(key) if kind is Kind.RELATION else None
        if edge is not None:
            return edge.seq, edge.fact()
        fact = self._fact(kind, key)
        return None if fact is None else (self._slots[kind][key][0], fact)

    def list(self, kind: Kind) -> Iterator[Entry]:
        """Every readable fact of a kind, deleted ones included, by key."""
        keys = (*self._slots[kind], *self._relations.keys()) if kind is Kind.RELATION else self._slots[kind]
        for key in sorted(keys):
            held = self.get(kind, key)
            if held is not None:
                yield Entry(key, *held)

    def unreadable(self, kind: Kind) -> tuple[str, ...]:
        """The keys whose latest message cannot be believed."""
        return tuple(key for key in sorted(self._slots[kind]) if self._fact(kind, key) is None)

    def _fact(self, kind: Kind, key: str) -> Fact | None:
        place = (kind, key)
        if place in self._decoded:
            return self._decoded[place]
        slot = self._slots[kind].get(key)
        if slot is None:
            return None
        fact = read_fact(kind, key, slot[1])
        if len(self._decoded) >= MAX_DECODED:
            del self._decoded[next(iter(self._decoded))]
        self._decoded[place] = fact
        return fact

    def _body(self, kind: Kind, key: str, model: type[BodyT]) -> BodyT | None:
        fact = self._fact(kind, key)
        return fact.body if fact is not None and isinstance(fact.body, model) else None

    def _bodies(self, kind: Kind, model: type[BodyT]) -> tuple[BodyT, ...]:
        found = (self._body(kind, key, model) for key in sorted(self._slots[kind]))
        return tuple(body for body in found if body is not None)

    # --- agents, tools, namespaces --------------------------------------------------------------------------------------------

    def agent(self, spiffe_id: str) -> Agent | None:
        """One agent, whatever its state."""
        key = _subject(spiffe_id)
        return None if key is None else self._body(Kind.AGENT, key, Agent)

    def knows_agent(self, spiffe_id: str) -> bool:
        """There is a record of it, even one that cannot be read."""
        key = _subject(spiffe_id)
        return self.agent(spiffe_id) is not None or (key is not None and self._unreadable_at(Kind.AGENT, key))

    def agents(self) -> tuple[Agent, ...]:
        """All agents, by key."""
        return self._bodies(Kind.AGENT, Agent)

    def tool(self, name: str) -> Tool | None:
        """One tool, whatever its state."""
        return self._body(Kind.TOOL, name, Tool)

    def tools(self) -> tuple[Tool, ...]:
        """All tools, by name."""
        return self._bodies(Kind.TOOL, Tool)

    def namespaces_above(self, spiffe_id: str) -> tuple[Namespace, ...]:
        """Every registered prefix of the ID, the widest first; one that cannot be read allows nothing."""
        held = self._slots[Kind.NAMESPACE]
        found = []
        for prefix, key in _prefixes(spiffe_id):
            if key in held:
                space = self._body(Kind.NAMESPACE, key, Namespace)
                if space is None and self._unreadable_at(Kind.NAMESPACE, key):
                    space = Namespace(prefix=prefix, owner="", bounds=NOTHING)
                found.append(space)
        return tuple(space for space in found if space is not None)

    def _unreadable_at(self, kind: Kind, key: str) -> bool:
        return key in self._slots[kind] and self._fact(kind, key) is None

    # --- people, transmitters, issuers, keys ----------------------------------------------------------------------------------

    def person(self, nkey: str) -> Person | None:
        """One operator, whatever their state."""
        return self._body(Kind.PERSON, nkey, Person)

    def transmitter(self, iss: str) -> Transmitter | None:
        """One transmitter, whatever its state."""
        return self._body(Kind.TRANSMITTER, sha256(iss), Transmitter)

    def transmitters(self) -> tuple[Transmitter, ...]:
        """All transmitters."""
        return self._bodies(Kind.TRANSMITTER, Transmitter)

    def issuer(self, iss: str) -> UserIssuer | None:
        """One issuer of user tokens."""
        return self._body(Kind.ISSUER, sha256(iss), UserIssuer)

    def issuers(self) -> tuple[UserIssuer, ...]:
        """All issuers of user tokens."""
        return self._bodies(Kind.ISSUER, UserIssuer)

    def keys(self, purpose: KeyPurpose | None = None) -> tuple[Key, ...]:
        """Public keys in every state; the caller says which states count."""
        return tuple(key for key in self._bodies(Kind.KEY, Key) if purpose in (None, key.purpose))

    def client(self, client_id: str) -> Client | None:
        """One OAuth client, whatever its state."""
        return self._body(Kind.CLIENT, sha256(client_id), Client)

    def clients(self) -> tuple[Client, ...]:
        """All OAuth clients, whatever their state."""
        return self._bodies(Kind.CLIENT, Client)

    def authorization_server(self, name: str) -> AuthorizationServer | None:
        """One authorization server, whatever its state."""
        return self._body(Kind.AUTHORIZATION_SERVER, name, AuthorizationServer)

    # --- enforcement points -----------------------------------------------------------------------------------------------------

    def uncontained(self) -> tuple[Point | str, ...]:
        """The points that are not contained; the bare name of one whose fact cannot be read."""
        return tuple(self._body(Kind.POINT, name, Point) or name for name in sorted(self._uncontained))

    def uncontained_of(self, workload: str) -> tuple[str, ...]:
        """The names of those of this workload; by their name alone, so that one that cannot be read counts."""
        return tuple(name for name in sorted(self._uncontained) if _workload(name) == workload)

    def credential(self, name: str) -> Credential | None:
        """What is known of a credential in the broker's vault."""
        return self._body(Kind.CREDENTIAL, name, Credential)

    def credentials(self) -> tuple[Credential, ...]:
        """All of them, by name."""
        return self._bodies(Kind.CREDENTIAL, Credential)

    # --- receivers' streams -----------------------------------------------------------------------------------------------------

    def stream(self, stream_id: str) -> EventStream | None:
        """One receiver's stream of our signals."""
        return self._body(Kind.STREAM, stream_id, EventStream)

    def streams(self) -> tuple[EventStream, ...]:
        """All of them, by id."""
        return self._bodies(Kind.STREAM, EventStream)

    # --- policies and postures ------------------------------------------------------------------------------------------------

    def policies(self) -> tuple[Policy, ...]:
        """All readable Cedar policies, by name.  Who decides by them asks `unreadable(Kind.POLICY)` too."""
        return self._bodies(Kind.POLICY, Policy)

    def responses(self) -> tuple[ResponsePolicy, ...]:
        """All response policies, by name."""
        return self._bodies(Kind.RESPONSE, ResponsePolicy)

    def subscriptions(self) -> tuple[Subscription, ...]:
        """Our streams at transmitters, by name."""
        return self._bodies(Kind.SUBSCRIPTION, Subscription)

    def subscription(self, name: str) -> Subscription | None:
        """One of them, whatever its state."""
        return self._body(Kind.SUBSCRIPTION, name, Subscription)

    def detections(self) -> tuple[Detection, ...]:
        """All detections, by name."""
        return self._bodies(Kind.DETECTION, Detection)

    def posture(self, scope: Scope, target: str) -> Posture | None:
        """One posture, by its target's digest; one that cannot be read is a quarantine."""
        key = posture_key(scope, target)
        posture = self._body(Kind.POSTURE, key, Posture)
        if posture is None and self._unreadable_at(Kind.POSTURE, key):
            return Posture(scope=scope, target=target, level="quarantined", causes=())
        return posture

    def postures_for(
        self, instance: str | None, agent_id: str | None, user: str | None, transaction: str | None = None
    ) -> tuple[Posture, ...]:
        """The postures of an instance, an agent, every prefix of its ID, a person, and a transaction."""
        if not self._slots[Kind.POSTURE]:
            return ()
        targets: list[tuple[Scope, str | None]] = [("instance", instance), ("agent", agent_id), ("user", user)]
        targets += [("transaction", transaction)]
        targets += [("namespace", prefix) for prefix, _ in _prefixes(agent_id or "")]
        found = (self.posture(scope, _digest(scope, value)) for scope, value in targets if value is not None)
        return tuple(posture for posture in found if posture is not None)

    # --- what waits for a person ------------------------------------------------------------------------------------------------

    def approvals_of(self, agent_id: str) -> tuple[Approval, ...]:
        """What people were asked on behalf of this agent, in every state."""
        subject = _subject(agent_id)
        if subject is None or not self._slots[Kind.APPROVAL]:
            return ()
        found = (self._body(Kind.APPROVAL, f"{subject}.{slot}", Approval) for slot in range(MAX_APPROVALS))
        return tuple(approval for approval in found if approval is not None)

    def approvals(self) -> tuple[Approval, ...]:
        """All of them."""
        return self._bodies(Kind.APPROVAL, Approval)

    def pending(self) -> tuple[Pending, ...]:
        """Responses beyond a ceiling, in every state."""
        return self._bodies(Kind.PENDING, Pending)

    # --- relations ------------------------------------------------------------------------------------------------------------

    def relations_from(self, entity: str, relation: str | None = None) -> tuple[Edge, ...]:
        """What starts at an entity, `user:x` say; expired ones included."""
        return tuple(edge for name in _named(relation) for edge in self._relations.at(tokens(entity, name, "")[0]))

    def relations_to(self, entity: str, relation: str | None = None) -> tuple[Edge, ...]:
        """What leads to an entity; expired ones included."""
        return tuple(edge for name in _named(relation) for edge in self._relations.at(tokens("", name, entity)[1]))

    def relations_at(self, end: str) -> tuple[Edge, ...]:
        """What starts or leads to an end as `facts_relations.tokens` names it, the memo's token too."""
        return self._relations.at(end)

    def count_at(self, end: str) -> int:
        """How many, without looking at them."""
        return self._relations.count(end)

    def relation(self, subject: str, relation: str, obj: str) -> tuple[str, Edge | None]:
        """The key of one relation, and the relation if it is there, expired or not."""
        key = relation_key(subject, relation, obj)
        return key, self._relations.get(key)

    def relation_count(self) -> int:
        """How many relations there are."""
        return len(self._relations)


def _named(relation: str | None) -> tuple[str, ...]:
    return _RELATIONS if relation is None else (relation,)


@lru_cache(maxsize=65_536)
def _subject(spiffe_id: str) -> str | None:
    try:
        return SpiffeID.parse(spiffe_id).subject
    except InvalidSpiffeID:
        return None


@lru_cache(maxsize=65_536)
def _workload(point: str) -> str | None:
    try:
        return str(parse_connection_name(point)[1])
    except InvalidSpiffeID:
        return None


@lru_cache(maxsize=65_536)
def _prefixes(spiffe_id: str) -> tuple[tuple[str, str], ...]:
    try:
        return tuple((str(prefix), prefix.subject) for prefix in SpiffeID.parse(spiffe_id).prefixes())
    except InvalidSpiffeID:
        return ()


@lru_cache(maxsize=65_536)
def _digest(kind: TargetKind, value: str) -> str:
    return target_digest(kind, value)

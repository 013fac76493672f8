"""What is true: one model per kind of fact.  `weft.fact.<kind>.<key>` holds a `CloudEvent[Fact]`; the latest is the state.

A deleted thing is a fact whose `body` is absent.  Patterns in bounds and charters are exact codes, or a prefix ending in `*`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Final, Literal

from pydantic import Field, StringConstraints

from schemas.authservers import Obtain, ObtainBy, ServerAuth, ServerURL
from schemas.base import Code, Digest, FreeText, InstanceID, Name, Opaque, Seconds, SpiffeIDText, TargetDigest, Ttl, Wire
from schemas.clients import AuthMethod, Certificate, ClientID, GrantType, Resource, SpiffePattern, SubjectType
from schemas.detections import DetectionRule
from schemas.egress import Egress
from schemas.events.ssf import StreamStatus
from schemas.invocation import Arguments, CallParts
from schemas.receiving import SubscriptionRule
from schemas.responses import Answer, Need, ResponseRule, RuleScope
from schemas.subject_ids import SubjectID
from schemas.token import DEFAULT_TTL_S, MAX_HOPS, MAX_TTL_S, AuthorizationDetail, TokenForm

FACT = "org.weft.fact.v1"


class Kind(StrEnum):
    """The kinds of facts; the value is the subject token."""

    AGENT = "agent"
    TOOL = "tool"
    NAMESPACE = "namespace"
    RELATION = "relation"
    POLICY = "policy"
    RESPONSE = "response"
    POSTURE = "posture"
    PERSON = "person"
    TRANSMITTER = "transmitter"
    ISSUER = "issuer"
    KEY = "key"
    DETECTION = "detection"
    SUBSCRIPTION = "subscription"
    CLIENT = "client"
    AUTHORIZATION_SERVER = "authserver"
    POINT = "point"
    STREAM = "stream"
    CREDENTIAL = "credential"
    APPROVAL = "approval"
    PENDING = "pending"


MAX_APPROVALS = 8  # of one agent that are pending or given
MAX_PENDING = 32  # responses of one transmitter that wait
Patterns = tuple[str, ...]
Environment = dict[str, str]


class Selectors(Wire):
    """What the kernel must say of a process before it is this agent (SPIRE's unix attestor names)."""

    uid: int | None = None
    gid: int | None = None
    path: str | None = None
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = None
    command: tuple[str, ...] | None = None  # the argument vector `weft agent run` may start as this agent; `{python}` is its interpreter


class Provenance(Wire):
    """Where it came from."""

    image: str | None = None
    source: str | None = None
    model_digest: str | None = None
    prompt_digest: str | None = None


class Charter(Wire):
    """What an agent is for."""

    purposes: Patterns
    tools: Patterns
    actions: Patterns
    authorization_details: Patterns = ()  # RFC 9396 types
    delegates: tuple[SpiffeIDText, ...] = ()  # agents it may hand a step to
    environment: Environment = {}
    max_ttl_s: Ttl = DEFAULT_TTL_S
    depth: Annotated[int, Field(ge=0, le=MAX_HOPS)] = 2


State = Literal["active", "suspended", "retired"]


class Agent(Wire):
    """Key: the SPIFFE ID's subject."""

    kind: Literal[Kind.AGENT] = Kind.AGENT
    id: SpiffeIDText
    owner: str
    realm: Literal["first_party", "third_party"]
    version: str
    deployment: str
    agent_type: str
    charter: Charter
    business: dict[str, str] = {}
    financial: dict[str, str] = {}
    security: dict[str, str] = {}
    selectors: Selectors
    provenance: Provenance = Provenance()
    state: State = "active"


class EvidenceRule(Wire):
    """`tool` must have handled the same object before, in this transaction, with a positive outcome."""

    tool: Name
    fields: tuple[Name, ...]
    max_age_s: Ttl = 300


class Tool(Wire):
    """Key: the name."""

    kind: Literal[Kind.TOOL] = Kind.TOOL
    name: Name
    owner: str
    workload: SpiffeIDText  # the identity of its guard; also an agent's, where an agent can be called
    endpoint: Annotated[str, StringConstraints(pattern=r"^https?://[^\s]+$", max_length=512)]
    resource: Annotated[str, StringConstraints(pattern=r"^https?://[^\s]+$", max_length=512)]  # RFC 8707
    capabilities: tuple[str, ...] = ()
    actions: tuple[Code, ...]
    purposes: tuple[Code, ...]
    bind: tuple[Literal["method", "path", "body"], ...] = ("method", "path", "body")
    obtain: Obtain | None = None  # what it takes is issued by another authorization server, to the broker
    token_form: TokenForm = "txn"  # aud of the first: the trust domain; of all others: the tool's resource, and they are leaves
    revocation: Literal["guard", "introspection", "status_list"] = "guard"  # how the tool learns of one; the others without a guard
    authorization_details: tuple[Annotated[str, StringConstraints(pattern=r"^[!-~]{1,128}$")], ...] = ()  # RFC 9396 types it understands
    single_use: bool = False
    proof: Literal["dpop"] | None = None  # of possession, with every call: RFC 9449, by the instance's key
    evidence: tuple[EvidenceRule, ...] = ()
    object_fields: dict[Name, str] = {}  # field name to JSON pointer (RFC 6901) into the request's body
    chain: tuple[SpiffeIDText, ...] = ()  # agents or namespaces that must have acted before
    staleness_s: Literal[3, 30] = 3  # how old the guard's revocation view may be
    uncontained: Literal["refuse", "serve"] = "refuse"  # new calls, while a point of its workload has not applied a revocation in time
    status_list: bool = False  # its tokens get an entry in a status list, for verifiers that are not on the bus
    max_ttl_s: Ttl = DEFAULT_TTL_S
    environment: Environment = {}
    egress: Egress | None = None  # the egress stands before it: `workload` and `endpoint` are the egress's
    selectors: Selectors = Selectors()  # of its workload's process, where no agent has that SPIFFE ID; empty ones match nothing
    document: Digest | None = None  # SHA-256 of the protected resource metadata that was accepted, RFC 9728
    state: State = "active"


class Bounds(Wire):
    """What nobody below a namespace may exceed."""

    purposes: Patterns = ("*",)
    tools: Patterns = ("*",)
    actions: Patterns = ("*",)
    max_ttl_s: Ttl = 300
    depth: Annotated[int, Field(ge=0, le=MAX_HOPS)] = MAX_HOPS


class Namespace(Wire):
    """Key: the prefix's subject.  An agent under no namespace is refused."""

    kind: Literal[Kind.NAMESPACE] = Kind.NAMESPACE
    prefix: SpiffeIDText
    owner: str
    realm: Literal["first_party", "third_party"] = "first_party"
    bounds: Bounds = Bounds()
    review: str | None = None  # date of the next review


Entity = Annotated[str, StringConstraints(pattern=r"^(user|team|toolgroup|tool|agent|namespace):[^\s]{1,512}$")]


class Relation(Wire):
    """One edge of the relationship graph.  Key: SHA-256 of subject, relation and object."""

    kind: Literal[Kind.RELATION] = Kind.RELATION
    subject: Entity
    relation: Literal["member_of", "operates", "contains", "delegates_to", "may_delegate_to", "may_approve"]
    object: Entity
    actions: Patterns = ("*",)  # with `operates`, `delegates_to` and `may_delegate_to`: which
    purposes: Patterns = ("*",)  # with `delegates_to`, which is a person's consent: for what
    expires_at: Seconds | None = None


class Policy(Wire):
    """A Cedar policy set, by name.  Key: the name."""

    kind: Literal[Kind.POLICY] = Kind.POLICY
    name: Name
    cedar: Annotated[str, StringConstraints(max_length=65_536)]


Scope = Literal["instance", "agent", "namespace", "user", "transaction"]
Level = Literal["normal", "narrowed", "step_up", "quarantined"]


class Cause(Wire):
    """One signal (or operator's order) that made a posture."""

    id: Opaque  # transmitter and jti, with the rule where one signal has several causes; or the command
    by: str  # transmitter or person
    level: Level
    event_time: Seconds
    event: str  # the event type URI, or `operator`
    rule: Name | None = None
    policy: Name | None = None
    actions: Patterns | None = None  # what a narrowing leaves
    purposes: Patterns | None = None
    max_ttl_s: Ttl | None = None
    depth: Annotated[int, Field(ge=0, le=MAX_HOPS)] | None = None
    needs: Need | None = None  # of a step-up; none: an approval
    at: Seconds | None = None  # when the fabric learned of it; none: at `event_time`
    confirmed_by: str | None = None  # the person who confirmed what was beyond the transmitter's ceiling
    until: Seconds | None = None


class StepUp(Wire):
    """Something that has to be shown, and must be newer than this."""

    needs: Need
    since: Seconds


class Trigger(Wire):
    """What made a posture this revision: a signal and the rule that answered it.  Neither an operator nor a response's end has one."""

    iss: str
    jti: str
    rule: Name
    policy: Name
    id: Opaque  # of the response: the same signal and rule do nothing twice
    receipt: bool = False  # the transmitter wants to hear how it ended
    confirmed_by: str | None = None


class Posture(Wire):
    """How far something is trusted now.  Key: scope and target digest.  A function of the set of its causes."""

    kind: Literal[Kind.POSTURE] = Kind.POSTURE
    scope: Scope
    target: TargetDigest
    value: str | None = None  # the SPIFFE ID, instance or transaction in clear; users stay digests
    level: Level
    actions: Patterns = ("*",)
    purposes: Patterns = ("*",)
    max_ttl_s: Ttl = 300
    depth: Annotated[int, Field(ge=0, le=MAX_HOPS)] = MAX_HOPS
    step_ups: tuple[StepUp, ...] = ()  # every one of them, while the level is `step_up`; none of them: an approval
    causes: tuple[Cause, ...]
    revoke: bool = False  # what was minted before this revision is revoked
    trigger: Trigger | None = None


Role = Literal["registrar", "approver", "revoker", "auditor", "transmitter", "custodian"]


class Grant(Wire):
    """A role over a namespace and everything below it."""

    role: Role
    namespace: SpiffeIDText


class Person(Wire):
    """An operator.  Key: the public user nkey."""

    kind: Literal[Kind.PERSON] = Kind.PERSON
    nkey: Annotated[str, StringConstraints(pattern=r"^U[A-Z2-7]{55}$")]
    name: str
    user: str | None = None  # the same human as user tokens name them (`sub`) and relations do (`user:<sub>`)
    roles: tuple[Grant, ...]
    state: State = "active"


class TransmitterCeiling(Wire):
    """The most that a transmitter's word may cause."""

    namespaces: tuple[SpiffeIDText, ...]
    strongest: Answer
    subjects_per_minute: Annotated[int, Field(ge=1)] = 60


class Transmitter(Wire):
    """Who may tell us signals.  Key: SHA-256 of `iss`."""

    kind: Literal[Kind.TRANSMITTER] = Kind.TRANSMITTER
    iss: str
    aud: str
    jwks: dict[str, Any] = {}  # RFC 7517; with `jwks_uri` those that count besides what is there
    jwks_uri: Annotated[str, StringConstraints(pattern=r"^https?://[^\s#]+$", max_length=1024)] | None = (
        None  # read through the edge, kept a while
    )
    trust: dict[str, Literal["low", "medium", "high"]]  # event type URI, or `*`, to the most its word is worth
    ceiling: TransmitterCeiling
    receipts: bool = False  # it is sent the receipt of everything that its signals did
    receipts_endpoint: Annotated[str, StringConstraints(pattern=r"^https?://[^\s#]+$", max_length=1024)] | None = None  # where to
    state: State = "active"


class UserIssuer(Wire):
    """An OpenID provider whose access tokens name people.  Key: SHA-256 of `iss`."""

    kind: Literal[Kind.ISSUER] = Kind.ISSUER
    iss: str
    jwks: dict[str, Any]
    aud: str  # this fabric, as the issuer names it


Host = Annotated[str, StringConstraints(pattern=r"^[a-z0-9.-]{1,253}(:[0-9]{1,5})?$|^\[[0-9a-f:.]{2,45}\](:[0-9]{1,5})?$")]


class CredentialVersion(Wire):
    """One version: which sealed value it is, and since when."""

    version: Annotated[int, Field(ge=1)]
    digest: Digest  # of the sealed value
    at: Seconds


class Credential(Wire):
    """What a tool really needs (an API key, a client secret, a refresh token), without its value: that lies sealed in the broker's vault,
    and leaves it for the egress alone, for tools whose upstream is one of `hosts`.  Key: the name.
    """

    kind: Literal[Kind.CREDENTIAL] = Kind.CREDENTIAL
    name: Name
    type: Literal["api_key", "client_secret", "refresh_token", "password"] = "api_key"
    hosts: Annotated[tuple[Host, ...], Field(min_length=1, max_length=16)]
    current: Annotated[int, Field(ge=1)]  # the version in use
    versions: tuple[CredentialVersion, ...]  # that the vault keeps, oldest first


KeyPurpose = Literal["tokens", "revocation", "signals", "signals-rs256", "svid", "checkpoint", "status"]


class Key(Wire):
    """A public key of the fabric, or of a trust domain (`svid`).  Key: purpose and `kid`."""

    kind: Literal[Kind.KEY] = Kind.KEY
    purpose: KeyPurpose
    kid: Opaque
    jwk: dict[str, Any]
    trust_domain: str
    assurance: Literal["development", "production"] = "production"
    state: Literal["active", "retired", "compromised"] = "active"
    not_before: Seconds = 0  # signs from then on; published earlier, so that everybody knows it by then
    not_after: Seconds | None = None  # signs until then; what it signed is verified until the last of it has expired


class Client(Wire):
    """An OAuth client, RFC 6749 section 2.  Key: SHA-256 of `client_id`.  It may what is listed, and begins with nothing.

    Scopes are exact codes, or prefixes ending in `*`.  A subject token type that `ceilings` does not name is refused: where the type
    says nothing of scope, its ceiling is the scope (draft-ietf-oauth-transaction-tokens-10: unknown is never unconstrained).
    """

    kind: Literal[Kind.CLIENT] = Kind.CLIENT
    client_id: ClientID
    name: Annotated[str, StringConstraints(max_length=128)] = ""
    owner: str
    auth_method: AuthMethod
    jwks: dict[str, Any] | None = None  # RFC 7517; of private_key_jwt and self_signed_tls_client_auth
    certificate: Certificate | None = None  # of tls_client_auth, RFC 8705 section 2.1.2
    spiffe_id: SpiffePattern | None = None  # of spiffe_jwt and spiffe_x509; elsewhere the workload that the client is
    grant_types: tuple[GrantType, ...] = ()
    scopes: Patterns = ()  # the most that `client_credentials` gives
    ceilings: dict[SubjectType, Patterns] = {}  # the most that an exchange gives, by the type of its subject token
    resources: tuple[Resource, ...] = ()  # RFC 8707: what its access tokens may be for, besides the fabric itself
    protects: tuple[Resource, ...] = ()  # resources that it serves: tokens for these it may introspect
    access_ttl_s: Annotated[int, Field(gt=0, le=MAX_TTL_S)] = MAX_TTL_S
    txn_ttl_s: Annotated[int, Field(gt=0, le=MAX_TTL_S)] = DEFAULT_TTL_S
    replacements: Annotated[int, Field(ge=0, le=MAX_HOPS)] = 2  # how often its transaction tokens may be replaced
    certificate_bound: bool = False  # `tls_client_certificate_bound_access_tokens`, RFC 8705 section 3.4
    dpop_required: bool = False  # `dpop_bound_access_tokens`, RFC 9449 section 5.2
    hears: tuple[SpiffeIDText, ...] = ()  # namespaces of whose agents (and, with the trust domain itself, people) its streams may tell
    document: Digest | None = None  # SHA-256 of the metadata document that was accepted, of a client_id that is a URL
    state: State = "active"


class AuthorizationServer(Wire):
    """An authorization server that is not ours, which the broker may ask for tokens.  Key: the name.

    Without a token endpoint both endpoints are read from its metadata (RFC 8414), which must name this very issuer.
    """

    kind: Literal[Kind.AUTHORIZATION_SERVER] = Kind.AUTHORIZATION_SERVER
    name: Name
    owner: str
    issuer: ServerURL
    token_endpoint: ServerURL | None = None
    revocation_endpoint: ServerURL | None = None  # RFC 7009
    client_id: ClientID
    auth: ServerAuth = "private_key_jwt"
    certificate: Name | None = None  # of tls_client_auth
    grants: tuple[ObtainBy, ...]
    resources: tuple[Resource, ...]  # RFC 8707: what may be asked for
    scopes: Patterns = ()  # the most that may be asked for
    subject: Literal["pairwise", "same"] = "pairwise"  # what it is told of persons and agents: names of its own, or ours
    revocable: bool = False  # its resource servers heed a revocation: otherwise none of its tokens reaches an agent
    state: State = "active"


class Point(Wire):
    """An enforcement point that is not contained: past its budget it speaks, and has not applied entry `n`, or was seen to accept what
    that entry revoked.  Key: its name.  Deleted once it has answered, or fell silent past its budget and so refuses by itself.
    """

    kind: Literal[Kind.POINT] = Kind.POINT
    name: Annotated[str, StringConstraints(pattern=r"^[^\s]{1,600}$")]
    workload: SpiffeIDText
    n: int
    why: Literal["not_applied", "accepted"]
    since: Seconds


class ResponsePolicy(Wire):
    """How signals are answered.  Key: the name."""

    kind: Literal[Kind.RESPONSE] = Kind.RESPONSE
    name: Name
    rules: tuple[ResponseRule, ...]


class Subscription(SubscriptionRule):
    """A stream of ours at a transmitter.  Key: the name."""

    kind: Literal[Kind.SUBSCRIPTION] = Kind.SUBSCRIPTION


class Detection(DetectionRule):
    """What the fabric itself raises a signal about.  Key: the name."""

    kind: Literal[Kind.DETECTION] = Kind.DETECTION


PUSH: Final = "urn:ietf:rfc:8935"
POLL: Final = "urn:ietf:rfc:8936"


class PushDelivery(Wire):
    """Where SETs are pushed to.  `authorization` is sealed under a key that only `signals` holds: FACTS keeps everything for ever."""

    method: Literal["urn:ietf:rfc:8935"] = PUSH
    endpoint_url: Annotated[str, StringConstraints(pattern=r"^https?://[^\s]+$", max_length=2048)]
    authorization: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+$", max_length=8192)] | None = None


class PollDelivery(Wire):
    """The receiver fetches them itself."""

    method: Literal["urn:ietf:rfc:8936"] = POLL


class EventStream(Wire):
    """A receiver's stream of our signals, SSF 1.0 section 8.1.1.  Key: `stream_id`.  `signals` alone writes it."""

    kind: Literal[Kind.STREAM] = Kind.STREAM
    stream_id: Opaque
    client_id: Annotated[str, StringConstraints(min_length=1, max_length=512)]  # whose it is
    aud: str
    events_requested: tuple[str, ...] | None = None  # none: whatever we have
    delivery: Annotated[PushDelivery | PollDelivery, Field(discriminator="method")]
    description: FreeText | None = None
    status: StreamStatus = "enabled"
    status_reason: Annotated[str, StringConstraints(max_length=1024)] | None = None
    added: tuple[SubjectID, ...] = ()
    removed: tuple[SubjectID, ...] = ()
    created_at: Seconds


class Pending(Wire):
    """A response beyond its transmitter's ceiling: it waits for an operator.  Key: SHA-256 of `iss`, and a slot.

    A transmitter has a fixed number of slots, which are used again: whoever floods the fabric fills no stream with what waits.
    """

    kind: Literal[Kind.PENDING] = Kind.PENDING
    iss: str
    slot: Annotated[int, Field(ge=0, lt=MAX_PENDING)]
    id: Opaque
    jti: str
    event: str
    confidence: Literal["low", "medium", "high"]
    rule: Name
    policy: Name
    response: Answer
    scope: RuleScope
    value: str  # in clear, a person's too: somebody has to judge whether it is right
    place: SpiffeIDText  # over which whoever confirms it must be revoker
    why: str  # it waits
    causes: tuple[Cause, ...] = ()  # what is added to the posture; none: of a response without one
    duration_s: Annotated[int, Field(gt=0)] | None = None
    receipt: bool = False
    asked_at: Seconds
    expires_at: Seconds
    state: Literal["pending", "confirmed", "dismissed"] = "pending"
    by: str | None = None  # who confirmed or dismissed it
    reason: FreeText | None = None


class Approval(Wire):
    """One request that a person is asked to let pass once.  Key: the agent's SPIFFE ID and a slot.

    `digest` binds it to agent, instance, person, tool, actions, purpose and arguments (workers.common.approvals).  An agent has a fixed
    number of slots, which are used again.
    """

    kind: Literal[Kind.APPROVAL] = Kind.APPROVAL
    agent: SpiffeIDText
    slot: Annotated[int, Field(ge=0, lt=MAX_APPROVALS)]
    id: Opaque
    digest: Digest
    instance: InstanceID
    user: str | None = None  # on whose behalf: they may not approve it
    tool: Name
    actions: tuple[Code, ...]
    purpose: Code
    call: CallParts
    authorization_details: tuple[AuthorizationDetail, ...] | None = None  # RFC 9396
    arguments: Arguments | None = None  # where the agent showed them
    intent: FreeText | None = None  # the agent's own words; they prove nothing
    explanation: str  # of the refusal that asked for it
    asked_at: Seconds
    expires_at: Seconds  # of the question while it is pending, of the answer afterwards
    state: Literal["pending", "approved", "denied", "spent"] = "pending"
    by: str | None = None  # the person's nkey
    at: Seconds | None = None  # when they answered
    reason: FreeText | None = None
    spent_on: Digest | None = None  # the one signed request that used it


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

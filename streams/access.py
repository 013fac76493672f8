"""Who may do what on the bus: one table, from which every credential, template, export and import is generated.  Design section 2.

NATS reads an *empty* list of allowed subjects as "everything", so `Permissions` cannot be empty and writes a missing side as a denial.
What is not listed here nobody may do; `tests/integration/test_access_walk.py` walks every credential over every subject family.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from streams import subjects as s

ACCOUNTS = ("FABRIC", "AGENTS", "POINTS", "OPERATORS", "EDGE", "EGRESS", "AUTH", "SYS")
OUTER_ACCOUNTS = ("AGENTS", "POINTS", "OPERATORS")  # where admission may place a connection
JETSTREAM_ACCOUNT = "FABRIC"

RESPONSE_TTL_NS = 10_000_000_000
FACT_KINDS_OF_REGISTRY = (
    "agent",
    "tool",
    "namespace",
    "relation",
    "policy",
    "response",
    "person",
    "transmitter",
    "issuer",
    "key",
    "detection",
    "subscription",
    "client",
    "authserver",
)
DURABLES = {
    "SIGNALS": ("signals",),
    "FACTS": ("revocation",),
    "RECORD": ("tell-responses", "tell-revocations", "receipts", "return-receipts"),
}  # stream to its durable consumers
_API = "$JS.API"
DIRECT_GET_REVOCATIONS = f"{_API}.DIRECT.GET.REVOCATIONS"


class EmptyPermissions(ValueError):
    """A permission set without any right: NATS would read parts of it as every right."""


@dataclass(frozen=True, slots=True)
class Permissions:
    """What may be published and subscribed to, and whether requests may be answered (once, within ten seconds)."""

    publish: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()
    respond: bool = False
    publish_deny: tuple[str, ...] = ()  # exceptions to `publish`

    def __post_init__(self) -> None:
        if not self.publish and not self.subscribe:
            raise EmptyPermissions("a credential must be allowed something")
        if not all((*self.publish, *self.subscribe, *self.publish_deny)):
            raise EmptyPermissions("an empty subject")

    def claims(self) -> dict[str, Any]:
        """As members of a NATS user JWT or of a scoped signing key's template."""
        sides: dict[str, Any] = {"pub": _side(self.publish, self.publish_deny), "sub": _side(self.subscribe, ())}
        return {**sides, **({"resp": {"max": 1, "ttl": RESPONSE_TTL_NS}} if self.respond else {})}


@dataclass(frozen=True, slots=True)
class Credential:
    """A static user, with an nkey and a JWT of its own: `<state>/creds/<name>.creds`."""

    name: str
    account: str
    permissions: Permissions


@dataclass(frozen=True, slots=True)
class Template:
    """What a scoped signing key of an outer account grants; `{{name()}}` is the connection's attested name."""

    account: str
    role: str
    permissions: Permissions


@dataclass(frozen=True, slots=True)
class Limits:
    """Of each connection in an account.  The server ignores such limits in what the callout answers, templates included; an account's
    it enforces (tests/integration/test_operator_mode.py).
    """

    subscriptions: int
    payload_bytes: int


@dataclass(frozen=True, slots=True)
class Export:
    """What an account, FABRIC unless `by` names another, offers to the named accounts alone (they hold an activation token each)."""

    subject: str
    type: Literal["service", "stream"]
    to: tuple[str, ...]
    response: Literal["Singleton", "Stream"] = "Singleton"
    share: bool = True  # the server writes who called into Nats-Request-Info
    by: str = "FABRIC"


def _side(allow: Iterable[str], deny: Iterable[str]) -> dict[str, list[str]]:
    allowed, denied = list(allow), list(deny)
    return {"allow": allowed, **({"deny": denied} if denied else {})} if allowed else {"deny": [">"]}


# --- rights on JetStream, as subjects ------------------------------------------------------------------------------------------


def _pull(stream: str, durable: str) -> tuple[str, ...]:
    """Consume from a durable that the topology made; nothing about it can be changed."""
    return (f"{_API}.CONSUMER.MSG.NEXT.{stream}.{durable}", f"{_API}.CONSUMER.INFO.{stream}.{durable}", f"$JS.ACK.{stream}.{durable}.>")


def _direct_get(stream: str) -> tuple[str, ...]:
    return (f"{_API}.DIRECT.GET.{stream}", f"{_API}.DIRECT.GET.{stream}.>")


def _stream_info(stream: str) -> tuple[str, ...]:
    return (f"{_API}.STREAM.INFO.{stream}",)


_VIEW = (
    *_direct_get("FACTS"),
    *_direct_get("REVOCATIONS"),
    *_stream_info("FACTS"),
    *_stream_info("REVOCATIONS"),
    f"{_API}.CONSUMER.CREATE.FACTS.*.{s.FACT.filter}",  # a short-lived consumer to load from; its name is random
    f"{_API}.CONSUMER.INFO.FACTS.*",
    f"{_API}.CONSUMER.DELETE.FACTS.*",
)
_VIEW_DENY = tuple(
    denied
    for durable in DURABLES["FACTS"]
    for denied in (f"{_API}.CONSUMER.CREATE.FACTS.{durable}.>", f"{_API}.CONSUMER.DELETE.FACTS.{durable}")
)
_VIEW_SUBSCRIBE = (s.PUSH_FACT.filter, s.PUSH_REVOCATION.filter)


def _records(source: str) -> tuple[str, ...]:
    """Events of one's own in RECORD, and the last of each subject back: whose it is that stands under one's message id."""
    own = s.RECORD.at(source) + ".>"
    return (own, f"{_API}.DIRECT.GET.RECORD.{own}")


_OUTGOING = (  # queues of SETs: a consumer for every stream that is pushed, removed with it
    *_direct_get("OUTGOING"),
    f"{_API}.CONSUMER.CREATE.OUTGOING.*.{s.OUTGOING.filter}",
    *(f"{_API}.CONSUMER.{verb}.OUTGOING.*" for verb in ("INFO", "DELETE", "MSG.NEXT")),
    f"{_API}.STREAM.PURGE.OUTGOING",
    "$JS.ACK.OUTGOING.>",
)


def _worker(name: str, *, publish: Iterable[str], subscribe: Iterable[str] = (), record: bool = True) -> Credential:
    """A worker in FABRIC: its own rights, both views, its inbox, its health; `record`: events of its own in RECORD."""
    return Credential(
        name,
        "FABRIC",
        Permissions(
            publish=(*publish, *(_records(name) if record else ()), *_VIEW),
            subscribe=(*subscribe, *_VIEW_SUBSCRIBE, s.HEALTH.at(name), f"{s.worker_inbox(name)}.>"),
            respond=True,
            publish_deny=_VIEW_DENY,
        ),
    )


_TOPOLOGY = Permissions(
    publish=(
        f"{_API}.INFO",
        *(f"{_API}.STREAM.{verb}.*" for verb in ("CREATE", "UPDATE", "INFO")),
        f"{_API}.CONSUMER.CREATE.*.*.>",
        f"{_API}.CONSUMER.INFO.*.*",
    ),
    subscribe=(f"{s.worker_inbox('topology')}.>",),
)
_APPROVALS = (s.APPROVAL_ASK.filter, s.APPROVAL_SHOW.filter, s.APPROVAL_SPEND.filter)
_CALLOUT = Permissions(subscribe=("$SYS.REQ.USER.AUTH",), respond=True)
_CUTTER = Permissions(
    publish=("$SYS.REQ.SERVER.PING.CONNZ", "$SYS.REQ.SERVER.*.KICK"),
    subscribe=(
        *(f"$SYS.ACCOUNT.{{{account}}}.{event}" for account in OUTER_ACCOUNTS for event in ("CONNECT", "DISCONNECT")),
        f"{s.worker_inbox('admission-sys')}.>",
    ),
)
_EDGE = Permissions(
    publish=(
        s.EDGE_KEYS.filter,
        s.EDGE_SSF.filter,
        s.EDGE_STATUS.filter,
        s.OAUTH.filter,
        s.SET.at("edge"),
        f"{s.HEALTH.prefix}.*",
        s.EGRESS_HEALTH.filter,
    ),
    subscribe=(s.FETCH.filter, f"{s.worker_inbox('edge')}.>"),
    respond=True,
)

_EGRESS_NAME = "*.{egress}"  # an instance of it, then the egress's SPIFFE ID as a subject: each copy is a point of its own
_EGRESS = Permissions(
    publish=(
        *(f"{subject.prefix}.{_EGRESS_NAME}" for subject in (s.ATTACH, s.CLAIM, s.USE, s.ACK, s.NOTICE, s.SNAPSHOT, s.VERDICT, s.RELEASE)),
        DIRECT_GET_REVOCATIONS,
    ),
    subscribe=(s.PUSH_REVOCATION.filter, s.PUSH_TOOL.filter, s.PUSH_DRILL.filter, s.EGRESS_HEALTH.filter, f"{s.worker_inbox('egress')}.>"),
    respond=True,
)

CREDENTIALS: dict[str, Credential] = {
    credential.name: credential
    for credential in (
        Credential("topology", "FABRIC", _TOPOLOGY),
        _worker(
            "registry",
            publish=(*(s.FACT.at(kind) + ".>" for kind in (*FACT_KINDS_OF_REGISTRY, "approval")), s.PUSH_TOOL.filter, s.FETCH.filter),
            subscribe=("weft.command.registry.>", s.ATTACH.filter, s.EDGE_KEYS.filter, *_APPROVALS),
        ),
        _worker(
            "gateway",
            publish=(s.MINT.filter, s.CUT.filter, s.APPROVAL_ASK.filter, s.APPROVAL_SHOW.filter),
            subscribe=(s.INVOKE.filter, s.TOOLS.filter, s.APPROVAL.filter),
        ),
        _worker(
            "broker",
            publish=(
                *_direct_get("RECORD"),
                s.STATUS.filter,
                s.APPROVAL_SPEND.filter,
                s.CLAIMED.at("broker") + ".*",
                s.ORDER.filter,
                s.FACT.at("credential") + ".>",
                s.SEALED.filter,
            ),
            subscribe=(s.MINT.filter, s.CANARY.filter, s.OAUTH.filter, s.SEALED.filter, "weft.command.broker.>", s.RELEASE.filter),
        ),
        _worker(
            "signals",
            publish=(
                s.SIGNAL.filter,
                s.FETCH.filter,
                s.FACT.at("posture") + ".>",
                s.FACT.at("stream") + ".>",
                s.OUTGOING.filter,
                s.DEAD.filter,
                *_OUTGOING,
                *(
                    right for durable in DURABLES["RECORD"] for right in _pull("RECORD", durable)
                ),  # what was done about signals and revoked, and nothing else of RECORD
                s.FACT.at("pending") + ".>",
                s.ORDER.filter,
                s.CUT.filter,
                *_pull("SIGNALS", "signals"),
                *_direct_get("SIGNALS"),
                *_direct_get("RECORD"),  # whether an instance is who a signal says; what detections look at
                *_stream_info("RECORD"),
            ),
            subscribe=(
                s.SET.filter,
                "weft.command.signals.>",
                s.NOTICE.filter,
                s.PUSH_RECORD.filter,
                s.EDGE_SSF.filter,
                s.PUSH_OUTGOING.filter,
            ),
        ),
        _worker(
            "revocation",
            publish=(
                s.REVOCATION_ENTRY.filter,
                s.REVOCATION_BEACON.filter,
                s.CLAIMED.filter,
                s.FACT.at("point") + ".>",
                s.CANARY.filter,
                s.PUSH_DRILL.filter,
                *_records("point"),
                s.ORDER.filter,  # a copy that does not write hands on to the one that does
                *_pull("FACTS", "revocation"),
                *_direct_get("CLAIMS"),
            ),
            subscribe=(
                *(subject.filter for subject in (s.ORDER, s.COMPLETE, s.CLAIM, s.USE, s.ACK, s.SNAPSHOT, s.VERDICT)),
                *(subject.filter for subject in (s.STATUS, s.EDGE_STATUS, s.DRILL)),
            ),
        ),
        _worker(
            "audit",
            publish=(*_direct_get("RECORD"), *_stream_info("RECORD")),
            subscribe=(s.QUERY.filter,),
        ),
        _worker("admission", publish=(), subscribe=(s.CUT.filter,)),
        _worker("issuer", publish=(), record=False),  # the development issuer: it reads who is registered
        Credential("admission-auth", "AUTH", _CALLOUT),
        Credential("admission-sys", "SYS", _CUTTER),
        Credential("edge", "EDGE", _EDGE),
        Credential("egress", "EGRESS", _EGRESS),
    )
}

# --- outside FABRIC ---------------------------------------------------------------------------------------------------------------

NAME = "{{name()}}"
_OWN_INBOX = f"_INBOX.{NAME}.>"

TEMPLATES: dict[str, Template] = {
    template.role: template
    for template in (
        Template(
            "AGENTS",
            "agent",
            Permissions(
                publish=tuple(f"{subject.prefix}.{NAME}" for subject in (s.INVOKE, s.TOOLS, s.COMPLETE, s.APPROVAL)),
                subscribe=(_OWN_INBOX,),
            ),
        ),
        Template(
            "POINTS",
            "point",
            Permissions(
                publish=(
                    *(f"{subject.prefix}.{NAME}" for subject in (s.ATTACH, s.CLAIM, s.USE, s.ACK, s.SNAPSHOT, s.VERDICT, s.NOTICE, s.SET)),
                    DIRECT_GET_REVOCATIONS,
                ),
                subscribe=(s.PUSH_REVOCATION.filter, s.PUSH_TOOL.filter, s.PUSH_DRILL.filter, _OWN_INBOX),
            ),
        ),
        Template(
            "OPERATORS",
            "operator",
            Permissions(
                publish=(f"weft.command.*.*.{NAME}", f"weft.query.*.{NAME}", f"{s.SET.prefix}.{NAME}", DIRECT_GET_REVOCATIONS),
                subscribe=(s.PUSH_REVOCATION.filter, _OWN_INBOX),
            ),
        ),
    )
}

LIMITS: dict[str, Limits] = {
    "AGENTS": Limits(subscriptions=16, payload_bytes=65_536),
    "POINTS": Limits(subscriptions=128, payload_bytes=65_536),
    "OPERATORS": Limits(subscriptions=64, payload_bytes=262_144),
}

EXPORTS: tuple[Export, ...] = (
    *(Export(subject.filter, "service", ("AGENTS",)) for subject in (s.INVOKE, s.TOOLS, s.COMPLETE, s.APPROVAL)),
    *(Export(subject.filter, "service", ("POINTS", "EGRESS")) for subject in (s.ATTACH, s.CLAIM, s.USE, s.ACK, s.NOTICE)),
    *(Export(subject.filter, "service", ("POINTS", "EGRESS")) for subject in (s.SNAPSHOT, s.VERDICT)),
    Export(s.RELEASE.filter, "service", ("EGRESS",)),
    Export(s.EGRESS_HEALTH.filter, "service", ("EDGE",), by="EGRESS", response="Stream"),
    Export("weft.command.>", "service", ("OPERATORS",)),
    Export("weft.query.>", "service", ("OPERATORS",)),
    Export(s.SET.filter, "service", ("POINTS", "OPERATORS", "EDGE")),
    *(Export(subject.filter, "service", ("EDGE",)) for subject in (s.EDGE_KEYS, s.EDGE_SSF, s.EDGE_STATUS, s.OAUTH)),
    Export(s.FETCH.filter, "service", ("FABRIC",), by="EDGE"),
    Export(s.HEALTH.filter, "service", ("EDGE",), response="Stream"),  # every copy of a worker answers for itself
    Export(DIRECT_GET_REVOCATIONS, "service", ("POINTS", "OPERATORS", "EGRESS"), response="Stream", share=False),
    Export(s.PUSH_REVOCATION.filter, "stream", ("POINTS", "OPERATORS", "EGRESS")),
    *(Export(subject.filter, "stream", ("POINTS", "EGRESS")) for subject in (s.PUSH_TOOL, s.PUSH_DRILL)),
)

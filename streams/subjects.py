"""Every subject of the fabric, as a value with both faces: `.at(...)` to publish, `.filter` to subscribe.

A *name* is a connection's name as admission placed it and the server attests it: `<instance>.<SPIFFE ID subject>` for agents and
points, the public nkey for operators, the worker's own name inside FABRIC.  Names may span several tokens, so they always come last.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from weft.digest import sha256
from weft.spiffeid import SpiffeID


@dataclass(frozen=True, slots=True)
class Subject:
    """`prefix` alone, or followed by what `.at` is given."""

    prefix: str
    open: bool = True

    @property
    def filter(self) -> str:
        """What to subscribe to."""
        return f"{self.prefix}.>" if self.open else self.prefix

    def at(self, *tokens: str) -> str:
        """What to publish to.  Raises ValueError for a token that would widen or break the subject."""
        if self.open != bool(tokens):
            raise ValueError(f"{self.prefix} takes {'a name' if self.open else 'nothing'}")
        return _joined(self.prefix, tokens)

    def name(self, subject: str) -> str:
        """The inverse of `.at` with one name."""
        return subject[len(self.prefix) + 1 :]


@lru_cache(maxsize=16_384)  # the same few callers stand in nearly every subject
def _joined(prefix: str, tokens: tuple[str, ...]) -> str:
    for token in tokens:
        if not token or any(c in " \t\r\n*>" for c in token) or ".." in token or token[0] == "." or token[-1] == ".":
            raise ValueError(f"not a subject token under {prefix}")
    return ".".join((prefix, *tokens))


# --- agents ask (account AGENTS) -------------------------------------------------------------------------------------------
INVOKE = Subject("weft.invoke")
TOOLS = Subject("weft.tools")
COMPLETE = Subject("weft.complete")
APPROVAL = Subject("weft.approval")  # what became of an approval that the agent was told of

# --- enforcement points say (account POINTS) ---------------------------------------------------------------------------------
ATTACH = Subject("weft.attach")
CLAIM = Subject("weft.claim")
USE = Subject("weft.use")
ACK = Subject("weft.ack")
SNAPSHOT = Subject("weft.snapshot")  # of what is revoked, for a guard that starts
VERDICT = Subject("weft.verdict")  # a guard's own, on a canary
NOTICE = Subject("weft.notice")  # a guard's own signal

# --- operators and transmitters (account OPERATORS) ---------------------------------------------------------------------------
APPLY = Subject("weft.command.registry.apply")
REVOKE = Subject("weft.command.signals.revoke")
DRILL = Subject("weft.command.revocation.drill")
SWEEP = Subject("weft.command.signals.sweep")
LIFT = Subject("weft.command.signals.lift")
STREAMS = Subject("weft.command.signals.streams")  # the transmitter's streams, dead letters, an event to send
KEYS = Subject("weft.command.broker.keys")
VAULT = Subject("weft.command.broker.vault")
RESOLVE = Subject("weft.command.signals.resolve")
RESPONSES = Subject("weft.command.signals.responses")  # which responses wait
APPROVE = Subject("weft.command.registry.approve")
APPROVALS = Subject("weft.command.registry.approvals")  # which approvals wait
CIMD = Subject("weft.command.registry.cimd")
CIMD_TOOL = Subject("weft.command.registry.resource")
QUERY = Subject("weft.query.audit")
SET = Subject("weft.set")  # a SET on its way in; SIGNAL holds it once stored

# --- the edge (account EDGE) ---------------------------------------------------------------------------------------------------
EDGE_KEYS = Subject("weft.edge.keys", open=False)
EDGE_SSF = Subject("weft.edge.ssf", open=False)  # a receiver's HTTP request to the transmitter
EDGE_STATUS = Subject("weft.edge.status", open=False)  # a status list
OAUTH = Subject("weft.edge.oauth", open=False)  # a request at the OAuth face, which the broker answers
FETCH = Subject("weft.edge.fetch", open=False)  # an HTTP request that a worker has the edge make

# --- the egress (account EGRESS) ---------------------------------------------------------------------------------------------------
RELEASE = Subject("weft.release")  # the credential that one call needs, sealed to a one-time key
EGRESS_HEALTH = Subject("weft.egress.health", open=False)  # every copy answers for itself

# --- between workers (account FABRIC) ------------------------------------------------------------------------------------------
MINT = Subject("weft.broker.mint", open=False)
SEALED = Subject("weft.broker.sealed", open=False)  # a broker asks the others for what it does not hold
ORDER = Subject("weft.order.revoke", open=False)
CANARY = Subject("weft.broker.canary", open=False)  # a token for a drill
STATUS = Subject("weft.order.status", open=False)  # an entry of a status list
HEALTH = Subject("weft.health")  # .at(worker)
CUT = Subject("weft.order.cut", open=False)
APPROVAL_ASK = Subject("weft.order.approval.ask", open=False)
APPROVAL_SHOW = Subject("weft.order.approval.show", open=False)
APPROVAL_SPEND = Subject("weft.order.approval.spend", open=False)

# --- streams --------------------------------------------------------------------------------------------------------------------
FACT = Subject("weft.fact")  # .at(kind, key)
SIGNAL = Subject("weft.signal")  # .at(digest of iss)
REVOCATION_ENTRY = Subject("weft.revocation.entry", open=False)
REVOCATION_BEACON = Subject("weft.revocation.beacon", open=False)
REVOCATION = Subject("weft.revocation")
OUTGOING = Subject("weft.outgoing")  # .at(stream_id, "event" or "notice", jti): a SET that its receiver has not acknowledged
DEAD = Subject("weft.dead")  # .at(stream_id, jti): a SET that its receiver refused, or was not there for
RECORD = Subject("weft.record")  # .at(worker, what, who)
CLAIMED = Subject("weft.claimed")  # .at(digest of tool and jti)

# --- what the server republishes after commit, and broadcasts to points -----------------------------------------------------------
PUSH_FACT = Subject("weft.push.fact")
PUSH_REVOCATION = Subject("weft.push.revocation")
PUSH_RECORD = Subject("weft.push.record")
PUSH_OUTGOING = Subject("weft.push.outgoing")  # headers alone: there is something to fetch
PUSH_DRILL = Subject("weft.push.drill")  # .at(digest of the tool's name): a canary is shown
PUSH_TOOL = Subject("weft.push.tool")  # .at(digest of the tool's name): its record changed; attach again


def connection_name(instance: str, spiffe_id: SpiffeID) -> str:
    """The name of an agent's or a point's connection."""
    return f"{instance}.{spiffe_id.subject}"


def parse_connection_name(name: str) -> tuple[str, SpiffeID]:
    """The inverse; raises ValueError."""
    instance, _, subject = name.partition(".")
    return instance, SpiffeID.from_subject(subject)


def relation_key(subject: str, relation: str, obj: str) -> str:
    """The key of a relation fact."""
    return sha256(f"{subject}\0{relation}\0{obj}")


def inbox_of(name: str) -> str:
    """The inbox prefix of an outer connection; nobody else may subscribe below it."""
    return f"_INBOX.{name}"


def worker_inbox(worker: str) -> str:
    """The inbox prefix of a worker."""
    return f"_INBOX_{worker}"

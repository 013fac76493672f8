"""RECORD's events as detections read them: plain values, a tenth of an event's size.  Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import orjson

from schemas.record import DENIED, ISSUED, NOT_AUTHENTICATED, USED, is_own
from streams.subjects import RECORD, parse_connection_name

_SUBJECTS = tuple(
    RECORD.at(worker, what) + "."
    for worker, what in (
        ("broker", "issued"),
        ("broker", "denied"),
        ("gateway", "denied"),
        ("point", "used"),
        ("broker", "notauthenticated"),
    )
)


@dataclass(frozen=True, slots=True)
class Seen:
    """`granted`: a token was issued; `refused`: by gateway or broker; `served` and `rejected`: a guard's word; `unproven`: so often
    somebody failed to prove to be the client that this agent is.
    """

    kind: Literal["granted", "refused", "served", "rejected", "unproven"]
    seq: int
    at: float  # seconds since the epoch, when it was recorded
    agent: str
    instance: str
    txn: str | None = None
    jti: str | None = None
    tool: str | None = None
    actions: tuple[str, ...] = ()
    before: tuple[str, ...] = ()  # agents that acted before, the first first
    reason: str | None = None
    point: str | None = None  # the connection that reported
    said_at: float | None = None  # when it says that this was
    times: int = 1  # of `unproven`
    replays: int = 0


def read(seq: int, subject: str, body: bytes) -> Seen | None:
    """None for what no detection reads, and for what cannot be read."""
    if not subject.startswith(_SUBJECTS):
        return None
    try:
        event = orjson.loads(body)
        at, data = datetime.fromisoformat(event["time"]).timestamp(), event["data"]
        reader = _READERS.get(event["type"])
        return None if reader is None or not is_own(subject, event["type"]) else reader(seq, at, data)
    except (ValueError, LookupError, TypeError, AttributeError):
        return None


def _granted(seq: int, at: float, data: dict[str, Any]) -> Seen:
    claims = data["claims"]
    act, call = claims["act"], claims["call"]
    return Seen(
        "granted",
        seq,
        at,
        agent=act["sub"],
        instance=act["instance"],
        txn=claims["txn"],
        jti=claims["jti"],
        tool=call["tool"],
        actions=tuple(call["actions"]),
        before=tuple(past["sub"] for past in claims.get("act_chain", ())),
    )


def _refused(seq: int, at: float, data: dict[str, Any]) -> Seen:
    instance, workload = parse_connection_name(data["caller"])
    return Seen("refused", seq, at, agent=str(workload), instance=instance, txn=data.get("txn"), reason=data["reason"])


def _unproven(seq: int, at: float, data: dict[str, Any]) -> Seen | None:
    """None where no workload was named: then nobody is there whom a signal could be about."""
    if data.get("workload") is None:
        return None
    agent, instance = data["workload"], data["instance"]
    return Seen("unproven", seq, at, agent=agent, instance=instance, times=int(data["failures"]), replays=int(data["replays"]))


def _used(seq: int, at: float, data: dict[str, Any]) -> Seen:
    return Seen(
        "served" if data["accepted"] else "rejected",
        seq,
        at,
        agent=data["agent"],
        instance=data["instance"],
        txn=data["txn"],
        jti=data["jti"],
        tool=data["tool"],
        actions=tuple(data["actions"]),
        reason=data.get("reason"),
        point=data["point"],
        said_at=data["at"],
    )


_READERS: dict[str, Callable[[int, float, dict[str, Any]], Seen | None]] = {
    ISSUED: _granted,
    DENIED: _refused,
    USED: _used,
    NOT_AUTHENTICATED: _unproven,
}

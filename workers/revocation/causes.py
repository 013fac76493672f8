"""Why an entry is written: the one form that postures, orders and completed transactions are brought into.  Pure."""

from __future__ import annotations

from dataclasses import dataclass

from weft.digest import sha256, target_digest

from schemas.facts import Posture
from schemas.revocation import Order, Target


@dataclass(frozen=True, slots=True)
class Cause:
    """What is to be revoked: digests for the stream, names for RECORD."""

    key: str | None  # two causes with one key make one entry; none: may share an entry with others
    targets: tuple[Target, ...]
    names: tuple[str, ...]  # `<kind>:<value>`
    reason: str
    by: str
    posture: int | None = None  # the facts revision of the posture that caused it


@dataclass(frozen=True, slots=True)
class Committed:
    """An entry that is on the stream."""

    n: int
    at: float


def of_posture(posture: Posture, revision: int, by: str) -> Cause | None:
    """A committed posture; none unless it revokes.  People stay digests here too."""
    if not posture.revoke:
        return None
    name = posture.value if posture.value is not None and posture.scope != "user" else posture.target
    return Cause(
        key=f"posture:{revision}",
        targets=(Target(kind=posture.scope, digest=posture.target),),
        names=(f"{posture.scope}:{name}",),
        reason=f"posture {posture.level}",
        by=by,
        posture=revision,
    )


def of_order(order: Order) -> Cause:
    """An order of `signals`, on behalf of a revoker."""
    targets = dict.fromkeys(Target(kind=kind, digest=target_digest(kind, value)) for kind, value in order.targets)
    names = dict.fromkeys(f"{kind}:{target_digest(kind, value) if kind == 'user' else value}" for kind, value in order.targets)
    return Cause(key=f"order:{sha256(order.id)}", targets=tuple(targets), names=tuple(names), reason=order.cause, by=order.by)


def of_completion(jti: str, caller: str) -> Cause:
    """An agent ended its own token; descendants carry its jti in `act_chain` and die with it."""
    target = Target(kind="token", digest=target_digest("token", jti))
    return Cause(key=None, targets=(target,), names=(f"token:{jti}",), reason="completed", by=caller)

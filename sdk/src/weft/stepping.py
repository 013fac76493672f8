"""What an agent does about a step-up: asks what became of an approval, attests again, answers a challenge.

None of it decides anything: the same call is asked for again afterwards, and the fabric judges it anew.
"""

from __future__ import annotations

import asyncio
import time

import nats.errors

from weft import wire
from weft.connection import Connection
from weft.errors import Malformed
from weft.grants import Asked, HTTPCall, StepUp

ASKED = "org.weft.approval.asked.v1"
TOLD = "org.weft.approval.told.v1"
POLL_S = 4.0  # how long one question may wait for its answer
PAUSE_S = 0.5  # where the fabric could offer nothing to wait for, or did not answer
MAX_PATH, MAX_BODY = 2_048, 8_192  # characters that are shown to a person


async def shown(connection: Connection, refusal: StepUp, within_s: float) -> bool:
    """Whether there is now a reason to ask again."""
    if refusal.needs == "fresh_attestation":
        return await _attested(connection, within_s)
    if refusal.needs == "approval":
        return await _answered(connection, refusal, within_s)
    if refusal.challenge is None:
        await asyncio.sleep(min(PAUSE_S, within_s))
    return True


def again(refusal: StepUp) -> Asked:
    """The same call, as it is asked for now: with the challenge, where there is one to answer."""
    if refusal.asked is None:
        raise ValueError("a step-up without what was asked")
    payload = {**refusal.asked.payload, "iat": int(time.time()), "challenge": refusal.challenge}
    return Asked({name: value for name, value in payload.items() if value is not None}, refusal.asked.carried, refusal.asked.call)


async def _attested(connection: Connection, within_s: float) -> bool:
    """A new SVID by way of a new connection; its `iat` has to lie a second after what asked for it."""
    await asyncio.sleep(min(1.0, within_s))
    before = connection.svid
    connection.renew()
    until = time.monotonic() + within_s
    while connection.svid == before:
        if time.monotonic() >= until:
            return False
        await asyncio.sleep(0.05)
    return True


async def _answered(connection: Connection, refusal: StepUp, within_s: float) -> bool:
    """Whether a person answered, or the question ran out and may be asked again."""
    if refusal.approval is None:
        await asyncio.sleep(min(refusal.retry_after_s or PAUSE_S, within_s))
        return True
    until = time.monotonic() + within_s
    arguments = _arguments(refusal.asked.call) if refusal.asked is not None else None
    while (left := until - time.monotonic()) > 0:
        state = await _state(connection, refusal.approval, arguments, min(POLL_S, left))
        if state not in (None, "pending"):
            return True
        if state is None:
            await asyncio.sleep(min(PAUSE_S, left))
    return False


async def _state(connection: Connection, approval: str, arguments: dict[str, str] | None, wait_s: float) -> str | None:
    """None where nobody answered."""
    data = {"id": approval, "wait_s": wait_s, **({"arguments": arguments} if arguments is not None else {})}
    body = wire.event(ASKED, data, source=str(connection.spiffe_id))
    try:
        told = wire.parse(await connection.request(f"weft.approval.{connection.name}", body, wait_s + 2.0))
    except (nats.errors.Error, OSError, TimeoutError, Malformed):
        return None
    return str(told.data.get("state")) if told.type == TOLD else None


def _arguments(call: HTTPCall | None) -> dict[str, str] | None:
    """The call as a person can read it."""
    if call is None or len(call.path) > MAX_PATH or len(call.body) > MAX_BODY:
        return None
    try:
        return {"path": call.path, "body": call.body.decode()}
    except UnicodeDecodeError:
        return None

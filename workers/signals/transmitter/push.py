"""Push delivery, RFC 8935: one consumer for every stream that is pushed, one SET at a time, in order.

Retried with growing pauses are faults of the network, 5xx and 429; never what the receiver said no to (`err`, any other 4xx, a
redirect): that becomes a dead letter, and so does what could not be delivered for a day.  A copy of this worker that ends, or that
holds a SET for too long, leaves it to another: a receiver answers a repeated SET as the first time (RFC 8935 section 2.3).
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from schemas.facts import PushDelivery
from schemas.fetching import Fetch, Fetched, Header
from schemas.ssf import Queued
from workers.common.fetching import FetchUnavailable
from workers.signals.transmitter.ports import Fetches

REQUEST_S = 8.0
RETRIES_S = (1.0, 2.0, 5.0, 15.0, 60.0, 300.0, 900.0)
GIVE_UP_S = 86_400.0
MAX_RETRY_AFTER_S = 3600.0


@dataclass(frozen=True, slots=True)
class Delivered:
    """It has it."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Later."""

    delay_s: float
    fault: str


@dataclass(frozen=True, slots=True)
class GivenUp:
    """Never, unless somebody sends it again."""

    err: str
    detail: str
    abandoned: bool = False  # it was away; else it refused


Verdict = Delivered | Retry | GivenUp


def judge(answer: Fetched | None, attempt: int, age_s: float) -> Verdict:
    """What an answer means.  Pure.  none: no edge could be asked.  `attempt` counts from 1."""
    if answer is None:
        return _again("no edge answered", attempt, age_s)
    if answer.refused is not None:
        return GivenUp("endpoint_refused", answer.refused)
    if answer.failed is not None or answer.status is None:
        return _again(answer.failed or "no answer", attempt, age_s)
    if 200 <= answer.status < 300:
        return Delivered()
    if answer.status == 429 or answer.status >= 500:
        return _again(f"status {answer.status}", attempt, age_s, _retry_after(answer))
    return GivenUp(_err(answer), f"status {answer.status}")


def _again(fault: str, attempt: int, age_s: float, least_s: float = 0.0) -> Verdict:
    if age_s >= GIVE_UP_S:
        return GivenUp("unreachable", f"for {int(GIVE_UP_S // 3600)} hours: {fault}", abandoned=True)
    return Retry(max(RETRIES_S[min(max(attempt, 1), len(RETRIES_S)) - 1], least_s), fault)


def _retry_after(answer: Fetched) -> float:
    """RFC 9110 section 10.2.3, in seconds."""
    said = next((value for name, value in answer.headers if name == "retry-after"), "")
    return min(float(said), MAX_RETRY_AFTER_S) if said.isascii() and said.isdigit() else 0.0


def _err(answer: Fetched) -> str:
    """RFC 8935 section 2.4; a receiver that does not say is named by its status.  The description is free text and is not kept."""
    try:
        said = json.loads(answer.body)["err"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return f"http_{answer.status}"
    known = isinstance(said, str) and said.isascii() and said.replace("_", "").isalnum() and len(said) <= 64
    return said if known else f"http_{answer.status}"


async def send(fetches: Fetches, delivery: PushDelivery, header: str | None, queued: Queued) -> Fetched | None:
    """One attempt, RFC 8935 section 2.1; `header`: the receiver's credential in clear."""
    headers: list[Header] = [("Content-Type", "application/secevent+jwt"), ("Accept", "application/json")]
    if header is not None:
        headers.append(("Authorization", header))
    try:
        return await fetches.fetch(
            Fetch(use="receivers", method="POST", url=delivery.endpoint_url, headers=tuple(headers), body=queued.set, deadline_s=REQUEST_S)
        )
    except FetchUnavailable:
        return None

"""What a guard's check costs in process, over the one ES256 verification that nobody can save: a new token, and one seen before.

By profile: as a bearer token, and with a DPoP proof (RFC 9449).  The claim that a proof makes on CLAIMS is a round trip, and not in here.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from weft.dpop import make_proof
from weft.enforcement import Asked, check_call, check_proof, check_view
from weft.nkey import KeyPair
from weft.records import Tool
from weft.revocation import RevocationView
from weft.token import TokenVerifier

from bench.figures import Figure, percentile
from tests.support.signed import BODY, ISSUER, PAYMENTS, TokenKey, Writer, claims
from workers.common.identity import thumbprint

T = TypeVar("T")
TOKENS = 2000
URL = "https://payments.flux.88mph.com/refunds"
TOOL = Tool(
    name="payments-processing",
    workload=PAYMENTS,
    endpoint="https://payments.flux.88mph.com",
    resource="https://payments.flux.88mph.com",
    actions=frozenset({"refund"}),
    bind=frozenset({"method", "path", "body"}),
    form="txn",
    audience="88mph.com",
    single_use=False,
    proof=None,
    evidence=(),
    object_fields={"order": "/order"},
    chain=(),
    staleness_s=3,
)
ASKED = Asked("payments-processing", ("refund",), "POST", "/refunds", BODY)


def figures() -> list[Figure]:
    """Medians, in microseconds, beyond the bare verification."""
    now = int(time.time())
    key, holder, view = TokenKey(), KeyPair("U"), _view(now)
    verifier = TokenVerifier({key.kid: key.public}, issuer=ISSUER, audiences={"88mph.com"})
    bound = {"jkt": thumbprint(holder.public)}
    tokens = [key.sign(claims(now, rev=view.counter, cnf=bound)) for _ in range(TOKENS)]
    wants = replace(TOOL, proof="dpop")
    proofs = [replace(ASKED, proof=make_proof(holder, "POST", URL, token, now=now)) for token in tokens[-500:]]

    def check(token: str, asked: Asked, tool: Tool) -> None:
        verified = verifier.verify(token, now)
        check_call(verified, asked, tool, now)
        check_proof(verified, asked, tool, now)
        check_view(verified, tool, view, now)

    bare = _bare_us()
    new = _median_us(lambda token: check(token, ASKED, TOOL), tokens)
    seen = _median_us(lambda token: check(token, ASKED, TOOL), tokens[-500:])
    proven = _median_us(lambda each: check(each[0], each[1], wants), list(zip(tokens[-500:], proofs, strict=True)))
    made = _median_us(lambda token: make_proof(holder, "POST", URL, token, now=now), tokens[-500:])
    return [
        Figure("ES256 verification", round(bare, 1), "µs"),
        Figure("guard new token", round(new - bare, 1), "µs over", round(bare, 1), round(new / bare, 2)),
        Figure("guard seen token", round(seen, 1), "µs"),
        Figure("guard seen token, DPoP", round(proven, 1), "µs", round(seen, 1), round(proven / seen, 2)),
        Figure("agent's DPoP proof", round(made, 1), "µs"),
    ]


def _view(now: int) -> RevocationView:
    writer = Writer()
    view = RevocationView(lambda _: writer.public)
    for n in range(100):
        view.apply_entry(writer.entry(("token", f"another {n}"), at=now))
    view.apply_beacon(writer.beacon(at=now))
    return view


def _bare_us() -> float:
    key = ec.generate_private_key(ec.SECP256R1())
    public, algorithm = key.public_key(), ec.ECDSA(hashes.SHA256())
    messages = [hashlib.sha256(str(n).encode()).hexdigest().encode() * 20 for n in range(500)]
    signed = [(key.sign(message, algorithm), message) for message in messages]
    taken = []
    for signature, message in signed:
        started = time.perf_counter()
        public.verify(signature, message, algorithm)
        taken.append(time.perf_counter() - started)
    return percentile(sorted(taken), 0.5) * 1e6


def _median_us(check: Callable[[T], object], given: Sequence[T]) -> float:
    taken = []
    for each in given:
        started = time.perf_counter()
        check(each)
        taken.append(time.perf_counter() - started)
    return percentile(sorted(taken), 0.5) * 1e6

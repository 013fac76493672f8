"""What a guard's check costs in process, over the one ES256 verification that nobody can save: a new token, and one seen before."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from weft.enforcement import Asked, check_call, check_view
from weft.records import Tool
from weft.revocation import RevocationView
from weft.token import TokenVerifier

from bench.figures import Figure, percentile
from tests.support.signed import BODY, ISSUER, PAYMENTS, TokenKey, Writer, claims

TOKENS = 2000
TOOL = Tool(
    name="payments-processing",
    workload=PAYMENTS,
    resource="https://payments.flux.88mph.com",
    actions=frozenset({"refund"}),
    bind=frozenset({"method", "path", "body"}),
    audience="88mph.com",
    single_use=False,
    evidence=(),
    object_fields={"order": "/order"},
    chain=(),
    staleness_s=3,
)
ASKED = Asked("payments-processing", ("refund",), "POST", "/refunds", BODY)


def figures() -> list[Figure]:
    """Medians, in microseconds, beyond the bare verification."""
    now = int(time.time())
    key, writer = TokenKey(), Writer()
    view = RevocationView(lambda _: writer.public)
    for n in range(100):
        view.apply_entry(writer.entry(("token", f"another {n}"), at=now))
    view.apply_beacon(writer.beacon(at=now))
    verifier = TokenVerifier({key.kid: key.public}, issuer=ISSUER, audiences={"88mph.com"})
    tokens = [key.sign(claims(now, rev=view.counter)) for _ in range(TOKENS)]

    def check(token: str) -> None:
        verified = verifier.verify(token, now)
        check_call(verified, ASKED, TOOL, now)
        check_view(verified, TOOL, view, now)

    bare, new, seen = _bare_us(), _median_us(check, tokens), _median_us(check, tokens[-500:])
    return [
        Figure("ES256 verification", round(bare, 1), "µs"),
        Figure("guard new token", round(new - bare, 1), "µs over", round(bare, 1), round(new / bare, 2)),
        Figure("guard seen token", round(seen, 1), "µs"),
    ]


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


def _median_us(check: Callable[[str], None], tokens: list[str]) -> float:
    taken = []
    for token in tokens:
        started = time.perf_counter()
        check(token)
        taken.append(time.perf_counter() - started)
    return percentile(sorted(taken), 0.5) * 1e6

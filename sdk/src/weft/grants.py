"""What an agent is granted, or refused, and how a grant travels in the HTTP request that it is for.

A Transaction Token goes in the `Txn-Token` header (draft-ietf-oauth-transaction-tokens-10 section 1.6), an access token in
`Authorization` (RFC 6750 section 2.1, RFC 9449 section 7.1), the caller's own JWT-SVID there as well (SPIFFE JWT-SVID section 5.2).  A tool
whose record asks for a proof of possession gets one in `DPoP` (RFC 9449), by the key that the request was signed with.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from weft.dpop import make_proof
from weft.nkey import KeyPair

_NONCE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,512}", re.ASCII)  # RFC 9449 section 8.1: 1*NQCHAR


@dataclass(frozen=True, slots=True)
class HTTPCall:
    """The HTTP request that is to follow: `path` comes after the tool's endpoint, with its query as it will be sent."""

    method: str
    path: str
    body: bytes = b""

    @classmethod
    def json(cls, method: str, path: str, value: Any) -> HTTPCall:
        """A call with a JSON body."""
        return cls(method, path, json.dumps(value, separators=(",", ":")).encode())


@dataclass(frozen=True, slots=True)
class Grant:
    """One call's worth of access.  The token is in no `repr`."""

    txn: str
    endpoint: str
    token: str | None = field(repr=False)  # none where the tool takes nothing but the caller's own SVID
    expires_at: int
    actions: tuple[str, ...]
    explanation: str
    request_id: str
    proof: str | None = None  # what the tool wants beside the token
    key: KeyPair | None = field(default=None, repr=False, compare=False)  # that the request was signed with, and the token is bound to
    token_type: str = "N_A"  # as RFC 8693 section 2.2.1: `Bearer` and `DPoP` are access tokens
    svid_audience: str | None = None  # the tool takes the caller's own JWT-SVID of this audience
    leaf: bool = False  # nothing follows from it: it is no parent


@dataclass(frozen=True, slots=True)
class Refusal:
    """No, and all that an agent may know of why.  `explanation` is what to give an operator for `weft explain`."""

    code: str
    explanation: str
    needs: str | None = None
    retry_after_s: float | None = None

    def __bool__(self) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class Asked:
    """A call that was asked for, to be asked for again; it holds tokens, which are in no `repr`."""

    payload: dict[str, Any] = field(repr=False)  # of the signed request, but its id
    carried: dict[str, str] = field(repr=False)
    call: HTTPCall | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class StepUp(Refusal):
    """Not yet: `needs` has to be shown first.  `Agent.step_up` shows it and asks for the same call again.

    `approval` is the id of what a person is asked, `challenge` what the next request has to answer; both are absent where the fabric
    could offer neither just now.
    """

    approval: str | None = None
    challenge: str | None = None
    asked: Asked | None = field(default=None, repr=False, compare=False)


class Refused(Exception):
    """Raised by `call()`, which has no answer to return."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(f"{refusal.code} (explanation {refusal.explanation})")
        self.refusal = refusal


@dataclass(frozen=True, slots=True)
class Answer:
    """What the tool answered, and the RECORD sequence of the use its guard reported (evidence for later steps)."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    grant: Grant
    evidence: int | None

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


def headers_of(grant: Grant, method: str, url: str, svid: str | None = None, nonce: str | None = None) -> dict[str, str]:
    """The headers of the one request to that URL; raises Refused where the tool wants what this SDK cannot show.

    `svid` is the caller's own, of the audience that the grant names; `nonce` what that server gave out for its next proof.
    """
    shown = {} if svid is None else {"Authorization": f"Bearer {svid}"}
    if grant.token is None:
        return shown
    if grant.token_type in ("Bearer", "DPoP"):
        return {"Authorization": f"{grant.token_type} {grant.token}", **_proof(grant, grant.token, method, url, nonce)}
    return {"Txn-Token": grant.token, **shown, **_proof(grant, grant.token, method, url, nonce)}


def nonce_of(headers: Mapping[str, str]) -> str | None:
    """What the server wants in the next proof, RFC 9449 section 8.1; header names as `httpx.Headers` finds them."""
    nonce = headers.get("DPoP-Nonce", "")
    return nonce if _NONCE.fullmatch(nonce) else None


def wants_nonce(status: int, headers: Mapping[str, str]) -> bool:
    """RFC 9449 section 9: refused for the want of a nonce, and nothing was done."""
    return status == 401 and 'error="use_dpop_nonce"' in headers.get("WWW-Authenticate", "")


def _proof(grant: Grant, token: str, method: str, url: str, nonce: str | None) -> dict[str, str]:
    """The proof of possession that the tool asks for, by the key that the token is bound to; none where it asks for none."""
    if grant.proof is None:
        return {}
    if grant.proof != "dpop" or grant.key is None:
        raise Refused(Refusal("denied", grant.explanation, needs="proof_of_possession"))
    return {"DPoP": make_proof(grant.key, method, url, token, nonce=nonce)}

"""The three credentials of an invocation, verified: the caller's SVID, the person's token, the parent token.

Gateway and broker run the same code over their own views, each for itself.  What was verified is kept by its digest until it
expires or a key or an issuer among the facts changes; whether it is revoked is asked every time.  All refusals are `RequestRefused`
or `IdentityRefused`, both with a reason and a detail that repeats nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Generic, Protocol, TypeVar

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from pydantic import ValidationError
from weft.claims import VerifiedToken
from weft.digest import sha256
from weft.errors import GuardReason, TokenRefused
from weft.revocation import Revocable
from weft.spiffeid import SpiffeID
from weft.token import TokenVerifier

from config.settings import Settings
from schemas.actors import ActorClaim
from schemas.decision import Parent, UserRights
from schemas.facts import Kind
from schemas.reasons import DenyReason
from schemas.token import Ceiling, Evidence, PastActor, Requested
from streams.facts_table import FactsTable
from workers.common import keyperiods
from workers.common.bundles import cached_key
from workers.common.identity import FactBundles, VerifiedSVID, verify_svid, verify_user_token
from workers.common.requests import RequestRefused

MAX_KEPT = 8192  # of each kind of credential; an SVID lives for minutes, a token for one

KeptT = TypeVar("KeptT")


class RevocationsKnown(Protocol):
    """What of the revocation view is asked; `weft.revocation.RevocationView` is one."""

    def behind(self, token: Revocable) -> bool:
        """The token was minted at a counter that this view has not reached."""

    def revoked(self, token: Revocable) -> int | None:
        """The entry that hits this token."""


class Party(Protocol):
    """Who continues a transaction; `VerifiedSVID` is one."""

    @property
    def id(self) -> SpiffeID:
        """The workload."""

    @property
    def instance(self) -> str:
        """Which of its processes."""


class Kept(Generic[KeptT]):
    """What was verified, by digest, until it expires or the version of what it was verified with changes."""

    def __init__(self, version: Callable[[], int], size: int = MAX_KEPT) -> None:
        self._version = version
        self._seen = -1
        self._size = size
        self._held: dict[str, tuple[KeptT, float]] = {}

    def get(self, key: str, now: float) -> KeptT | None:
        """Still good, or nothing."""
        if self._seen != self._version():
            self._held.clear()
            self._seen = self._version()
        held = self._held.get(key)
        return held[0] if held is not None and now < held[1] else None

    def put(self, key: str, value: KeptT, exp: float) -> None:
        """Keep it; the oldest makes room."""
        if len(self._held) >= self._size:
            del self._held[next(iter(self._held))]
        self._held[key] = (value, exp)


class Verifier:
    """Over one worker's views."""

    def __init__(self, facts: FactsTable, revocations: RevocationsKnown, settings: Settings) -> None:
        self._facts = facts
        self._revocations = revocations
        self._settings = settings
        self._bundles = FactBundles(facts)
        self._svids: Kept[VerifiedSVID] = Kept(lambda: facts.version(Kind.KEY))
        self._users: Kept[UserRights] = Kept(lambda: facts.version(Kind.ISSUER))
        self._token_keys: dict[str, EllipticCurvePublicKey] = {}
        self._token_keys_of = -1
        self._token_keys_until = -math.inf
        self._tokens = TokenVerifier(self._token_keys, issuer=settings.issuer, audiences=(settings.trust_domain,))

    def caller(self, unverified_svid: str, name: str, now: float) -> VerifiedSVID:
        """The workload behind an SVID, which has to be the one whose connection this is."""
        digest = sha256(unverified_svid)
        svid = self._svids.get(digest, now)
        if svid is None:
            settings = self._settings
            svid = verify_svid(unverified_svid, self._bundles, now=now, trust_domain=settings.trust_domain, mode=settings.mode)
            self._svids.put(digest, svid, svid.exp)
        if svid.name != name:
            raise RequestRefused(DenyReason.CALLER_UNKNOWN, "the SVID is not the connection's")
        return svid

    def user(self, unverified_token: str, caller: VerifiedSVID, now: float) -> UserRights:
        """What a person allowed this agent."""
        key = f"{sha256(unverified_token)} {caller.id} {caller.jkt}"
        rights = self._users.get(key, now)
        if rights is None:
            rights = verify_user_token(unverified_token, self._facts, agent_id=str(caller.id), now=now, jkt=caller.jkt)
            self._users.put(key, rights, rights.exp)
        return rights

    def parent(self, unverified_token: str, caller: Party, now: float) -> Parent:
        """The token this request continues: addressed to the caller's workload, or issued to this very instance; live; not revoked.

        A token whose audience is a tool's resource is a leaf: its audience is not the trust domain, so it fails verification here.
        """
        self._refresh_token_keys(now)
        try:
            token = self._tokens.verify(unverified_token, now)
        except TokenRefused as refused:
            expired = refused.reason is GuardReason.EXPIRED
            reason = DenyReason.PARENT_EXPIRED if expired else DenyReason.PARENT_INVALID
            raise RequestRefused(reason, f"the parent token does not verify: {refused.reason}") from None
        if token.exp <= now:  # without the skew a guard grants: a child would outlive it
            raise RequestRefused(DenyReason.PARENT_EXPIRED, "the parent token has expired")
        self.check_live(token)
        return _continued(token, caller)

    def check_live(self, token: Revocable) -> None:
        """By the revocation view, which the caller knows to be fresh.  Raises RequestRefused."""
        if self._revocations.behind(token):
            raise RequestRefused(DenyReason.VIEW_BEHIND, "the parent token was minted beyond this revocation view")
        if self._revocations.revoked(token) is not None:
            raise RequestRefused(DenyReason.PARENT_REVOKED, "the parent token is revoked")

    def token_keys(self, now: float) -> Mapping[str, EllipticCurvePublicKey]:
        """What verifies tokens of ours now, by `kid`."""
        self._refresh_token_keys(now)
        return self._token_keys

    def _refresh_token_keys(self, now: float) -> None:
        """The keys that may have signed a live token: one that was replaced still may, a compromised one never."""
        version = self._facts.version(Kind.KEY)
        if self._token_keys_of == version and now < self._token_keys_until:
            return
        keys = self._facts.keys("tokens")
        self._token_keys_of, self._token_keys_until = version, keyperiods.next_change(keys, now)
        self._token_keys.clear()
        for fact in keyperiods.verifying(keys, now):
            key = cached_key(fact.jwk)
            if isinstance(key, EllipticCurvePublicKey):
                self._token_keys[fact.kid] = key


def _continued(token: VerifiedToken, caller: Party) -> Parent:
    """As the decision reads it: a child's chain gains the actor it was called by, a sibling's stays."""
    past = tuple(PastActor(sub=p.sub, instance=p.instance, jti=p.jti, tool=p.tool, iat=p.iat) for p in token.act_chain)
    child = token.call.workload == str(caller.id)
    if child:
        past = (
            *past,
            PastActor(sub=token.act.sub, instance=token.act.instance, jti=token.jti, tool=token.call.tool, iat=token.iat),
        )
    elif (token.act.sub, token.act.instance) != (str(caller.id), caller.instance):
        raise RequestRefused(DenyReason.PARENT_NOT_ADDRESSED, "the parent token is neither addressed to the caller nor its own")
    try:
        return Parent(
            how="child" if child else "sibling",
            jti=token.jti,
            txn=token.txn,
            sub=token.sub,
            iat=token.iat,
            exp=token.exp,
            ceiling=_ceiling(token),
            act_chain=past,
            req_chain=tuple(Requested(wl=link.wl, jti=link.jti, iat=link.iat) for link in token.req_chain),
            acted=None if token.act.act is None else ActorClaim.model_validate(token.act.act),
            evidence=tuple(Evidence(tool=e.tool, seq=e.seq, object=e.object, at=e.at) for e in token.evidence),
            digest=token.digest,
        )
    except ValidationError:
        raise RequestRefused(DenyReason.PARENT_INVALID, "the parent token holds a claim that we would not issue") from None


def _ceiling(token: VerifiedToken) -> Ceiling:
    allowed = token.tctx
    return Ceiling(
        purposes=allowed.purposes,
        tools=allowed.tools,
        actions=allowed.actions,
        authorization_details=allowed.authorization_details,
        depth=allowed.depth,
    )

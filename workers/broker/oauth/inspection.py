"""Introspection (RFC 7662) and revocation (RFC 7009) of tokens that this fabric issued.

Both read a token with the same code; what nobody here can verify is inactive, and as good as revoked.  Who may see a token: the client
it was issued to, and whoever serves what it is for.  Who may revoke one: the client it was issued to, alone.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Protocol

from weft.claims import VerifiedToken
from weft.errors import TokenRefused
from weft.token import verify_token

from schemas.accesstoken import ACCESS_TYP
from schemas.oauth import Answered
from schemas.reasons import DenyReason
from schemas.revocation import Order
from streams.facts_table import FactsTable
from workers.broker.forms import nested
from workers.broker.oauth.clients import Authenticated
from workers.broker.oauth.form import TXN_TOKEN, Form
from workers.broker.oauth.parts import Parts
from workers.broker.oauth.refusals import OAuthRefused, unavailable
from workers.common.accesstoken import AccessTokenRefused, VerifiedAccessToken, read_access_token
from workers.common.transactiontoken import TransactionTokenRefused, VerifiedTransaction, verify_transaction

Known = VerifiedAccessToken | VerifiedTransaction | VerifiedToken
INACTIVE = Answered(status=200, body={"active": False})


class Orders(Protocol):
    """What ends tokens."""

    async def revoke(self, order: Order) -> None:
        """Returns once the entry is committed.  Raises OAuthRefused (503)."""
        ...


@dataclass(frozen=True, slots=True)
class Inspection:
    """Both endpoints."""

    parts: Parts
    orders: Orders

    def introspect(self, form: Form, client: Authenticated) -> Answered:
        """RFC 7662 section 2.2.  Raises OAuthRefused."""
        token = self._known(form.need("token"))
        if token is None or not _may_see(token, client) or self._ended(token):
            return INACTIVE
        return Answered(status=200, body={"active": True, **_members(token)})

    async def revoke(self, form: Form, client: Authenticated) -> Answered:
        """RFC 7009 section 2: 200 for what is no token of ours, or none any more.  A hint is one: it is not needed, so it is not read."""
        token = self._known(form.need("token"))
        if token is None or self.parts.revocations.revoked(token) is not None:
            return Answered(status=200)
        if not _issued_to(token, client):
            raise OAuthRefused("unauthorized_client", "the token was not issued to this client", DenyReason.NOT_AUTHORIZED)
        jti = token.jti if isinstance(token, VerifiedToken) else token.claims.jti
        who = client.client.client_id
        await self.orders.revoke(Order(id=f"oauth:{token.digest}", targets=(("token", jti),), cause="revoked by its client", by=who))
        return Answered(status=200)

    def _known(self, unverified: str) -> Known | None:
        """Signed by us and live by its own times, whatever kind it is of."""
        parts = self.parts
        now, settings = parts.clock.now(), parts.settings
        keys = parts.verifier.token_keys(now)
        try:
            return read_access_token(unverified, parts.views.facts, issuer=settings.issuer, now=now)
        except AccessTokenRefused:
            pass
        try:
            return verify_transaction(unverified, keys, issuer=settings.issuer, trust_domain=settings.trust_domain, now=now)
        except TransactionTokenRefused:
            pass
        try:
            audiences = _audiences(settings.trust_domain, parts.views.facts)
            token = verify_token(unverified, keys, issuer=settings.issuer, audiences=audiences, now=now)
        except (TokenRefused, UnicodeEncodeError):
            return None
        return token if now < token.exp else None

    def _ended(self, token: Known) -> bool:
        """By the revocation view, and by the client's own state.  Raises OAuthRefused where the view cannot say."""
        parts = self.parts
        if parts.revocations.behind(token):
            raise unavailable(DenyReason.VIEW_BEHIND)
        if not isinstance(token, VerifiedToken) and not token.client_active(parts.views.facts):
            return True
        return parts.revocations.revoked(token) is not None


def _audiences(trust_domain: str, facts: FactsTable) -> frozenset[str]:
    return frozenset((trust_domain, *(tool.resource for tool in facts.tools())))


def _issued_to(token: Known, client: Authenticated) -> bool:
    names = {client.client.client_id, client.workload} - {None}
    if isinstance(token, VerifiedAccessToken):
        return token.claims.client_id in names  # of one for a tool, the agent
    if isinstance(token, VerifiedTransaction):
        return token.claims.req_wl in names
    return token.act.sub == client.workload


def _may_see(token: Known, client: Authenticated) -> bool:
    """The client of the token; who serves its audience; of Transaction Tokens, who may continue them in this trust domain."""
    if _issued_to(token, client):
        return True
    if isinstance(token, VerifiedAccessToken):
        return bool(token.audiences & set(client.client.protects))
    if isinstance(token, VerifiedToken):
        return token.call.workload == client.workload or token.call.resource in client.client.protects
    return "txn_token" in client.client.ceilings


def _members(token: Known) -> dict[str, Any]:
    """RFC 7662 section 2.2, RFC 8693 section 4, RFC 9449 section 6.2, RFC 8705 section 3.2."""
    if isinstance(token, VerifiedToken):
        claims: dict[str, Any] = {
            name: getattr(token, name) for name in ("iss", "aud", "sub", "iat", "exp", "jti", "txn", "scope", "req_wl")
        }
        act = nested(asdict(token.act), [asdict(past) for past in token.act_chain], token.iss)
        return {**claims, "act": act, "cnf": {"jkt": token.jkt}, "token_type": "N_A", "typ": TXN_TOKEN}
    plain = token.claims.plain()
    shown = ("iss", "aud", "sub", "client_id", "iat", "exp", "jti", "txn", "scope", "req_wl", "cnf", "act", "authorization_details")
    members = {name: plain[name] for name in shown if plain.get(name)}
    if isinstance(token, VerifiedTransaction):
        return {**members, "token_type": "N_A", "typ": TXN_TOKEN}
    return {**members, "token_type": "DPoP" if "jkt" in plain.get("cnf", {}) else "Bearer", "typ": ACCESS_TYP}

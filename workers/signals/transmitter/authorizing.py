"""Access tokens of ours as the right of a receiver.  RFC 6750, RFC 9068; CAEP Interoperability Profile 1.0, section on OAuth."""

from __future__ import annotations

from collections.abc import Callable

from config.settings import Settings
from streams.facts_table import FactsTable
from workers.common.accesstoken import AccessTokenRefused, VerifiedAccessToken, verify_access_token
from workers.common.verification import RevocationsKnown
from workers.signals.transmitter.outcome import Rejected, unauthenticated
from workers.signals.transmitter.ports import Receiver


class TokenAuthorizer:
    """`ports.Authorizer` over the views."""

    def __init__(self, facts: FactsTable, revocations: RevocationsKnown, settings: Settings, fresh: Callable[[float], bool]) -> None:
        """`fresh`: whether the views may be believed at that time."""
        self._facts = facts
        self._revocations = revocations
        self._issuer = settings.issuer
        self._audiences = tuple(dict.fromkeys((settings.ssf_base, settings.issuer)))  # the API by its own name, or the fabric itself
        self._fresh = fresh

    def receiver(self, unverified_token: str, now: float) -> Receiver:
        """Raises Rejected."""
        if not self._fresh(now):
            raise Rejected(503, "unavailable", "whether the token is still good cannot be known now", retry_after_s=1)
        token = self._verified(unverified_token, now)
        if token.claims.act is not None:  # what a person lets somebody do is never this: a stream is its client's own
            raise unauthenticated("a token in which somebody acts for another")
        if self._facts.client(token.claims.client_id) is None:
            raise unauthenticated("its client is not a registered one")
        return Receiver(token.claims.client_id, token.scope)

    def hears(self, client_id: str) -> tuple[str, ...] | None:
        """None for whoever is no active client."""
        client = self._facts.client(client_id)
        return client.hears if client is not None and client.state == "active" else None

    def _verified(self, unverified_token: str, now: float) -> VerifiedAccessToken:
        refused = AccessTokenRefused("for no audience")
        for audience in self._audiences:
            try:
                return verify_access_token(
                    unverified_token, self._facts, self._revocations, issuer=self._issuer, audience=audience, now=now
                )
            except AccessTokenRefused as error:
                refused = error
        raise unauthenticated(refused.detail)
